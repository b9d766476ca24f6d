"""What the best merge of each strategy is: coefficients side by side, paths one by one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as Folder
from typing import TYPE_CHECKING, Any

from searchmerge import journal
from searchmerge.report.comparison.content import Compared
from searchmerge.report.comparison.look import LIGHT, named
from searchmerge.report.figures import NARROW, WIDE, canvas
from searchmerge.report.heatmap import Grid, height_of, knobs, margin, paint, sheet
from searchmerge.report.path import Path, paths
from searchmerge.report.run import laid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TITLE, _GAP = 26, 16

SMALL = 420
"""Width of a path, of which two stand side by side on a desk."""


def grids(compared: Compared, space: str) -> list[Grid]:
    """The coefficients of the strategies' best winners: a grid a knob and expert, with a row a strategy.

    A knob that is the same in all layers has its experts across instead; one that is a single number has
    one column, and none where all winners have the same.
    """
    same = set(shared(compared, space))
    found: dict[tuple[str, str], dict[str, dict[str, float | None]]] = {}
    for name, run in compared.best(space).items():
        single, several = knobs(run["recipe"], compared.content["experts"])
        for knob, value in single.items():
            if isinstance(value, int | float) and knob not in same:
                found.setdefault((knob, ""), {})[name] = {"everywhere": float(value)}
        for grid in several:
            if len(grid.columns) == 1:
                values = [line[0] for line in grid.values]
                found.setdefault((grid.name, ""), {})[name] = dict(zip(grid.rows, values, strict=True))
                continue
            for row, line in zip(grid.rows, grid.values, strict=True):
                found.setdefault((grid.name, row), {})[name] = dict(zip(grid.columns, line, strict=True))
    return [_grid(f"{knob}, {expert}" if expert else knob, rows) for (knob, expert), rows in found.items()]


def shared(compared: Compared, space: str) -> dict[str, float]:
    """The knobs that are one number, and the same one in the winners of all strategies."""
    winners = [knobs(run["recipe"], compared.content["experts"])[0] for run in compared.best(space).values()]
    return {
        knob: float(value)
        for knob, value in winners[0].items()
        if isinstance(value, int | float) and all(other.get(knob) == value for other in winners)
    }


def _grid(name: str, rows: Mapping[str, Mapping[str, float | None]]) -> Grid:
    columns = tuple(dict.fromkeys(column for row in rows.values() for column in row))
    values = tuple(tuple(row.get(column) for column in columns) for row in rows.values())
    return Grid(name, tuple(named(row, 26) for row in rows), columns, values)


def coefficients(compared: Compared, space: str, *, width: int = WIDE) -> Figure:
    """Those grids below each other, with one scale of colours a knob; a phone has layers down."""
    found = grids(compared, space)
    shown = [grid.turned() if width <= NARROW else grid for grid in found]
    left = max(map(margin, shown))
    heights = [_TITLE + height_of(grid, width, left) + _GAP for grid in shown]
    figure = canvas(width, sum(heights))
    axes, above = sheet(figure), 0.0
    for grid, height in zip(shown, heights, strict=True):
        knob = grid.name.partition(",")[0]
        largest = max(other.largest for other in found if other.name.partition(",")[0] == knob)
        axes.text(0, above + 4, grid.name, color=LIGHT["ink"], fontsize=12, va="top", parse_math=False)
        paint(axes, grid, width, above=above + _TITLE - 8, left=left, largest=largest)
        above += height
    return figure


def routes(folder: Folder, compared: Compared, space: str) -> dict[str, list[Path]]:
    """The best winner's path through each stack, by the strategy's name.

    Raises:
        UserError: the journal of a run is not there, which knows how many layers there are.
    """
    return {
        name: paths(run["recipe"], journal.read(folder / run["folder"] / "journal.jsonl")[1])
        for name, run in compared.best(space).items()
        if laid(run["recipe"])
    }


def is_coefficients(recipe: Mapping[str, Any]) -> bool:
    """Whether a recipe has knobs that can stand side by side."""
    return bool(recipe.get("knobs"))
