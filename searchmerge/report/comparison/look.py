"""What a strategy looks like in every figure of a comparison: one colour, marker and line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from searchmerge.report.figures import DARK as PAGE_DARK
from searchmerge.report.figures import INCH, NARROW, spread
from searchmerge.report.figures import LIGHT as PAGE_LIGHT
from searchmerge.report.heatmap import sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ON_PAPER = ("#0b4aa2", "#ab3a05", "#178557", "#a77da3", "#d07f0e", "#1e99de", "#2a2326")
_ON_DARK = ("#3484e6", "#dc4f10", "#5cf0ae", "#a0599b", "#e6d84a", "#afd8ff", "#8f8f7e")
"""Seven hues near Okabe & Ito's, moved until all stand out from the ground (contrast 3 or more) and any two
from each other, for those who see no red, no green or no blue too (distance 18 or more in CIELAB)."""

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES: tuple[Any, ...] = ("solid", (0, (4, 1.6)), (0, (1, 1.4)))
"""Beyond seven strategies the colours come again with other lines and hollow markers."""

LIGHT = PAGE_LIGHT | {f"series-{place}": colour for place, colour in enumerate(_ON_PAPER)}
DARK = PAGE_DARK | {f"series-{place}": colour for place, colour in enumerate(_ON_DARK)}
"""Colours of the page, with those of the strategies."""

LETTER = 6.3
"""Width of a letter of 11 points, in points."""

_SAMPLE = 26
"""Points of the piece of line that stands before a name."""


@dataclass(frozen=True)
class Look:
    """How a strategy is drawn: by its place among all of the comparison."""

    place: int

    @property
    def colour(self) -> str:
        """On light ground."""
        return _ON_PAPER[self.place % len(_ON_PAPER)]

    @property
    def line(self) -> dict[str, Any]:
        """Arguments of a line without markers."""
        turn = self.place // len(_ON_PAPER)
        return {"color": self.colour, "linestyle": _DASHES[turn % len(_DASHES)], "linewidth": 1.7}

    @property
    def marker(self) -> dict[str, Any]:
        """Arguments of a marker."""
        face = self.colour if self.place < len(_ON_PAPER) else LIGHT["paper"]
        shape = _MARKERS[self.place % len(_MARKERS)]
        return {"marker": shape, "markerfacecolor": face, "markeredgecolor": self.colour, "markersize": 5.5}


def looks(strategies: Sequence[str]) -> dict[str, Look]:
    """The look of each strategy of a comparison."""
    return {name: Look(place) for place, name in enumerate(strategies)}


def named(name: str, most: int) -> str:
    """A name of so many letters: a longer one loses its middle, since its end may tell it from others."""
    name = " ".join(name.split())
    if len(name) <= most:
        return name
    tail = (most - 1) // 2
    return f"{name[: most - 1 - tail]}…{name[len(name) - tail :]}"


def letters(width: float) -> int:
    """How long a name may be beside a figure of that width."""
    return 14 if width <= NARROW else 26


def room(names: Sequence[str], width: float) -> float:
    """Points that :func:`name_lines` takes right of the axes."""
    return 12 + _SAMPLE + LETTER * max(min(len(name), letters(width)) for name in names)


def name_lines(axes: Axes, ends: Mapping[str, float], look: Mapping[str, Look]) -> None:
    """Write the strategies' names right of where their lines end, in that order, pushed apart.

    Args:
        axes: whose lines they are.
        ends: the last value of each.
        look: of each.
    """
    points_of = INCH / axes.figure.dpi
    width = axes.figure.bbox.width * points_of
    wide, high = axes.bbox.width * points_of, axes.bbox.height * points_of
    low, top = axes.get_ylim()
    points = {name: (min(max(value, low), top) - low) / (top - low) * high for name, value in ends.items()}
    order = sorted(points, key=lambda name: points[name])
    places = spread([points[name] for name in order], 15, high - 4)
    over: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
    for name, place in zip(order, places, strict=True):
        at = [1 + step / wide for step in (0, 8, 8 + _SAMPLE - 6, 8 + _SAMPLE)]
        y = place / high
        axes.plot(
            (at[0], at[1]), (points[name] / high, y), color=LIGHT["rule"], linewidth=0.8, **over, zorder=1
        )
        axes.plot((at[1], sum(at[1:3]) / 2, at[2]), (y, y, y), **sample(look[name]), **over)
        text = named(name, letters(width))
        axes.text(at[3], y, text, color=LIGHT["ink"], fontsize=11, va="center", parse_math=False, **over)


def sample(look: Look) -> dict[str, Any]:
    """Arguments of a piece of line with a marker in its middle."""
    return {**look.line, **look.marker, "markevery": [1]}


def key_height(names: Sequence[str], width: float) -> float:
    """Points that :func:`key` takes."""
    return 18 * -(-len(names) // _abreast(names, width)) + 8


def key(figure: Figure, names: Sequence[str], look: Mapping[str, Look]) -> None:
    """Markers with their strategies' names in columns along the lower edge of a figure."""
    width, height = figure.get_size_inches() * INCH
    axes = sheet(figure)
    abreast = _abreast(names, width)
    for place, name in enumerate(names):
        row, column = divmod(place, abreast)
        x, y = 8 + width / abreast * column, height - key_height(names, width) + 14 + 18 * row
        axes.plot((x,), (y,), linestyle="none", **look[name].marker)
        text = named(name, letters(width))
        axes.text(x + 10, y, text, color=LIGHT["ink"], fontsize=11, va="center", parse_math=False)


def _abreast(names: Sequence[str], width: float) -> int:
    longest = max(min(len(name), letters(width)) for name in names)
    return max(1, min(len(names), int(width // (LETTER * longest + 34))))
