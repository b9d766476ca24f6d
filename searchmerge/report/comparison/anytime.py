"""How far strategies had come at any time: the best score so far, and the targets reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from searchmerge.report.comparison.content import Compared
from searchmerge.report.comparison.look import LIGHT, Look, looks, name_lines, named, room
from searchmerge.report.figures import INCH, NARROW, WIDE, canvas, framed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

By: TypeAlias = Literal["evaluations", "seconds"]

BANDS = 6
"""Up to so many strategies have their bands in one panel; of more each gets one of its own."""

_LINE, _EDGE, _SMALL, _HEAD = 15, 84, 128, 24
"""Points of a name, of what surrounds a panel, of the height of a small one, and of what is above these."""

_TURNS = 9
"""Markers along a line."""


def curves(compared: Compared, by: By, *, width: int = WIDE) -> Figure:
    """The best dev score so far: median over seeds with the quartiles' band, a panel a space.

    Args:
        compared: with statistics.
        by: what is counted along the axis.
        width: in points.
    """
    statistics = _statistics(compared)
    spaces, strategies = statistics["spaces"], statistics["strategies"]
    each = max(260, _LINE * len(strategies) + _EDGE) + 20
    figure = canvas(width, each * len(spaces))
    for place, space in enumerate(spaces):
        axes = _panel(figure, each * place, each, room(strategies, width))
        found = _of_space(statistics, space)
        _overview(axes, compared, space, found, by)
        said = f"best dev score so far{f', {space}' if len(spaces) > 1 else ''}"
        axes.set_title(said, loc="left", color=LIGHT["muted"], fontsize=11, parse_math=False)
    return figure


def bands(compared: Compared, by: By, *, width: int = WIDE) -> Figure:
    """The same with a small panel a strategy, each with its band and, in grey, the best median of all."""
    statistics = _statistics(compared)
    spaces, strategies = statistics["spaces"], statistics["strategies"]
    abreast = 2 if width <= NARROW else 5
    rows = -(-len(strategies) // abreast)
    each = _HEAD + _SMALL * rows + 8
    figure = canvas(width, each * len(spaces))
    for place, space in enumerate(spaces):
        found = _of_space(statistics, space)
        scale, unit = _clock(found, by)
        said = f"best dev score so far by {unit}{f', {space}' if len(spaces) > 1 else ''}"
        y = 1 - (each * place + 12) / (each * len(spaces))
        figure.text(0, y, said, color=LIGHT["muted"], fontsize=11, va="center", parse_math=False)
        top = np.max([curve[by]["median"] for curve in found.values()], axis=0)
        for number, (name, curve) in enumerate(found.items()):
            row, column = divmod(number, abreast)
            above = each * place + _HEAD + _SMALL * row
            axes = _small(figure, column, abreast, above)
            _ends(axes, found, by)
            at = np.array(curve[by]["at"]) / scale
            axes.plot(at, top, color=LIGHT["rule"], linewidth=1.2, drawstyle="steps-post")
            _line(axes, name, curve[by], scale, looks(compared.strategies)[name], marked=False)
            _band(axes, curve[by], scale, looks(compared.strategies)[name])
            axes.set_title(named(name, 22), loc="left", color=LIGHT["ink"], fontsize=11, parse_math=False)
            axes.tick_params(labelleft=not column, labelbottom=number >= len(found) - abreast)
    return figure


def targets(compared: Compared, *, width: int = WIDE) -> Figure:
    """The share of all pairs of run and target that are reached after so many evaluations."""
    statistics = _statistics(compared)
    strategies = statistics["strategies"]
    figure = canvas(width, max(260, _LINE * len(strategies) + _EDGE))
    axes = _panel(figure, 0, figure.get_figheight() * INCH, room(strategies, width))
    at = np.arange(1, statistics["budget"] + 1)
    axes.set(xlim=(0, at[-1]), ylim=(0, 1.02))
    look = looks(compared.strategies)
    reached = statistics["targets"]["reached"]
    for name in strategies:
        every = _every(look[name], len(at))
        line: dict[str, Any] = {**look[name].line, **look[name].marker, "markevery": every}
        axes.plot(at, reached[name], label=name, drawstyle="steps-post", **line)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("evaluations", color=LIGHT["muted"], fontsize=11)
    axes.set_title("targets reached", loc="left", color=LIGHT["muted"], fontsize=11)
    name_lines(axes, {name: reached[name][-1] for name in strategies}, look)
    return figure


def cut(compared: Compared, by: By) -> bool:
    """Whether the axis of some space begins above its lowest scores."""
    statistics = _statistics(compared)
    every = [_of_space(statistics, space) for space in statistics["spaces"]]
    return any(_floor(found, by) > min(min(curve[by]["low"]) for curve in found.values()) for found in every)


def _overview(
    axes: Axes, compared: Compared, space: str, found: Mapping[str, Mapping[str, Any]], by: By
) -> None:
    look = looks(compared.strategies)
    scale, unit = _clock(found, by)
    _ends(axes, found, by)
    low, high = axes.get_ylim()
    reference = (compared.content.get("references") or {}).get(space)
    if reference and low < (score := reference["dev"]["score"]) < high:
        axes.axhline(score, color=LIGHT["muted"], linewidth=0.8, linestyle=(0, (1, 2.5)), zorder=1)
        axes.annotate(
            reference["name"],
            (1, score),
            (-4, 3),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            ha="right",
            color=LIGHT["muted"],
            fontsize=11,
            parse_math=False,
        )
    for name, curve in found.items():
        _line(axes, name, curve[by], scale, look[name])
        if len(found) <= BANDS:
            _band(axes, curve[by], scale, look[name])
    axes.set_xlabel(unit, color=LIGHT["muted"], fontsize=11)
    name_lines(axes, {name: curve[by]["median"][-1] for name, curve in found.items()}, look)


def _line(
    axes: Axes, name: str, band: Mapping[str, Any], scale: float, look: Look, *, marked: bool = True
) -> None:
    at = np.array(band["at"]) / scale
    marker = {**look.marker, "markevery": _every(look, len(at))} if marked else {}
    axes.plot(at, band["median"], label=name, drawstyle="steps-post", **{**look.line, **marker}, zorder=3)


def _band(axes: Axes, band: Mapping[str, Any], scale: float, look: Look) -> None:
    at, low, high = (np.array(band[part]) for part in ("at", "low", "high"))
    # Only where a step is: between, the same is drawn with a fraction of the points.
    kept = np.append(True, (np.diff(low) != 0) | (np.diff(high) != 0))
    kept[-1] = True
    look_of: dict[str, Any] = {"color": look.colour, "alpha": 0.14, "linewidth": 0}
    axes.fill_between(at[kept] / scale, low[kept], high[kept], step="post", **look_of, zorder=2)


def _every(look: Look, points: int) -> tuple[int, int]:
    """Which points of a line have markers: not the same ones on every line, so that they do not overlap."""
    step = max(1, points // _TURNS)
    return (look.place * step // 5) % step, step


def _ends(axes: Axes, found: Mapping[str, Mapping[str, Any]], by: By) -> None:
    """Set the ends of the axes: all times, and the scores where most of the search goes on."""
    scale, _ = _clock(found, by)
    low, high = _floor(found, by), max(max(curve[by]["high"]) for curve in found.values())
    margin = 0.05 * (high - low) or 0.05
    at = next(iter(found.values()))[by]["at"]
    start = at[0] / scale if by == "seconds" else 0
    axes.set(ylim=(low - margin, high + margin), xlim=(start, max(at[-1] / scale, start + 1e-3)))


def _floor(found: Mapping[str, Mapping[str, Any]], by: By) -> float:
    """The lowest score that is drawn.

    What lies further below the top than three times its distance to the lower quartile would press all that
    matters into a band.
    """
    medians = np.array([curve[by]["median"] for curve in found.values()])
    low = min(min(curve[by]["low"]) for curve in found.values())
    high = max(max(curve[by]["high"]) for curve in found.values())
    return float(max(low, high - 3 * (high - np.quantile(medians, 0.25))))


def _clock(found: Mapping[str, Mapping[str, Any]], by: By) -> tuple[float, str]:
    """How many seconds a unit of the axis has, and its name."""
    last = next(iter(found.values()))[by]["at"][-1]
    if by == "evaluations" or last < 300:
        return 1.0, by
    return (60.0, "minutes") if last < 3 * 3600 else (3600.0, "hours")


def _of_space(statistics: Mapping[str, Any], space: str) -> dict[str, Mapping[str, Any]]:
    return {curve["strategy"]: curve for curve in statistics["curves"] if curve["space"] == space}


def _panel(figure: Figure, above: float, each: float, right: float) -> Axes:
    height = figure.get_figheight() * INCH
    return framed(figure, left=40, right=right, top=above + 26, bottom=height - above - each + 48)


def _small(figure: Figure, column: int, abreast: int, above: float) -> Axes:
    from matplotlib.ticker import MaxNLocator

    width, height = figure.get_size_inches() * INCH
    each = (width - 40) / abreast
    axes = framed(
        figure,
        left=40 + each * column,
        right=width - 40 - each * (column + 1) + 14,
        top=above + 22,
        bottom=height - above - _SMALL + 14,
    )
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True, prune="upper"))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    return axes


def _statistics(compared: Compared) -> Mapping[str, Any]:
    assert compared.statistics is not None  # who draws has looked
    return compared.statistics
