from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from searchmerge.report.comparison import anytime, drawings, look, placing, winners
from searchmerge.report.comparison.content import Compared
from searchmerge.report.figures import NARROW, WIDE, svg
from tests.report.comparisons import comparison

NAMES = ("de", "random", "tpe")
MANY = tuple(f"strategy {place}" for place in range(14))


def compared(*args: Any, **how: Any) -> Compared:
    return Compared(comparison(*args, **how))


def every(figure: Any) -> list[Any]:
    """All lines of a figure."""
    return [line for axes in figure.axes for line in axes.lines]


def lines(axes: Any) -> dict[str, npt.NDArray[np.float64]]:
    """The lines that have a name, as points ``[points, 2]``."""
    return {
        line.get_label(): line.get_xydata() for line in axes.lines if not line.get_label().startswith("_")
    }


def texts(figure: Any) -> set[str]:
    return {text.get_text() for axes in figure.axes for text in axes.texts}


def statistics(of: Compared) -> Mapping[str, Any]:
    assert of.statistics
    return of.statistics


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("by", ["evaluations", "seconds"])
def test_curves_and_bands_are_the_quartiles(by: anytime.By, width: int) -> None:
    found = compared(NAMES, spaces=("small", "large"))
    panels = anytime.curves(found, by, width=width).axes
    assert len(panels) == 2
    for axes, space in zip(panels, ("small", "large"), strict=True):
        curves = {
            each["strategy"]: each[by] for each in statistics(found)["curves"] if each["space"] == space
        }
        drawn = lines(axes)
        assert set(drawn) == set(curves) == set(NAMES)
        fills = dict(zip(curves, axes.collections, strict=True))
        for name, curve in curves.items():
            assert np.array_equal(drawn[name], np.column_stack([curve["at"], curve["median"]]))
            # The edge of a fill between steps goes along the low quartiles, then back along the high ones.
            corners = {tuple(corner) for corner in fills[name].get_paths()[0].vertices}
            for at, low, high in zip(curve["at"], curve["low"], curve["high"], strict=True):
                on_low = [y for x, y in corners if x <= at + 1e-12 and y == low]
                assert on_low, (at, low)
                assert [y for x, y in corners if x <= at + 1e-12 and y == high]
        assert {name for name in NAMES if name in {text.get_text() for text in axes.texts}} == set(NAMES)


def test_the_reference_is_a_line_at_its_dev_score() -> None:
    figure = anytime.curves(compared(), "evaluations")
    assert any(set(line.get_ydata()) == {0.5} for line in every(figure))
    assert "the default merge" in texts(figure)


@pytest.mark.parametrize(
    ("last", "unit", "seconds"), [(200, "seconds", 1), (4000, "minutes", 60), (9e4, "hours", 3600)]
)
def test_long_times_have_larger_units(last: float, unit: str, seconds: float) -> None:
    content = comparison()
    for curve in content["statistics"]["curves"]:
        curve["seconds"]["at"] = list(np.linspace(1, last, 256))
    axes = anytime.curves(Compared(content), "seconds").axes[0]
    assert axes.get_xlabel() == unit
    assert lines(axes)["de"][-1, 0] == pytest.approx(last / seconds)


def test_many_strategies_have_a_panel_each_with_the_best_of_all_in_grey() -> None:
    found = compared(MANY)
    assert not anytime.curves(found, "evaluations").axes[0].collections
    figure = anytime.bands(found, "evaluations")
    curves = [each["evaluations"] for each in statistics(found)["curves"]]
    best = np.max([curve["median"] for curve in curves], axis=0)
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(MANY)
    for axes, curve, name in zip(figure.axes, curves, MANY, strict=True):
        assert np.array_equal(lines(axes)[name][:, 1], curve["median"])
        assert np.array_equal(axes.lines[0].get_ydata(), best)
        assert len(axes.collections) == 1


def test_the_axis_is_cut_only_where_the_note_says_so() -> None:
    content = comparison()
    assert not anytime.cut(Compared(content), "evaluations")
    content["statistics"]["curves"][0]["evaluations"]["low"][0] = -9.0
    assert anytime.cut(Compared(content), "evaluations")
    notes = {each.name: each.note for each in drawings.course(Compared(content))}
    assert "The axis begins" in notes["best-by-evaluations"]
    assert "The axis begins" not in notes["best-by-seconds"]
    assert anytime.curves(Compared(content), "evaluations").axes[0].get_ylim()[0] > -2


def test_the_targets_are_the_shares_reached() -> None:
    found = compared(NAMES)
    drawn = lines(anytime.targets(found).axes[0])
    for name in NAMES:
        assert np.array_equal(drawn[name][:, 1], statistics(found)["targets"]["reached"][name])
        assert np.array_equal(drawn[name][:, 0], np.arange(1, 13))


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("names", [NAMES, MANY])
def test_ranks_stand_in_scale_with_a_reason_in_place_of_bars(names: tuple[str, ...], width: int) -> None:
    found = compared(names)
    figure = placing.ranks(found, width=width)
    axis = next(line for line in every(figure) if line.get_label().startswith("_"))
    (left, right), span = axis.get_xdata(), len(names) - 1
    drawn = [line for line in every(figure) if line.get_label() in names]
    means = [mean for split in ("dev", "test") for mean in statistics(found)[split]["ranks"]["mean"].items()]
    assert sorted((line.get_label(), round(1 + (line.get_xdata()[0] - left) / (right - left) * span, 9))
                  for line in drawn) == sorted((name, round(mean, 9)) for name, mean in means)  # fmt: skip
    assert not {line.get_label() for line in every(figure)} & {"group", "critical"}
    said = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert "no critical difference: 5 seeds are too few" in said


def test_bars_join_the_groups_and_the_critical_difference_is_in_scale() -> None:
    found = compared(NAMES, seeds=12, budget=60)
    ranks = statistics(found)["dev"]["ranks"]
    assert ranks["critical"]
    assert len(ranks["groups"]) == 2
    drawn = every(placing.ranks(found))
    unit = np.ptp(drawn[0].get_xdata()) / 2
    critical = next(line for line in drawn if line.get_label() == "critical")
    assert np.ptp(critical.get_xdata()) == pytest.approx(ranks["critical"] * unit)
    bars = [line for line in drawn if line.get_label() == "group"][:2]
    for bar, group in zip(bars, ranks["groups"], strict=True):
        apart = ranks["mean"][group[-1]] - ranks["mean"][group[0]]
        assert np.ptp(bar.get_xdata()) == pytest.approx(apart * unit + 8)


def test_the_scatter_has_every_winner_its_reference_and_the_diagonal() -> None:
    found = compared(NAMES, spaces=("small", "large"), leave_out=1)
    panels = placing.scatter(found).axes[:2]
    for axes, space in zip(panels, ("small", "large"), strict=True):
        drawn = lines(axes)
        for name in NAMES:
            scores = [
                (run["best"]["dev"]["score"], run["best"]["test"]["score"])
                for run in found.runs
                if (run["space"], run["strategy"]) == (space, name)
            ]
            assert len(scores) == 5 - (space == "large" and name == "tpe")
            assert np.array_equal(drawn[name], scores)
        assert drawn["reference"].tolist() == [[0.5, 0.49]]
        assert np.array_equal(drawn["equal"][:, 0], drawn["equal"][:, 1])
        assert tuple(axes.get_xlim()) == tuple(axes.get_ylim()) == tuple(drawn["equal"][:, 0])
    assert not list(drawings.tested(compared(tested=False)))


def test_a_number_that_all_winners_share_is_said_and_not_drawn(tmp_path: Path) -> None:
    found = compared(NAMES)
    for run in found.runs:
        run["recipe"]["knobs"]["lambda"] = 0.75
    assert winners.shared(found, "task-arithmetic") == {"lambda": 0.75}
    assert {grid.name for grid in winners.grids(found, "task-arithmetic")} == {
        "weight, reviews",
        "weight, tweets",
        "density",
    }
    (drawing,) = drawings.found(tmp_path, found)
    assert "The same in all: lambda 0.75." in drawing.note
    for run in found.runs:
        run["recipe"]["knobs"] = {"lambda": 0.75}
    assert not list(drawings.found(tmp_path, found)), "nothing was searched that could be drawn"


def test_coefficients_are_those_of_the_seed_that_is_best_on_dev() -> None:
    found = compared(NAMES)
    for number, run in enumerate(found.runs):
        run["recipe"]["knobs"]["lambda"] = 0.5 + number / 100
    grids = {grid.name: grid for grid in winners.grids(found, "task-arithmetic")}
    assert set(grids) == {"weight, reviews", "weight, tweets", "density", "lambda"}
    for place, name in enumerate(NAMES):
        runs = [run for run in found.runs if run["strategy"] == name]
        top = max(run["best"]["dev"]["score"] for run in runs)
        knobs = next(run for run in runs if run["best"]["dev"]["score"] == top)["recipe"]["knobs"]
        for expert in ("reviews", "tweets"):
            grid = grids[f"weight, {expert}"]
            assert dict(zip(grid.columns, grid.values[place], strict=True)) == knobs["weight"][expert]
        assert (
            dict(zip(grids["density"].columns, grids["density"].values[place], strict=True))
            == knobs["density"]
        )
        assert grids["lambda"].values[place] == (knobs["lambda"],)
        assert grids["density"].rows[place] == name
    for width in (WIDE, NARROW):
        written = texts(winners.coefficients(found, "task-arithmetic", width=width))
        assert {f"{value:.2f}" for row in grids["weight, tweets"].values for value in row if value} <= written


def test_a_strategy_looks_the_same_in_all_figures_and_like_no_other() -> None:
    found = compared(MANY)
    looks = look.looks(found.strategies)
    assert (
        len({(each.colour, each.line["linestyle"], each.marker["marker"]) for each in looks.values()}) == 14
    )
    for figure in (
        anytime.curves(found, "seconds"),
        anytime.bands(found, "seconds"),
        anytime.targets(found),
        placing.ranks(found),
        placing.scatter(found),
    ):
        drawn = [line for line in every(figure) if line.get_label() in MANY]
        assert {line.get_label() for line in drawn} == set(MANY)
        for line in drawn:
            colour = looks[line.get_label()].colour
            assert colour in (line.get_color(), line.get_markeredgecolor())


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_names_of_many_strategies_do_not_overlap(width: int) -> None:
    axes = anytime.curves(compared(MANY), "evaluations", width=width).axes[0]
    renderer: Any = axes.figure.canvas
    renderer.draw()
    named = [
        text
        for text in axes.texts
        if text.get_text() in {look.named(name, look.letters(width)) for name in MANY}
    ]
    assert len(named) == 14
    tops = sorted(text.get_window_extent().y0 for text in named)
    assert np.diff(tops).min() > 20  # of a drawing with twice as many pixels as points: 11 points
    assert all(text.get_window_extent().x1 <= 2 * width + 8 for text in named)


def test_a_long_name_keeps_both_ends() -> None:
    assert look.named("differential_evolution_small", 14) == "differe…_small"
    assert look.named("differential_evolution_large", 14) == "differe…_large"
    assert look.named("short\nname", 14) == "short name"


def linear(colour: str) -> npt.NDArray[np.float64]:
    shares = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


def lab(light: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.maximum(to_xyz @ np.clip(light, 0, 1) / [0.9505, 1, 1.089], 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


BLIND = {
    "no one": np.eye(3),
    "red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
"""Machado, Oliveira & Fernandes (2009), severity 1."""


@pytest.mark.parametrize("theme", [look.LIGHT, look.DARK], ids=["light", "dark"])
def test_colours_stand_out_and_apart_for_the_colour_blind_too(theme: Mapping[str, str]) -> None:
    series = [colour for name, colour in theme.items() if name.startswith("series")]
    assert len(set(series)) == 7
    assert not set(series) & {colour for name, colour in theme.items() if not name.startswith("series")}
    for colour in series:
        high, low = sorted((luminance(colour) + 0.05, luminance(theme["paper"]) + 0.05), reverse=True)
        assert high / low >= 3, colour
    for seen in BLIND.values():
        places = [lab(np.array(seen) @ linear(colour)) for colour in series]
        assert min(np.linalg.norm(one - other) for one, other in combinations(places, 2)) >= 18


def test_an_svg_takes_the_strategies_colours_from_the_page() -> None:
    drawn = svg(anytime.curves(compared(MANY), "evaluations"), "label", look.LIGHT)
    assert {f"series-{place}" for place in range(7)} <= set(re.findall(r"var\(--([\w-]+)\)", drawn))
    assert not re.search(r"#[0-9a-f]{6}\b", drawn)
