"""A path through layers as a drawing: a lane a model, a box a layer; below, what is left of one model."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Any

from searchmerge.report.figures import LIGHT, NARROW, WIDE, canvas
from searchmerge.report.heatmap import sheet, short
from searchmerge.report.path import Link, Path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LANE, _LEAST, _SCALED, _MOST = 28, 24, 32, 34
"""Points from lane to lane, and from step to step: least, least with a factor at each, most."""

_ROW = 22
"""Points from step to step where they go down."""

_HIGH = 18
"""Height of a box."""

_LOOK: dict[Link, dict[str, Any]] = {
    "next": {"linewidth": 5, "solid_capstyle": "butt"},
    "across": {"color": LIGHT["ink"], "linewidth": 1.1},
    "jump": {"color": LIGHT["minus"], "linewidth": 1.8, "linestyle": (0, (1.4, 0.9))},
}
"""Lines; the thick one has the colour of its lane, dashes are finer than the least gap of two boxes."""


@dataclass(frozen=True)
class _Plan:
    """Where things are drawn, in points, ``y`` down.

    Args:
        size: width and height of the figure.
        at: the ``(x, y)`` of each stop of the path.
        box: width and height of a step's.
        breaks: ends of a line that goes on in another band: where it leaves and where it comes in.
        lanes: a line a lane and band, as ``(x, x, y, y)``.
        strip: middle of the first of all layers of ``rest``, and how many go in a row.
        pitch: from box to box of these.
    """

    size: tuple[float, float]
    at: tuple[tuple[float, float], ...]
    box: tuple[float, float]
    breaks: tuple[float, float]
    lanes: tuple[tuple[float, float, float, float], ...]
    strip: tuple[float, float, int]
    pitch: float


def draw(path: Path, *, width: int = WIDE) -> Figure:
    """The path: steps across, in bands, and lanes down; on a narrow page steps down and lanes across."""
    wide = width > NARROW
    plan = _across(path, width) if wide else _down(path, width)
    figure = canvas(*plan.size)
    axes = sheet(figure)
    for left, right, top, bottom in plan.lanes:
        axes.plot((left, right), (top, bottom), color=LIGHT["rule"], linewidth=1, zorder=0)
    _links(axes, path, plan)
    _boxes(axes, path, plan)
    (_label_across if wide else _label_down)(axes, path, plan)
    _strip(axes, path, plan)
    return figure


def _across(path: Path, width: float) -> _Plan:
    left, stops, lanes = 14 + _left(path), len(path.stops), len(path.sources)
    bands = ceil(stops / ((width - left - 10) // (_SCALED if path.scaled else _LEAST)))
    each = ceil(stops / bands)
    pitch = min((width - left - 10) / each, _MOST)
    high = 30 + _LANE * lanes + (16 if path.scaled else 0)
    right = left + pitch * each
    levels = [22 + high * band + _LANE * (lane + 0.5) for band in range(bands) for lane in range(lanes)]
    at = tuple(
        (left + pitch * (place % each + 0.5), levels[lanes * (place // each) + _lane(path, place)])
        for place in range(stops)
    )
    return _Plan(
        (width, high * bands + _strip_high(path, each)),
        at,
        (pitch - 7, _HIGH),
        (left - 4, right + 4),
        tuple((left, right, level, level) for level in levels),
        (left + pitch / 2, high * bands + 34, each),
        pitch,
    )


def _down(path: Path, width: float) -> _Plan:
    lanes = len(path.sources)
    left, pitch = 34, min((width - 34 - 38) / lanes, 84)
    top = 12 + (_letters(path) if _upright(path, pitch) else 14)
    at = tuple(
        (left + pitch * (_lane(path, place) + 0.5), top + _ROW * (place + 0.5))
        for place in range(len(path.stops))
    )
    bottom = top + _ROW * len(at)
    each = int(width // _LEAST)
    middles = [left + pitch * (lane + 0.5) for lane in range(lanes)]
    return _Plan(
        (width, bottom + _strip_high(path, each)),
        at,
        (min(pitch - 7, 40), _HIGH - 2),
        (0, width),
        tuple((middle, middle, top, bottom) for middle in middles),
        (_LEAST / 2, bottom + 40, each),
        _LEAST,
    )


def _links(axes: Axes, path: Path, plan: _Plan) -> None:
    """Lines from stop to stop, under the boxes; one into the next band leaves on the right."""
    into, out = plan.breaks
    for number, (start, end) in enumerate(pairwise(plan.at)):
        link = path.links[number]
        look = {"color": _colour(path, path.stops[number].source), **_LOOK[link]}
        if plan.size[0] > NARROW and end[0] < start[0]:
            axes.plot((start[0], out), (start[1], start[1]), **look, zorder=1)
            axes.plot((into, end[0]), (end[1], end[1]), **look, zorder=1)
        else:
            axes.plot(*zip(start, end, strict=True), **look, zorder=1)
    for place, face in ((plan.at[0], LIGHT["paper"]), (plan.at[-1], LIGHT["muted"])):
        axes.scatter(*place, s=42, facecolors=face, edgecolors=LIGHT["muted"], linewidths=1.4, zorder=3)


def _boxes(axes: Axes, path: Path, plan: _Plan) -> None:
    for step, again, place in zip(path.steps, path.again, plan.at[1:-1], strict=True):
        colour = _colour(path, step.source)
        _box(axes, place, plan.box, str(step.index), colour, hollow=again)


def _label_across(axes: Axes, path: Path, plan: _Plan) -> None:
    left, lanes = plan.breaks[0], len(path.sources)
    for number, (_, _, level, _) in enumerate(plan.lanes):
        name = path.sources[number % lanes]
        _write(axes, (left - 6, level), short(name), LIGHT[_tone(path, name)], ha="right")
    for band in range(len(plan.lanes) // lanes):
        top, bottom = plan.lanes[band * lanes][2], plan.lanes[band * lanes + lanes - 1][2]
        _write(axes, (left - 6, top - 24), "step", ha="right")
        if path.scaled:
            _write(axes, (left - 6, bottom + 20), "factor", ha="right")
    for number, (x, y) in enumerate(plan.at[1:-1], start=1):
        lane = _lane(path, number)
        if number == 1 or number % 5 == 0:
            _write(axes, (x, y - _LANE * lane - 24), str(number), ha="center")
        if path.steps[number - 1].factor != 1:
            factor = f"{path.steps[number - 1].factor:.2f}"
            _write(axes, (x, y + _LANE * (lanes - 1 - lane) + 20), factor, LIGHT["ink"], ha="center")


def _label_down(axes: Axes, path: Path, plan: _Plan) -> None:
    pitch = plan.lanes[1][0] - plan.lanes[0][0] if len(plan.lanes) > 1 else 84
    top = plan.lanes[0][2]
    for name, (x, *_) in zip(path.sources, plan.lanes, strict=True):
        upright = {"rotation": 90} if _upright(path, pitch) else {}
        colour = LIGHT[_tone(path, name)]
        _write(axes, (x, top - 4), short(name), colour, ha="center", va="bottom", **upright)
    _write(axes, (0, top - 4), "step", ha="left", va="bottom")
    if path.scaled:
        _write(axes, (plan.size[0], top - 4), "factor", ha="right", va="bottom")
    for number, (step, (_, y)) in enumerate(zip(path.steps, plan.at[1:-1], strict=True), start=1):
        _write(axes, (0, y), str(number), ha="left")
        if step.factor != 1:
            _write(axes, (plan.size[0], y), f"{step.factor:.2f}", LIGHT["ink"], ha="right")


def _strip(axes: Axes, path: Path, plan: _Plan) -> None:
    """All layers of ``rest``: those on the path full, with how often if more than once, the others empty."""
    if not path.omissions:
        return
    x, y, each = plan.strip
    _write(axes, (x - plan.pitch / 2, y - 22), f"all layers of {short(path.rest)}", ha="left")
    size = (plan.pitch - 7, _HIGH - 2)
    for index, count in enumerate(path.uses):
        place = (x + plan.pitch * (index % each), y + _strip_row(path) * (index // each))
        if count:
            _box(axes, place, size, str(index), LIGHT["muted"])
        else:
            _write(axes, place, str(index), LIGHT["minus"], ha="center")
        if count > 1:
            _write(axes, (place[0], place[1] + 16), f"×{count}", LIGHT["ink"], ha="center")


def _strip_row(path: Path) -> float:
    return 38 if max(path.uses) > 1 else 22


def _strip_high(path: Path, each: int) -> float:
    """Points that the layers of ``rest`` take, so many a row; none where each is on the path once."""
    return 42 + _strip_row(path) * ceil(path.depth / each) if path.omissions else 4


def _box(
    axes: Axes,
    place: tuple[float, float],
    size: tuple[float, float],
    text: str,
    colour: str,
    *,
    hollow: bool = False,
) -> None:
    from matplotlib.patches import Rectangle

    corner = (place[0] - size[0] / 2, place[1] - size[1] / 2)
    face = LIGHT["paper"] if hollow else colour
    axes.add_patch(Rectangle(corner, *size, facecolor=face, edgecolor=colour, linewidth=1.2, zorder=3))
    _write(axes, place, text, colour if hollow else LIGHT["paper"], ha="center", zorder=4)


def _write(
    axes: Axes, place: tuple[float, float], text: str, colour: str = LIGHT["muted"], **how: Any
) -> None:
    look: dict[str, Any] = {"fontsize": 11, "color": colour, "va": "center_baseline", **how}
    axes.text(*place, text, parse_math=False, **look)


def _lane(path: Path, stop: int) -> int:
    return path.sources.index(path.stops[stop].source)


def _tone(path: Path, source: str) -> str:
    return "muted" if source == path.rest else "accent"


def _colour(path: Path, source: str) -> str:
    return LIGHT[_tone(path, source)]


def _letters(path: Path) -> float:
    """Points that the longest name takes."""
    return 6.4 * max(len(short(name)) for name in path.sources)


def _left(path: Path) -> float:
    return max(_letters(path), 40 if path.scaled else 28)


def _upright(path: Path, pitch: float) -> bool:
    return _letters(path) > pitch - 4
