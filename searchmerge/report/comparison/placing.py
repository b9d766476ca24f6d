"""Who stands where: the rank diagram, and dev beside test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from searchmerge.report.comparison.content import Compared
from searchmerge.report.comparison.look import LETTER, LIGHT, Look, key, key_height, looks, named
from searchmerge.report.figures import INCH, NARROW, WIDE, canvas, framed
from searchmerge.report.heatmap import sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW, _BAR = 19, 9
"""Points from name to name, and from bar to bar."""


def ranks(compared: Compared, *, width: int = WIDE) -> Figure:
    """Mean ranks as Demšar draws them (2006, figure 1): a bar joins strategies that are not told apart.

    Where there is no critical difference no bar is drawn, and the reason stands there instead.
    """
    assert compared.statistics is not None  # who draws has looked
    found = {split: compared.statistics[split] for split in ("dev", "test") if compared.statistics[split]}
    said = {split: _said(split, standing["ranks"], width) for split, standing in found.items()}
    heights = {split: _height(standing["ranks"], said[split]) for split, standing in found.items()}
    figure = canvas(width, sum(heights.values()))
    axes, above = sheet(figure), 0.0
    for split, standing in found.items():
        _diagram(axes, standing["ranks"], looks(compared.strategies), said[split], above, width)
        above += heights[split]
    return figure


def _said(split: str, found: Mapping[str, Any], width: float) -> list[str]:
    """The lines above a diagram."""
    what = (
        f"critical difference {found['critical']:.2f}; a bar joins who is not told apart"
        if found["critical"] is not None
        else f"no critical difference: {found['reason']}"
    )
    return wrap(f"mean rank on {split}; {what}", int(width // LETTER))


def _bars(found: Mapping[str, Any]) -> Sequence[Sequence[str]]:
    return found["groups"] if found["critical"] is not None else ()


def _height(found: Mapping[str, Any], said: Sequence[str]) -> float:
    rows = -(-len(found["mean"]) // 2)
    return 15 * len(said) + 58 + _BAR * len(_bars(found)) + _ROW * rows + 12


def _diagram(
    axes: Axes,
    found: Mapping[str, Any],
    look: Mapping[str, Look],
    said: Sequence[str],
    above: float,
    width: float,
) -> None:
    order = sorted(found["mean"], key=lambda name: found["mean"][name])
    most = 11 if width <= NARROW else 26
    side = 48 + LETTER * max(len(named(name, most)) for name in order)
    for number, text in enumerate(said):
        _write(axes, 0, above + 10 + 15 * number, text, LIGHT["muted"])
    level = above + 15 * len(said) + 46
    unit = (width - 2 * side) / max(len(order) - 1, 1)
    at = {name: side + unit * (found["mean"][name] - 1) for name in order}
    _scale(axes, len(order), side, unit, level)
    if found["critical"] is not None:
        ends = (side, side + unit * found["critical"])
        axes.plot(ends, (level - 26,) * 2, color=LIGHT["ink"], linewidth=1.4, marker="|", label="critical")
    for number, group in enumerate(_bars(found)):
        ends, y = (at[group[0]] - 4, at[group[-1]] + 4), level + 8 + _BAR * number
        axes.plot(ends, (y, y), color=LIGHT["ink"], linewidth=3.2, solid_capstyle="butt", label="group")
    first = level + 10 + _BAR * len(_bars(found)) + _ROW / 2
    half = -(-len(order) // 2)
    for number, name in enumerate(order):
        left = number < half
        y = first + _ROW * (number if left else len(order) - 1 - number)
        end, sign = (side - 6, -1) if left else (width - side + 6, 1)
        line = {**look[name].line, "linewidth": 1.1, **look[name].marker, "markevery": [0]}
        axes.plot((at[name], at[name], end), (level, y, y), label=name, **line)
        words = [f"{found['mean'][name]:.2f}", named(name, most)][::sign]
        _write(axes, end + 4 * sign, y, "  ".join(words), LIGHT["ink"], ha="right" if left else "left")


def _scale(axes: Axes, ranks: int, side: float, unit: float, level: float) -> None:
    """A line with a tick a rank, and numbers where there is room."""
    axes.plot((side, side + unit * (ranks - 1)), (level, level), color=LIGHT["ink"], linewidth=1)
    every = -(-16 // int(max(unit, 1)))
    for rank in range(ranks):
        x = side + unit * rank
        axes.plot((x, x), (level - 5, level), color=LIGHT["ink"], linewidth=0.8)
        if rank % every == 0:
            _write(axes, x, level - 14, str(rank + 1), LIGHT["muted"], ha="center")


def _write(axes: Axes, x: float, y: float, text: str, colour: str, ha: str = "left") -> None:
    axes.text(x, y, text, color=colour, fontsize=11, ha=ha, va="center", parse_math=False)


def tested(compared: Compared) -> list[str]:
    """Spaces in which some winner has a test score."""
    return [
        space
        for space in compared.spaces
        if any(run["best"]["test"] for run in compared.runs if run["space"] == space)
    ]


def scatter(compared: Compared, *, width: int = WIDE) -> Figure:
    """The winner of every run by its dev and its test score, a panel a space."""
    spaces = tested(compared)
    abreast = 1 if width <= NARROW else min(2, len(spaces))
    each = min(width / abreast, 600)
    high = min(0.86 * each, 420)
    below = key_height(compared.strategies, width)
    figure = canvas(width, high * -(-len(spaces) // abreast) + below)
    height = figure.get_figheight() * INCH
    for number, space in enumerate(spaces):
        row, column = divmod(number, abreast)
        axes = framed(
            figure,
            left=each * column + 46,
            right=width - each * (column + 1) + 16,
            top=high * row + 26,
            bottom=height - high * (row + 1) + 44,
        )
        _dots(axes, compared, space)
        title = "test score" + (f", {space}" if len(spaces) > 1 else "")
        axes.set_title(title, loc="left", color=LIGHT["muted"], fontsize=11, parse_math=False)
        axes.set_xlabel("dev score", color=LIGHT["muted"], fontsize=11)
    key(figure, compared.strategies, looks(compared.strategies))
    return figure


def _dots(axes: Axes, compared: Compared, space: str) -> None:
    look = looks(compared.strategies)
    every: list[tuple[float, float]] = []
    for name in compared.strategies:
        scores = [
            (run["best"]["dev"]["score"], run["best"]["test"]["score"])
            for run in compared.runs
            if run["space"] == space and run["strategy"] == name and run["best"]["test"]
        ]
        if scores:
            dev, test = zip(*scores, strict=True)
            axes.plot(dev, test, linestyle="none", label=name, **look[name].marker, alpha=0.85, zorder=3)
        every += scores
    reference = (compared.content.get("references") or {}).get(space)
    if reference and reference["test"]:
        at = (reference["dev"]["score"], reference["test"]["score"])
        axes.plot(*at, marker="+", markersize=11, color=LIGHT["ink"], label="reference", zorder=4)
        every.append(at)
    low, high = min(map(min, every)), max(map(max, every))
    margin = 0.06 * (high - low) or 0.05
    ends = (low - margin, high + margin)
    axes.plot(
        ends, ends, color=LIGHT["muted"], linewidth=0.8, linestyle=(0, (1, 2.5)), label="equal", zorder=1
    )
    axes.set(xlim=ends, ylim=ends)
    if reference and reference["test"]:
        right = at[0] < sum(ends) / 2
        axes.annotate(
            reference["name"],
            at,
            (8 if right else -8, -4),
            textcoords="offset points",
            ha="left" if right else "right",
            va="top",
            color=LIGHT["ink"],
            fontsize=11,
            parse_math=False,
        )
