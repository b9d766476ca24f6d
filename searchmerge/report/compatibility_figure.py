"""What an examination of experts found, as one picture: heat maps a layer, and the lines between pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from searchmerge.compatibility import Findings, Relation
from searchmerge.compatibility.line import STEPS
from searchmerge.compatibility.verdict import BARRIER
from searchmerge.report.figures import INCH, LIGHT, WIDE, canvas, framed
from searchmerge.report.heatmap import Grid, height_of, margin, paint, sheet, short
from searchmerge.report.table import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TITLE, _GAP, _EDGE = 24, 18, 14
_ABREAST, _PANEL = 3, 170
_PALE = 0.2
"""Cosines and distances far below this are small, and look so, even where there are no larger ones."""


def draw(findings: Findings, *, width: int = WIDE) -> Figure:
    """Heat maps of what was measured a layer, under them a panel a pair with dev along the line.

    Args:
        findings: of an examination.
        width: in points.
    """
    grids = _grids(findings)
    left = max((margin(grid) for grid, _ in grids), default=0)
    heights = [_TITLE + height_of(grid, width, left) + _GAP for grid, _ in grids]
    lines = [pair for pair in findings.pairs if pair.line]
    rows = -(-len(lines) // _ABREAST)
    figure = canvas(width, _EDGE + sum(heights) + (_TITLE + _PANEL * rows if rows else 0) + _EDGE)
    axes, above = sheet(figure), float(_EDGE)
    for (grid, largest), height in zip(grids, heights, strict=True):
        _title(axes, above, grid.name)
        paint(axes, grid, width, above=above + _TITLE - 8, left=left, largest=max(largest, grid.largest))
        above += height
    if lines:
        _title(
            axes, above, "dev score along the straight line between two experts (dashed: between the ends)"
        )
        _panels(figure, lines, above + _TITLE)
    return figure


def _grids(findings: Findings) -> list[tuple[Grid, float]]:
    """What there is to show a layer, each with the least value of full strength."""
    pairs, related = findings.pairs, [*findings.origins, *findings.pairs]
    grids = [
        (
            "cosine of the task vectors",
            {_names(pair): pair.cosine.layers for pair in pairs if pair.cosine},
            _PALE,
        ),
        (
            "share of parameters whose changes have opposite signs (half: unrelated)",
            {_names(pair): pair.conflict.layers for pair in pairs if pair.conflict},
            1.0,
        ),
        (
            "norm of the task vector, relative to the base",
            {expert: distance.layers for expert, distance in findings.distances.items()},
            _PALE,
        ),
        (
            "share of MLP units that stay in place under the best matching",
            {_names(pair): {match.layer: match.in_place for match in pair.matches} for pair in related},
            1.0,
        ),
    ]
    drawn = [(_grid(name, rows, findings.layers), largest) for name, rows, largest in grids]
    return [
        (grid, largest) for grid, largest in drawn if any(v is not None for row in grid.values for v in row)
    ]


def _grid(name: str, rows: Mapping[str, Mapping[str, float]], layers: Sequence[str]) -> Grid:
    values = tuple(tuple(_known(row.get(layer)) for layer in layers) for row in rows.values())
    return Grid(name, tuple(rows), tuple(layers), values)


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _names(pair: Relation) -> str:
    return f"{pair.one} – {pair.other}"


def _title(axes: Axes, above: float, text: str) -> None:
    axes.text(8, above, text, color=LIGHT["ink"], fontsize=12, va="top", parse_math=False)


def _panels(figure: Figure, pairs: Sequence[Relation], above: float) -> None:
    """A small drawing a pair, all with the same scale."""
    width, height = figure.get_size_inches() * INCH
    scores = [score for pair in pairs if pair.line for score in pair.line.scores if not math.isnan(score)]
    low, high = min(scores, default=0.0), max(scores, default=1.0)
    room = 0.08 * (high - low) or 0.05
    each = width / _ABREAST
    for index, pair in enumerate(pairs):
        row, column = divmod(index, _ABREAST)
        top = above + _PANEL * row
        axes = framed(
            figure,
            left=each * column + 44,
            right=width - each * (column + 1) + 14,
            top=top + 26,
            bottom=height - top - _PANEL + 26,
        )
        axes.set(xlim=(-0.04, 1.04), ylim=(low - room, high + room), xticks=STEPS)
        first, *_, last = axes.set_xticklabels([short(pair.one, 16), "", "½", "", short(pair.other, 16)])
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
        _line(axes, pair)


def _line(axes: Axes, pair: Relation) -> None:
    if pair.line is None:
        return
    scores, barrier = pair.line.scores, pair.line.barrier
    colour = LIGHT["minus" if barrier > BARRIER and pair.line.low > 0 else "accent"]
    axes.plot((0, 1), (scores[0], scores[-1]), color=LIGHT["muted"], linewidth=0.8, linestyle=(0, (1, 2.5)))
    axes.plot(STEPS, scores, color=colour, linewidth=1.8, marker="o", markersize=4)
    said = "not finite" if math.isnan(barrier) else f"barrier {number(barrier)}"
    axes.set_title(said, loc="left", color=LIGHT["muted"], fontsize=11)
