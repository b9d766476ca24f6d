"""The page of a run: one HTML file that needs nothing else, for a screen, a phone and paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from searchmerge.files import write_text
from searchmerge.report import figures, front, front_figure, heatmap, path_figure, tree
from searchmerge.report.heatmap import Grid
from searchmerge.report.path import Path as Route
from searchmerge.report.path import described, legend, method_of, paths
from searchmerge.report.run import Run, as_json, bred, laid, read
from searchmerge.report.table import duration, headline, number, tabulate
from searchmerge.report.template import as_yaml, leaks, template
from searchmerge.report.tree import Node, Tree
from searchmerge.types import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class _Family:
    """What the page says of a winner that was bred.

    Args:
        figure: its family tree; None for a founder as it was.
        said: what that shows, in words.
        children: its ancestors after the founders, and itself.
        shares: where its parameters come from, and that drawn; None where it is not known.
        read: how to read that.
    """

    figure: Markup | None
    said: str
    children: Sequence[Node]
    shares: tuple[Grid, Markup] | None
    read: str


@dataclass(frozen=True)
class _Routes:
    """What the page says of a winner that is a path.

    Args:
        said: of whose layers it is made, and where those come from.
        stacks: the path through each stack, and that drawn.
        read: how to read the drawings.
    """

    said: str
    stacks: Sequence[tuple[Route, Markup]]
    read: str


@dataclass(frozen=True)
class _Apart:
    """What the page says of a search that kept its tasks apart.

    Args:
        found: the front.
        figure: that drawn.
        read: how to read the drawing.
    """

    found: front.Front
    figure: Markup
    read: str


def write(folder: Path) -> Path:
    """Write ``report.html`` into a run folder from its journal and, if the run has ended, its result.

    Returns:
        The page's path.

    Raises:
        UserError: no run lies there, a file of it is damaged, or the page cannot be written.
    """
    path = folder / "report.html"
    write_text(path, page(read(folder)))
    return path


def page(run: Run) -> str:
    """The page as text; of a run without result it shows what there is."""
    result = run.result
    return template("page.html").render(
        run=run,
        result=result,
        headline=headline(result) if result else _so_far(run),
        warning=leaks(result or {}),
        light=figures.LIGHT,
        dark=figures.DARK,
        curve=_both(partial(figures.curve, run), "Dev score of every trial"),
        legend=list(_legend(run)),
        table=tabulate(result) if result else None,
        dev_table=tabulate(result, "dev") if result and _tested(result) else None,
        maps=list(_maps(run)),
        front=_front(run),
        family=_family(run),
        route=_route(run),
        single=heatmap.knobs(run.best.recipe, run.experts)[0] if run.best else {},
        facts=_facts(run),
        before=(result or {}).get("before"),
        config=as_yaml(run.config),
        versions=result["versions"] if result else {"searchmerge": run.header.get("searchmerge", "unknown")},
        recipe=as_json(run.best.recipe) if run.best else None,
    )


def _so_far(run: Run) -> str:
    """The headline of a run that has no result."""
    if not run.trials:
        return "The run has begun; no trial has ended yet."
    if run.best is None:
        return f"All {len(run.trials)} trials so far have failed: there is no merge to show."
    stopped = f" ({len(run.rejected)} of them stopped early)" if run.rejected else ""
    return (
        f"The run has not ended. The best of {len(run.evaluated)} evaluations so far{stopped} scores "
        f"{number(run.best.score)} on dev (trial {run.best.number}); there is no test score yet."
    )


def _facts(run: Run) -> dict[str, str]:
    """What was run, in pairs of a word and a figure."""
    result = run.result or {}
    evaluations = result.get("evaluations", len(run.evaluated))
    spent = sum(trial.seconds for trial in run.evaluated)
    facts = {"evaluations": str(evaluations)}
    if rejected := result.get("rejected", len(run.rejected)):
        by_test = f", {len(run.lost)} of them by a test (racing, inexact)" if run.lost else ""
        facts["stopped early"] = f"{rejected}{by_test}"
    facts |= {
        "repeats": str(result.get("repeats", len(run.trials) - len(run.evaluated))),
        "failures": str(result.get("failures", len(run.failed))),
        "an evaluation": duration(spent / len(run.evaluated)) if run.evaluated else "unknown",
        "time": duration(result.get("seconds", spent)),
    }
    if run.best:
        facts["best trial"] = str(run.best.number)
    budget = result.get("budget") or run.config.get("budget") or {}
    facts["budget"] = ", ".join(f"{value} {key}" for key, value in budget.items() if value) or "none"
    facts["ended"] = result.get("stopped", "not yet")
    return facts


def _legend(run: Run) -> Iterator[str]:
    """How to read the curve, naming only what is there to be seen."""
    yield "A dot is a trial on the dev split, the line is the best so far."
    if run.partly:
        yield "A grey dot is a trial on a part of dev, whose score is not one of the others'."
    if any(trial.repeats is not None and trial.evaluation for trial in run.trials):
        yield "A ring is a repeat: a recipe that was known already and cost nothing."
    if run.failed:
        yield "A cross is a failed trial."
    if run.rejected:
        yield (
            "A tick at the bottom edge is a trial that was stopped early, since it could no longer beat the "
            "one that it was to replace"
            + (", or since a test said that it does worse (a race, inexact)." if run.lost else ".")
        )
    if figures.below(run):
        yield "A triangle is a trial below the axis."


def _maps(run: Run) -> Iterator[tuple[Grid, Markup]]:
    if run.best:
        for grid in heatmap.knobs(run.best.recipe, run.experts)[1]:
            yield (
                grid,
                _both(lambda width, grid=grid: heatmap.draw(grid, width=width), f"{grid.name} by group"),
            )


def _family(run: Run) -> _Family | None:
    """The tree and the shares of a winner from a population; None for any other."""
    if run.best is None or not bred(run.best.recipe):
        return None
    best = run.best.recipe
    found = tree.family(best, run.trials)
    figure = _both(partial(tree.draw, found), "Family tree of the best merge") if found.children else None
    shares = None
    if provenance := (run.result or {}).get("provenance"):
        grid = heatmap.shares(provenance, run.experts)
        shares = grid, _both(partial(heatmap.draw, grid), "Mean coefficient of each expert by layer")
    return _Family(
        figure, " ".join(_told(run, found)), found.children, shares, _read(best, len(found.members))
    )


def _route(run: Run) -> _Routes | None:
    """The path of a winner, drawn and in words; None for any other winner."""
    if run.best is None or not laid(run.best.recipe):
        return None
    recipe = run.best.recipe
    found = paths(recipe, run.trials)
    said = [described(recipe)]
    said += [
        f"{name} is the winner of the search {name}, {method_of(stage)}."
        for name, stage in recipe["stages"].items()
    ]
    tried = {step[0]: None for t in run.trials for path in t.recipe["stacks"].values() for step in path}
    if absent := [name for name in tried if all(name not in route.sources for route in found)]:
        said.append(f"Tried, but not on it: {', '.join(absent)}.")
    drawn = [
        (route, _both(partial(path_figure.draw, route), f"Path through {route.stack}: {route.words}"))
        for route in found
    ]
    return _Routes(" ".join(said), drawn, " ".join(legend(found)))


def _front(run: Run) -> _Apart | None:
    """The front of a run that kept its tasks apart; None for any other."""
    if (found := front.found(run)) is None:
        return None
    figure = _both(partial(front_figure.draw, found), "The front on dev, a mark a merge")
    return _Apart(found, figure, front_figure.legend(found))


def _read(recipe: Recipe, members: int) -> str:
    """How to read where a bred model's parameters come from."""
    over = " and over the members that are merged" if members > 1 else ""
    said = f"The mean coefficient of each expert over the parameters of a layer{over}; a layer's add up to 1."
    unit = recipe["unit"]
    if unit not in ("parameter", "row"):
        return said
    return (
        f"{said} Each {unit} is drawn by itself, and a layer has so many that all layers come to nearly the "
        f"same mean. At most the first 65,536 {unit}s of each tensor are counted."
    )


def _told(run: Run, found: Tree) -> Iterator[str]:
    """What a family tree shows, or why there is none."""
    who = "winner" if run.result else "best so far"
    alone = len(found.members) == 1
    if not found.children:
        what = f"the founder {found.members[0]} as it is" if alone else "the founders merged"
        yield f"The {who} is {what}: no child scored better."
        return
    score = "the score of the population merged" if run.trials[0].recipe["merge"] else "its score"
    yield "A lane is a place in the population, a square its founder."
    yield f"A dot is an ancestor at its trial, with {score} on dev; a child takes its parent's place."
    yield "Thin lines come from those whom its mutant adds (solid) or subtracts (dashed), thicker for more."
    yield f"The {who} is ringed." if alone else f"The ringed ones are merged in the {who}."
    drawn = {node.individual for node in found.founders}
    if absent := [name for name in run.header.get("dims", ()) if name not in drawn]:
        yield f"Not among the ancestors: {', '.join(absent)}."


def _both(draw: Callable[..., Figure], label: str) -> Markup:
    """A figure for a desk and the same for a phone, of which the page shows one."""
    return Markup("").join(
        Markup(f'<div class="{name}">{figures.svg(draw(width=width), label)}</div>')
        for name, width in (("wide", figures.WIDE), ("narrow", figures.NARROW))
    )


def _tested(result: Mapping[str, Any]) -> bool:
    return tabulate(result).split == "test"
