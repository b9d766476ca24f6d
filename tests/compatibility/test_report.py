from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from searchmerge.compatibility.line import Line
from searchmerge.report.compatibility import content, show
from searchmerge.report.compatibility_figure import draw
from tests.compatibility.making import findings, measure, relation

UNSCORED = Line((0.5, math.nan, 0.5, 0.5, 0.5), math.nan, math.nan)


def test_what_is_not_defined_is_null() -> None:
    found = findings("ab", {("a", "b"): {"line": UNSCORED, "cosine": math.nan, "weights": math.nan}})
    (pair,) = json.loads(json.dumps(content(found), allow_nan=False))["pairs"]
    assert pair["line"]["dev"] == [0.5, None, 0.5, 0.5, 0.5]
    assert pair["line"]["barrier"] is None
    assert pair["cosine"]["whole"] is None
    assert pair["weights_cosine"] is None


def test_the_picture_holds_every_number_a_layer_and_a_panel_a_pair() -> None:
    found = findings("abc", {("a", "b"): {"cosine": -0.12, "shares": (0.97, 0.98)}})
    found = replace(found, distances={name: measure(0.07) for name in "abc"})
    sheet, *panels = draw(found).axes
    texts = [text.get_text() for text in sheet.texts]
    assert texts.count("-0.12") == texts.count("0.07") / 3 == 3
    assert texts.count("0.97") == texts.count("0.98") == 1
    assert texts.count("0.50") == 3 * 3
    assert texts.count("the base – a") == 1
    assert len(panels) == 3
    assert all(np.array_equal(panel.lines[1].get_ydata(), [0.5] * 5) for panel in panels)


def test_a_drop_that_counts_is_of_another_colour() -> None:
    seen = Line((0.5, 0.3, 0.5, 0.5, 0.5), 0.2, 0.1)
    noise = Line((0.5, 0.3, 0.5, 0.5, 0.5), 0.2, -0.1)
    found = findings("abc", {("a", "b"): {"line": seen}, ("a", "c"): {"line": noise}})
    colours = [panel.lines[1].get_color() for panel in draw(found).axes[1:]]
    assert colours[0] != colours[1] == colours[2]


@pytest.mark.parametrize("line", [UNSCORED, None])
def test_there_is_a_picture_of_whatever_was_measured(line: Line | None) -> None:
    bare = {"cosine": None, "shares": (), "line": line}
    draw(findings("ab", {("a", "b"): bare}, base=False)).savefig("/dev/null", format="png")
    nothing = {"cosine": math.nan, "line": line}
    found = replace(
        findings("ab", {("a", "b"): nothing}), distances={"a": measure(math.nan), "b": measure(0)}
    )
    draw(found).savefig("/dev/null", format="png")


def test_the_terminal_names_the_worst_layer_and_writes_no_minus_zero(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(findings("ab", {("a", "b"): {"shares": (1.0, 0.5), "cosine": -0.0001}}))
    printed = capsys.readouterr().out
    assert "75.0% (50.0% in layer.1)" in printed
    assert "-0.000" not in printed
    assert "a – b        merge with care: 50% of the MLP units in layer.1 have changed places" in printed


def test_relations_without_mlps_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert relation(shares=()).in_place is None
    show(findings("ab", {("a", "b"): {"shares": ()}}))
    assert "none found" in capsys.readouterr().out
