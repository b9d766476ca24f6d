"""The knobs of a recipe as numbers in a grid, and as a heat map: groups of layers across, experts down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from searchmerge.pedigree import ancestry
from searchmerge.report.figures import INCH, LIGHT, NARROW, WIDE, canvas
from searchmerge.report.run import bred
from searchmerge.types import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ALL = "all layers"


@dataclass(frozen=True)
class Grid:
    """One knob's values.

    Args:
        name: the knob's.
        rows: experts; one empty name where the knob is the same for all.
        columns: groups of tensors, in the model's order.
        values: ``[rows][columns]``, None where the recipe says nothing.
    """

    name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]

    @property
    def largest(self) -> float:
        """The largest absolute value."""
        return max(abs(value) for row in self.values for value in row if value is not None)

    @property
    def signed(self) -> bool:
        """Whether a value is written as one below zero."""
        return any(round(value, 2) < 0 for row in self.values for value in row if value is not None)

    def turned(self) -> Grid:
        """The same with groups down and experts across."""
        return Grid(self.name, self.columns, self.rows, tuple(zip(*self.values, strict=True)))


def knobs(recipe: Recipe, experts: Sequence[str]) -> tuple[dict[str, float | str], list[Grid]]:
    """Take a recipe's knobs apart into those with one value, and those with a grid of them.

    Args:
        recipe: of any space. One of crossed models has no knobs, but says how they were crossed; one without
            either gives nothing.
        experts: their names, which tell ``{expert: number}`` from ``{group: number}``.
    """
    single: dict[str, float | str] = _crossed(recipe) if bred(recipe) else {}
    grids = []
    for name, setting in recipe.get("knobs", {}).items():
        if not isinstance(setting, Mapping):
            single[name] = setting
        elif setting:
            per_expert = set(setting) <= set(experts) or any(isinstance(v, Mapping) for v in setting.values())
            grids.append(_grid(name, setting if per_expert else {"": setting}))
    return single, grids


def _crossed(recipe: Recipe) -> dict[str, float | str]:
    ancestors = len(ancestry(recipe["lineage"], recipe["members"])) - len(recipe["members"])
    said: dict[str, float | str] = {
        "unit": recipe["unit"],
        "storage": recipe["storage"],
        "ancestors": ancestors,
    }
    return {**said, "merge": recipe["merge"]["method"]} if recipe["merge"] else said


def shares(provenance: Mapping[str, Mapping[str, float]], experts: Sequence[str]) -> Grid:
    """The mean coefficients of the sources a layer as a grid.

    Args:
        provenance: layer to source to coefficient; who is not named has none.
        experts: their names, in order; whoever else is a source (the base model) comes after them.
    """
    named = dict.fromkeys(source for layer in provenance.values() for source in layer)
    rows = tuple(dict.fromkeys([*experts, *named]))
    values = tuple(tuple(layer.get(row, 0.0) for layer in provenance.values()) for row in rows)
    return Grid("mean coefficient", rows, tuple(provenance), values)


def _grid(name: str, setting: Mapping[str, Any]) -> Grid:
    # An expert with one number for all groups repeats it in every column that others have.
    groups = [group for value in setting.values() if isinstance(value, Mapping) for group in value]
    columns = tuple(dict.fromkeys(groups)) or (_ALL,)
    values = tuple(
        tuple(value.get(column) if isinstance(value, Mapping) else value for column in columns)
        for value in setting.values()
    )
    return Grid(name, tuple(setting), columns, values)


def draw(grid: Grid, *, width: int = WIDE) -> Figure:
    """The heat map of a grid; on a narrow page the groups go down, so that every label can be read."""
    shown = grid if width > NARROW else grid.turned()
    figure = canvas(width, height_of(shown, width) + 2)
    paint(sheet(figure), shown, width)
    return figure


def sheet(figure: Figure) -> Axes:
    """Axes over the whole figure, in points from its upper left corner."""
    width, height = figure.get_size_inches() * INCH
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return axes


def height_of(grid: Grid, width: float, left: float | None = None) -> float:
    """Points that :func:`paint` takes; arguments as there."""
    top, row = _heights(grid, width, left)
    return top + row * len(grid.rows)


def margin(grid: Grid) -> float:
    """Points that the names of a grid's rows take."""
    return 8 + 6.6 * max(map(len, map(short, grid.rows)))


def paint(
    axes: Axes,
    grid: Grid,
    width: float,
    *,
    above: float = 0.0,
    left: float | None = None,
    largest: float | None = None,
) -> None:
    """Paint a grid onto a :func:`sheet`.

    Args:
        axes: the sheet.
        grid: what to paint.
        width: of all, in points.
        above: points to leave free.
        left: points for the names of the rows; by default what they take.
        largest: the value of full strength; by default the grid's largest.
    """
    left = margin(grid) if left is None else left
    largest = grid.largest if largest is None else largest
    cell, upright = _columns(grid, width, left)
    top, height = _heights(grid, width, left)
    top += above
    for y, row in enumerate(map(short, grid.rows)):
        _write(axes, left - 6, top + height * (y + 0.5), row, ha="right", va="center")
    step = ceil(13 / cell)
    for x, column in list(enumerate(map(short, grid.columns)))[::step]:
        place = (left + cell * (x + 0.5), top - 5)
        _write(axes, *place, column, ha="center", va="bottom", rotation=90 if upright else 0)
    for y, line in enumerate(grid.values):
        for x, value in enumerate(line):
            _cell(axes, (left + cell * x, top + height * y, cell, height), value, largest)


def _columns(grid: Grid, width: float, left: float) -> tuple[float, bool]:
    """Width of a cell, and whether the columns' names must stand upright."""
    cell = min((width - left - 2) / len(grid.columns), 110)
    return cell, 6.6 * max(map(len, map(short, grid.columns))) > cell - 4


def _heights(grid: Grid, width: float, left: float | None) -> tuple[float, float]:
    """Height of the columns' names, and of a row."""
    _, upright = _columns(grid, width, margin(grid) if left is None else left)
    names = 6.2 * max(map(len, map(short, grid.columns))) if upright else 14
    return 8 + names, 26 if len(grid.rows) <= 40 else 14


def _cell(axes: Axes, box: tuple[float, float, float, float], value: float | None, largest: float) -> None:
    """A rectangle whose strength is the value's, with the number in it where there is room."""
    from matplotlib.patches import Rectangle

    x, y, width, height = box
    if value is None:
        return
    strength = abs(value) / largest if largest else 0.0
    colour = LIGHT["accent" if value >= 0 else "minus"]
    gap = 0.5 if width > 6 else 0.0
    place, size = (x + gap, y + gap), (width - 2 * gap, height - 2 * gap)
    axes.add_patch(Rectangle(place, *size, facecolor=LIGHT["rule"], alpha=0.35, linewidth=0))
    axes.add_patch(Rectangle(place, *size, facecolor=colour, alpha=0.92 * strength, linewidth=0))
    if width >= 30 and height >= 12:
        ink = LIGHT["paper" if strength > 0.75 else "ink"]
        text = f"{value:z.2f}"
        axes.text(x + width / 2, y + height / 2, text, color=ink, fontsize=11, ha="center", va="center")


def _write(axes: Axes, x: float, y: float, text: str, **place: Any) -> None:
    axes.text(x, y, text, color=LIGHT["muted"], fontsize=11, parse_math=False, **place)


def short(name: str, most: int = 30) -> str:
    """A name that fits: a tensor's loses its first parts, which all tensors share; others their end."""
    short = name
    while len(short) > most and "." in short:
        short = short.partition(".")[2]
    return f"…{short}" if len(name) > most >= len(short) else _cut(name, most)


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
