"""Drawings with matplotlib's object interface, as SVG that takes its colours from the page, or as PNG.

One point of a figure is one CSS pixel of the page, so a font size means the same in both.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from searchmerge.files import write_text
from searchmerge.report.run import Run, bred, laid, read
from searchmerge.report.table import LABELS, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LIGHT = {
    "paper": "#fefefe",
    "ink": "#1d2127",
    "muted": "#666e78",
    "rule": "#dfe2e6",
    "accent": "#0b5cad",
    "minus": "#b3402a",
}
"""Colours of the page, by the names of its CSS variables; figures are drawn in these."""

DARK = {
    "paper": "#15181c",
    "ink": "#e4e7ea",
    "muted": "#969fa9",
    "rule": "#2d333a",
    "accent": "#6cb2f8",
    "minus": "#f58a70",
}
"""The same on a dark screen."""

WIDE, NARROW = 880, 358
"""Widths for a desk and for a phone, in points."""

_SHORT = {**LABELS, "best expert": "best expert", "tuned task arithmetic": "one coefficient"}
_SHORT["default"] = "space's default"
INCH = 72
"""Points of an inch."""


def curve(run: Run, *, width: int = WIDE) -> Figure:
    """The search: a dot a trial, a line for the best so far, and what it is to be compared with.

    Args:
        run: failed trials stand as crosses on the axis, those stopped early as ticks, and those far below the
            others as triangles.
        width: in points.
    """
    figure = canvas(width, 344)
    axes = framed(figure, left=36, right=126 if width <= NARROW else 146, top=26, bottom=40)
    points, partly = (
        np.array([(trial.number, trial.score) for trial in trials]).reshape(-1, 2)
        for trials in (run.whole, run.partly)
    )
    lines = dev_lines(run)
    low, high = _span(points[:, 1], list(lines.values()))
    last = max(len(run.trials) - 1, 1)
    axes.set(xlim=(-0.02 * last - 0.5, last + 0.5), ylim=(low, high))
    axes.set_xlabel("trial", color=LIGHT["muted"], fontsize=11)
    axes.set_title("dev score", loc="left", color=LIGHT["muted"], fontsize=11)
    _dots(axes, run, points, low)
    if len(partly):
        axes.scatter(
            partly[:, 0], partly[:, 1], s=10, color=LIGHT["muted"], alpha=0.35, linewidths=0, zorder=2
        )
    labels = [(score, f"{_SHORT.get(name, name)} {number(score)}", "muted") for name, score in lines.items()]
    for score in lines.values():
        axes.axhline(score, color=LIGHT["muted"], linewidth=0.8, linestyle=(0, (1, 2.5)), zorder=1)
    if len(points):
        best = np.maximum.accumulate([*points[:, 1], -np.inf])
        steps = [*points[:, 0], last]
        axes.plot(steps, best, color=LIGHT["accent"], linewidth=1.8, drawstyle="steps-post", zorder=4)
        labels.append((best[-1], f"best found {number(best[-1])}", "accent"))
    _label(axes, labels, gap=15 * (high - low) / (figure.get_figheight() * INCH - 66))
    return figure


def dev_lines(run: Run) -> dict[str, float]:
    """Dev scores to compare the curve with, by name: the space's default and what is no single expert.

    The first trial of a population is its first founder, which is an expert, or all founders merged; that of
    paths is the model that gives the rest, untouched, which may be among the baselines too.
    """
    lines = {}
    if run.trials and run.trials[0].evaluation:
        first = run.trials[0]
        if laid(first.recipe):
            rest = first.recipe["rest"]
            if f"search {rest}" not in (run.result or {"baselines": ()})["baselines"]:
                lines[f"{rest} untouched"] = first.score
        elif not bred(first.recipe):
            lines["default"] = first.score
        elif first.recipe["merge"]:
            lines["founders merged"] = first.score
    if run.result:
        every = {name: scores["dev"] for name, scores in run.result["baselines"].items()}
        lines |= {name: dev["score"] for name, dev in every.items() if not name.startswith("expert ")}
    return lines


def below(run: Run) -> bool:
    """Whether a trial lies so far down that the curve shows it as a triangle."""
    scores = np.array([trial.score for trial in run.whole])
    return bool(len(scores)) and bool(scores.min() < _span(scores, list(dev_lines(run).values()))[0])


def curve_png(folder: Path, out: Path, *, width: int = WIDE) -> None:
    """Write the curve of a run folder as a PNG file, twice the resolution of a plain screen.

    Raises:
        UserError: no run lies there.
    """
    save_png(curve(read(folder), width=width), out)


def save_png(figure: Figure, out: Path) -> None:
    """Write a figure as a PNG file, twice the resolution of a plain screen."""
    figure.set_facecolor(LIGHT["paper"])
    buffer = BytesIO()
    # Tight: the labels outside the axes hang over the canvas, which the page shows and a file would cut.
    figure.savefig(
        buffer, format="png", metadata={"Software": None}, bbox_inches="tight", pad_inches=10 / INCH
    )
    out.write_bytes(buffer.getvalue())


def canvas(width: float, height: float) -> Figure:
    """An empty figure of that size in points, without a ground of its own."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / INCH, height / INCH), dpi=2 * INCH, facecolor="none")


def save_svg(figure: Figure, out: Path) -> None:
    """Write a figure as an SVG file on light ground, its text as text."""
    figure.set_facecolor(LIGHT["paper"])
    write_text(out, _vectors(figure, out.name, bbox_inches="tight", pad_inches=10 / INCH))


def svg(figure: Figure, label: str, colours: Mapping[str, str] = LIGHT) -> str:
    """The figure as an ``<svg>`` element for an HTML page that defines the colours' variables.

    Args:
        figure: drawn in these colours only.
        label: what it shows, for those who cannot see it.
        colours: by the names of the page's variables.
    """
    width, height = figure.get_size_inches() * INCH
    body = _vectors(figure, f"{label} {width:g}")
    body = body[body.index(">", body.index("<svg")) + 1 :]
    body = re.sub(r'<g id="[^"]*">', "<g>", body)
    for name, colour in colours.items():
        body = body.replace(colour, f"var(--{name})")
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">{body}'


def _vectors(figure: Figure, salt: str, **how: Any) -> str:
    """The figure as an SVG file's content; the salt tells its ids from those of other figures of a page."""
    import matplotlib as mpl

    buffer = StringIO()
    # Text stays text: it takes the page's font, can be searched and read aloud. A salt that is no random
    # one makes equal runs give equal pages. A glyph that matplotlib's font lacks is the browser's to find.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        bare: dict[str, Any] = {"Creator": None, "Date": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", metadata=bare, **how)
    return buffer.getvalue()


def framed(figure: Figure, *, left: float, right: float, top: float, bottom: float) -> Axes:
    """Axes with margins in points, and nothing drawn that carries no information."""
    from matplotlib.ticker import MaxNLocator

    width, height = figure.get_size_inches() * INCH
    place = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    axes = figure.add_axes(place, facecolor="none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LIGHT["rule"])
    axes.tick_params(colors=LIGHT["muted"], labelsize=11, length=3, color=LIGHT["rule"])
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    return axes


def _span(scores: np.ndarray[Any, Any], lines: Sequence[float]) -> tuple[float, float]:
    """Ends of the score axis: from the top of all, three times as far down as the lower quartile lies.

    What is lower would press all that matters into a band; but half of the lines always stay in view.
    """
    values = np.concatenate([scores, lines])
    if not len(values):
        return 0.0, 1.0
    high, low = values.max(), values.min()
    if len(scores):
        floor = scores.max() - 3 * (scores.max() - np.quantile(scores, 0.25))
        low = max(low, min([floor, np.median(lines)] if lines else [floor]))
    margin = 0.06 * (high - low) or 0.05
    return float(low - margin), float(high + margin)


def _dots(axes: Axes, run: Run, points: np.ndarray[Any, Any], low: float) -> None:
    inside = points[:, 1] >= low
    repeats = [trial.number for trial in run.trials if trial.repeats is not None]
    hollow = np.isin(points[:, 0], repeats)
    accent = LIGHT["accent"]
    filled, again = points[inside & ~hollow], points[inside & hollow]
    axes.scatter(filled[:, 0], filled[:, 1], s=16, color=accent, alpha=0.45, linewidths=0, zorder=3)
    ring: Mapping[str, Any] = {"facecolors": "none", "edgecolors": accent, "linewidths": 0.8}
    axes.scatter(again[:, 0], again[:, 1], s=14, alpha=0.6, zorder=3, **ring)
    ground: Mapping[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False, "zorder": 5}
    below = points[~inside, 0]
    axes.scatter(below, np.full(len(below), 0.012), s=18, marker="v", color=accent, alpha=0.5, **ground)
    # Not of the failures' shape: the two must be told apart in black and white too.
    stopped = [trial.number for trial in run.trials if trial.state == "rejected"]
    axes.scatter(
        stopped,
        np.full(len(stopped), 0.012),
        s=26,
        marker="|",
        color=LIGHT["muted"],
        linewidths=0.9,
        **ground,
    )
    failed = [trial.number for trial in run.failed]
    axes.scatter(failed, np.full(len(failed), 0.012), s=22, marker="x", color=LIGHT["minus"], **ground)


def _label(axes: Axes, labels: Sequence[tuple[float, str, str]], gap: float) -> None:
    """Name the lines at their right ends, pushed apart by at least ``gap``."""
    low, high = axes.get_ylim()
    ordered = sorted(labels, key=lambda label: label[0])
    places = spread([max(score, low) for score, _, _ in ordered], gap, high)
    for (score, text, colour), place in zip(ordered, places, strict=True):
        axes.annotate(
            text if score >= low else f"↓ {text}",
            (1, max(score, low)),
            (1.012, place),
            xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(),
            color=LIGHT[colour],
            fontsize=11,
            fontweight="bold" if colour == "accent" else "normal",
            va="center",
            annotation_clip=False,
            parse_math=False,
        )


def spread(wanted: Sequence[float], gap: float, top: float) -> list[float]:
    """Places as near the wanted ones as a simple sweep gets, in the same order, ``gap`` apart, under ``top``.

    Args:
        wanted: in ascending order.
        gap: least distance of neighbours.
        top: no place lies above it.
    """
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + gap) if places else place)
    for index in reversed(range(len(places))):
        places[index] = min(places[index], top)
        top = places[index] - gap
    return places
