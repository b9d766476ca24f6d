from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from searchmerge.report import figures
from searchmerge.report.heatmap import Grid, draw, knobs
from searchmerge.report.page import page
from searchmerge.report.run import Run, read
from searchmerge.report.table import number
from tests.report.runs import result, run_folder, trials


def run(*scores: float | None) -> Run:
    return Run({"config": {}}, tuple(trials(scores)), None)


def test_the_best_line_is_the_running_maximum_to_the_last_trial() -> None:
    axes = figures.curve(run(-0.5, -0.75, None, -0.25, -0.5, None)).axes[0]
    best = next(line for line in axes.lines if line.get_drawstyle() == "steps-post")
    assert np.array_equal(best.get_xydata(), [[0, -0.5], [1, -0.5], [3, -0.25], [4, -0.25], [5, -0.25]])


def test_what_saw_a_part_of_dev_is_drawn_apart_and_is_never_the_best() -> None:
    made = trials([0.5, 0.9, 0.8, 0.6])
    partly = Run(
        {"config": {}}, (made[0], *(replace(trial, share=0.25) for trial in made[1:3]), made[3]), None
    )
    axes = figures.curve(partly).axes[0]
    dots, *_, grey = (np.asarray(marks.get_offsets()).tolist() for marks in axes.collections)
    assert dots == [[0, 0.5], [3, 0.6]]
    assert grey == [[1, 0.9], [2, 0.8]]
    best = next(line for line in axes.lines if line.get_drawstyle() == "steps-post")
    assert np.array_equal(best.get_xydata(), [[0, 0.5], [3, 0.6], [3, 0.6]])
    assert partly.best is made[3]
    assert "A grey dot is a trial on a part of dev" in page(partly)
    assert "A grey dot" not in page(run(0.5, 0.6))


def test_every_scored_trial_has_a_mark_and_every_failure_a_cross() -> None:
    axes = figures.curve(run(*np.linspace(0.6, 0.8, 30), -5.0, None)).axes[0]
    dots, rings, below, ticks, crosses = (len(np.asarray(marks.get_offsets())) for marks in axes.collections)
    assert (dots, rings, below, ticks, crosses) == (30, 0, 1, 0, 1)
    assert figures.below(run(*np.linspace(0.6, 0.8, 30), -5.0))
    assert not figures.below(run(*np.linspace(0.6, 0.8, 30)))


def test_the_curve_names_the_default_and_every_baseline_but_the_experts(tmp_path: Path) -> None:
    found = result()
    lines = figures.dev_lines(read(run_folder(tmp_path, trials([0.5, 0.6]), found)))
    assert set(lines) == {"default", "best expert", "average", "tuned task arithmetic", "ties"}
    assert lines["average"] == found["baselines"]["average"]["dev"]["score"]
    texts = {text.get_text() for text in figures.curve(read(tmp_path)).axes[0].texts}
    assert all(any(number(score) in text for text in texts) for score in lines.values())


def test_an_svg_takes_every_colour_from_the_page() -> None:
    drawn = figures.svg(figures.curve(run(0.5, 0.75, None)), 'a "label"')
    assert set(re.findall(r"var\(--(\w+)\)", drawn)) <= set(figures.LIGHT) == set(figures.DARK)
    assert not re.search(r"#[0-9a-f]{6}\b", drawn)
    assert 'aria-label="a &quot;label&quot;"' in drawn
    assert "<text" in drawn


def test_a_png_of_a_run_cuts_nothing_off(tmp_path: Path) -> None:
    figures.curve_png(run_folder(tmp_path, trials([0.5, 0.6]), result()), tmp_path / "curve.png", width=400)
    with Image.open(tmp_path / "curve.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert 720 <= pixels.shape[1] <= 880
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    for border in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (border == pixels[0, 0]).all()


@given(st.lists(st.floats(0, 10), max_size=9).map(sorted), st.floats(0.01, 1))
def test_labels_are_pushed_apart_and_stay_under_the_top(wanted: list[float], gap: float) -> None:
    places = figures.spread(wanted, gap, 10)
    assert len(places) == len(wanted)
    assert all(place <= 10 for place in places)
    assert all(right - left >= gap - 1e-9 for left, right in pairwise(places))


@pytest.mark.parametrize("name", ["日本語", "$\\frac{$", "<b>&", "", "x" * 200])
def test_any_name_can_be_drawn(name: str) -> None:
    grid = Grid(
        "weight", (name, "b"), ("model.layers.0.self_attn.q_proj.weight", name), ((0.1, -2.0), (0, None))
    )
    for width in (figures.WIDE, figures.NARROW):
        assert "<svg" in figures.svg(draw(grid, width=width), name)


@pytest.mark.filterwarnings("error")
def test_a_glyph_that_only_the_browser_has_gives_no_warning() -> None:
    figures.svg(draw(Grid("weight", ("日本語",), ("a",), ((1.0,),))), "weight")


def test_cells_are_as_strong_as_their_values() -> None:
    drawn = draw(Grid("weight", ("a", "b"), ("x", "y"), ((0.0, 1.0), (-2.0, None))))
    strengths = [patch.get_alpha() for patch in drawn.axes[0].patches][1::2]  # each lies on a ground
    assert strengths == pytest.approx([0.0, 0.46, 0.92])
    texts = [text.get_text() for text in drawn.axes[0].texts]
    assert {"a", "b", "x", "y", "0.00", "1.00", "-2.00"} == set(texts)


EXPERTS = ("a", "b")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"a": 0.5, "b": 1.0}, Grid("k", ("a", "b"), ("all layers",), ((0.5,), (1.0,)))),
        ({"x": 0.5, "y": 1.0}, Grid("k", ("",), ("x", "y"), ((0.5, 1.0),))),
        ({"a": {"x": 1.0, "y": 2.0}, "b": 3.0}, Grid("k", ("a", "b"), ("x", "y"), ((1.0, 2.0), (3.0, 3.0)))),
        ({"a": {"x": 1.0}, "b": {"y": 2.0}}, Grid("k", ("a", "b"), ("x", "y"), ((1.0, None), (None, 2.0)))),
    ],
)
def test_a_knob_becomes_a_grid(setting: dict[str, object], expected: Grid) -> None:
    single, grids = knobs({"knobs": {"k": setting, "lambda": 1.0, "mode": "sum"}}, EXPERTS)
    assert grids == [expected]
    assert single == {"lambda": 1.0, "mode": "sum"}


def test_a_recipe_without_knobs_has_no_grids() -> None:
    assert knobs({"space": "paths"}, EXPERTS) == ({}, [])
