"""The front as a drawing: two tasks against each other, or an axis a task where there are more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from searchmerge.pareto import signed
from searchmerge.report.figures import LIGHT, NARROW, WIDE, canvas, framed, spread
from searchmerge.report.front import Front, Values
from searchmerge.report.heatmap import sheet, short
from searchmerge.report.table import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OTHERS: dict[str, Any] = {"color": LIGHT["muted"], "alpha": 0.3, "zorder": 1}
_Label: TypeAlias = tuple[float, str, str]
"""Height, text and colour of what stands at the right edge."""

_MARGIN = 0.06
"""Of a scale's length, above and below what it has to show."""


def draw(found: Front, *, width: int = WIDE) -> Figure:
    """The front among the other trials, the experts and the plain average; up, and right, is better."""
    return _against(found, width) if len(found.tasks) == 2 else _parallel(found, width)


def legend(found: Front) -> str:
    """How to read the drawing."""
    two = len(found.tasks) == 2
    marks = [
        "Blue dots are the front, grey ones the other trials; below and left of the steps all is beaten."
        if two
        else "A blue line is a merge on the front, a grey one another trial.",
        f"The {'ringed dot' if two else 'thick line'} is the winner.",
        ("Diamonds are the experts." if two else "A diamond is an expert, where it is on the scale.")
        * bool(found.experts),
        f"The {'square' if two else 'dashed line'} is the plain average." * (found.average is not None),
        "Up, and right, is better." if two else "Each task has its own scale, and up is better.",
        "An arrow says that lower is better: that scale is turned round." * bool(found.lower),
    ]
    return " ".join(filter(None, marks))


# Two tasks.


def _against(found: Front, width: int) -> Figure:
    figure = canvas(width, 420 if width > NARROW else 340)
    axes = framed(figure, left=48, right=110 if width > NARROW else 64, top=16, bottom=44)
    for axis, task in zip((axes.xaxis, axes.yaxis), found.tasks, strict=True):
        axis.set_inverted(task in found.lower)
        axis.set_label_text(found.spoken(task), color=LIGHT["muted"], fontsize=11, parse_math=False)
    _free(axes)
    points = [_pair(found, point["dev"]) for point in found.points]
    axes.scatter(*_columns([_pair(found, values) for values in found.others]), s=14, linewidths=0, **_OTHERS)
    steps = sorted(zip(points, found.points, strict=True), key=lambda pair: _better(found, pair[1]["dev"]))
    ends = _columns([point for point, _ in steps])
    axes.plot(*ends, color=LIGHT["accent"], linewidth=1.2, drawstyle="steps-pre", zorder=3)
    axes.scatter(*_columns(points), s=26, color=LIGHT["accent"], linewidths=0, zorder=4)
    ring: dict[str, Any] = {"facecolors": "none", "edgecolors": LIGHT["accent"], "linewidths": 1.4}
    for point, place in zip(found.points, points, strict=True):
        if point["trial"] == found.winner:
            axes.scatter(*place, s=90, zorder=4, **ring)
            _name(axes, place, f"trial {found.winner}", "accent")
    for name, values in found.experts.items():
        axes.scatter(*_pair(found, values), s=34, marker="D", color=LIGHT["ink"], linewidths=0, zorder=5)
        _name(axes, _pair(found, values), short(name, 16), "ink")
    if found.average is not None:
        axes.scatter(*_pair(found, found.average), s=34, marker="s", color=LIGHT["minus"], zorder=5)
        _name(axes, _pair(found, found.average), "plain average", "minus", below=True)
    return figure


def _free(axes: Axes) -> None:
    """Let the ticks be fractions: the frame is made for trials, which are whole."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.margins(_MARGIN)


def _pair(found: Front, values: Values) -> tuple[float, float]:
    first, second = found.tasks
    return values[first], values[second]


def _better(found: Front, values: Values) -> tuple[float, ...]:
    return signed(values, found.tasks, found.lower)


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in pairs], [y for _, y in pairs]


def _name(axes: Axes, at: tuple[float, float], text: str, colour: str, *, below: bool = False) -> None:
    axes.annotate(
        text,
        at,
        (7, -7 if below else 7),
        textcoords="offset points",
        va="top" if below else "bottom",
        color=LIGHT[colour],
        fontsize=11,
        annotation_clip=False,
        parse_math=False,
        zorder=6,
    )


# More than two.


def _parallel(found: Front, width: int) -> Figure:
    wide = width > NARROW
    figure = canvas(width, 380 if wide else 340)
    axes = sheet(figure)
    frame = _Frame(found, 34, width - (130 if wide else 78), 30, 330 if wide else 290)
    for values in found.others:
        axes.plot(frame.places, frame.heights(values), linewidth=0.7, **_OTHERS)
    labels: list[_Label] = []
    for point in reversed(found.points):
        best, at = point["trial"] == found.winner, frame.heights(point["dev"])
        line: dict[str, Any] = {"linewidth": 2.8, "zorder": 4} if best else {"linewidth": 1.1, "alpha": 0.6}
        axes.plot(frame.places, at, color=LIGHT["accent"], **line)
        labels += [(at[-1], f"trial {found.winner}", "accent")] * best
    if found.average is not None:
        at = frame.heights(found.average)
        axes.plot(frame.places, at, color=LIGHT["minus"], linewidth=1.8, linestyle=(0, (4, 2)), zorder=5)
        labels.append((at[-1], "plain average" if wide else "average", "minus"))
    _scales(axes, found, frame)
    ordered = sorted(labels + _experts(axes, found, frame, named=wide))
    places = spread([height for height, *_ in ordered], 14, frame.bottom)
    for (_, text, colour), place in zip(ordered, places, strict=True):
        _text(axes, frame.right + 12, place, text, colour, va="center", ha="left")
    return figure


class _Frame:
    """Where the axes of more than two tasks stand, in points, ``y`` down.

    A scale holds the front, the average, and what is better than both; what is worse lies on its lower end.
    """

    def __init__(self, found: Front, left: float, right: float, top: float, bottom: float) -> None:
        self.right, self.top, self.bottom = right, top, bottom
        self.places = np.linspace(left, right, len(found.tasks))
        self._found = found
        mean = [found.average] if found.average is not None else []
        least = np.min([self._up(values) for values in [*(p["dev"] for p in found.points), *mean]], axis=0)
        shown = [*(p["dev"] for p in found.points), *mean, *found.others, *found.experts.values()]
        most = np.max([self._up(values) for values in shown], axis=0)
        length = np.where(most > least, most - least, 1.0)
        self.low, self.high = least - _MARGIN * length, most + _MARGIN * length

    def _up(self, values: Values) -> tuple[float, ...]:
        return signed(values, self._found.tasks, self._found.lower)

    def heights(self, values: Values) -> list[float]:
        """A height a task."""
        shares = np.clip((np.array(self._up(values)) - self.low) / (self.high - self.low), 0.0, 1.0)
        heights: list[float] = (self.bottom - (self.bottom - self.top) * shares).tolist()
        return heights


def _scales(axes: Axes, found: Front, frame: _Frame) -> None:
    """An axis a task, its name below, and the numbers at its ends."""
    for x, task, low, high in zip(frame.places, found.tasks, frame.low, frame.high, strict=True):
        axes.plot((x, x), (frame.top, frame.bottom), color=LIGHT["rule"], linewidth=1, zorder=2)
        sign = -1 if task in found.lower else 1
        _text(axes, x, frame.top - 8, number(sign * high), "muted", va="bottom", ha="center")
        _text(axes, x, frame.bottom + 18, number(sign * low), "muted", va="bottom", ha="center")
        name = short(task, int((frame.places[1] - frame.places[0]) / 7)) + " ↓" * (task in found.lower)
        _text(axes, x, frame.bottom + 34, name, "ink", va="bottom", ha="center")


def _experts(axes: Axes, found: Front, frame: _Frame, named: bool) -> list[_Label]:
    """A diamond an expert on each axis whose scale it is on, named where it is the best.

    Returns:
        The name on the last axis, which is not written.
    """
    left: list[_Label] = []
    for place, (x, task) in enumerate(zip(frame.places, found.tasks, strict=True)):
        at = {name: frame.heights(values)[place] for name, values in found.experts.items()}
        inside = {name: height for name, height in at.items() if height < frame.bottom}
        diamonds: dict[str, Any] = {"marker": "D", "color": LIGHT["ink"], "linewidths": 0, "zorder": 6}
        axes.scatter([x] * len(inside), list(inside.values()), s=30, **diamonds)
        if inside and named:
            best = min(inside, key=lambda name: inside[name])
            if task == found.tasks[-1]:
                left.append((inside[best], short(best, 16), "ink"))
            else:
                _text(axes, x + 8, inside[best], short(best, 16), "ink", va="center", ha="left")
    return left


def _text(axes: Axes, x: float, y: float, text: str, colour: str, **how: Any) -> None:
    axes.text(x, y, text, color=LIGHT[colour], fontsize=11, parse_math=False, zorder=7, **how)
