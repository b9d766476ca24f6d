"""Which figures a comparison has, what each shows, and how to read it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from searchmerge.report import path_figure
from searchmerge.report.comparison import anytime, placing, winners
from searchmerge.report.comparison.content import Compared
from searchmerge.report.path import legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """One figure.

    Args:
        name: of its files.
        title: above it.
        note: how to read it.
        draw: makes it, of a width in points.
        small: whether two stand side by side on a desk; it is then of one width only.
    """

    name: str
    title: str
    note: str
    draw: Callable[..., Figure]
    small: bool = False


def parts(folder: Path, compared: Compared) -> dict[str, list[Drawing]]:
    """All figures by the part of the page where they stand; none where nothing has been computed.

    Raises:
        UserError: the journal of a run that found a path is not there.
    """
    if compared.statistics is None:
        return {"course": [], "standing": [], "tested": [], "found": []}
    return {
        "course": list(course(compared)),
        "standing": list(standing(compared)),
        "tested": list(tested(compared)),
        "found": list(_told_apart(found(folder, compared))),
    }


def course(compared: Compared) -> Iterator[Drawing]:
    """How the searches came along."""
    assert compared.statistics is not None  # who draws has looked
    many = len(compared.statistics["strategies"]) > anytime.BANDS
    held = "A run that has ended holds its last score."
    band = "" if many else " Bands reach from the first to the third quartile."
    bys: tuple[anytime.By, ...] = ("evaluations", "seconds")
    for by in bys:
        title = "By evaluations" if by == "evaluations" else "By wall time"
        cut = " The axis begins where most of the search goes on." if anytime.cut(compared, by) else ""
        yield Drawing(
            f"best-by-{by}",
            title,
            f"The median over seeds of the best dev score so far.{band} {held}{cut}",
            partial(anytime.curves, compared, by),
        )
        if many:
            yield Drawing(
                f"bands-by-{by}",
                f"{title}, one by one",
                "The same, a panel a strategy, with its band from the first to the third quartile; grey is "
                "the best median of all.",
                partial(anytime.bands, compared, by),
            )
    if compared.statistics["targets"]:
        yield Drawing(
            "targets",
            "Targets reached",
            "The share of all pairs of a run and a target that are reached after so many evaluations. There "
            "are 51 targets a space, from the default merge to the best score that any run reached, closer "
            "together towards it.",
            partial(anytime.targets, compared),
        )


def standing(compared: Compared) -> Iterator[Drawing]:
    """The diagram of ranks; one strategy has none."""
    assert compared.statistics is not None  # who draws has looked
    if len(compared.statistics["strategies"]) > 1:
        yield Drawing(
            "ranks",
            "Mean ranks",
            "Rank 1 is the best. The mean is over spaces and seeds.",
            partial(placing.ranks, compared),
        )


def tested(compared: Compared) -> Iterator[Drawing]:
    """Dev beside test; none without test scores."""
    if placing.tested(compared):
        yield Drawing(
            "dev-and-test",
            "Each run's winner on dev and on test",
            "A mark is a run's winner; on the dotted line both scores are equal, below it dev flatters."
            + (" The cross is what gains are counted from." if compared.content.get("references") else ""),
            partial(placing.scatter, compared),
        )


def found(folder: Path, compared: Compared) -> Iterator[Drawing]:
    """What the best winner of each strategy is, in every space that has a drawing of it.

    Raises:
        UserError: the journal of a run that found a path is not there.
    """
    several = len(compared.spaces) > 1
    for space in compared.spaces:
        where = f", {space}" if several else ""
        of = [run["recipe"] for run in compared.best(space).values()]
        if any(map(winners.is_coefficients, of)) and winners.grids(compared, space):
            same = [f"{knob} {value:.2f}" for knob, value in winners.shared(compared, space).items()]
            yield Drawing(
                f"coefficients-{_slug(space)}",
                f"Coefficients{where}",
                "Of each strategy the winner with the highest dev score of all seeds. No colour is 0; all "
                "grids of a knob have one scale; the warm colour is below 0."
                + f" The same in all: {', '.join(same)}."
                * bool(same),
                partial(winners.coefficients, compared, space),
            )
        for name, routes in winners.routes(folder, compared, space).items():
            for route in routes:
                stack = f", {route.stack}" if len(routes) > 1 else ""
                yield Drawing(
                    f"path-{_slug(space)}-{_slug(name)}" + f"-{_slug(route.stack)}" * (len(routes) > 1),
                    f"{name}{stack}{where}",
                    f"{route.words}. {route.omissions}".strip(),
                    partial(path_figure.draw, route),
                    small=True,
                )


def _told_apart(drawings: Iterable[Drawing]) -> Iterator[Drawing]:
    """The same with a number at the names that were there before: not all signs may be part of a file's."""
    seen: Counter[str] = Counter()
    for each in drawings:
        seen[each.name] += 1
        yield each if seen[each.name] == 1 else replace(each, name=f"{each.name}-{seen[each.name]}")


def how_to_read_paths(folder: Path, compared: Compared) -> str:
    """How to read the drawings of paths; empty where there are none."""
    if compared.statistics is None:
        return ""
    every = [
        route
        for space in compared.spaces
        for routes in winners.routes(folder, compared, space).values()
        for route in routes
    ]
    return (
        f"Of each strategy the winner with the highest dev score. {' '.join(legend(every))}" if every else ""
    )


def _slug(name: str) -> str:
    """The name as a part of a file's."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-")[:80]
