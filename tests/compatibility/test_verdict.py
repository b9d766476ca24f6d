from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from searchmerge.compatibility import of_pair, overall, refusal
from searchmerge.compatibility.examination import BASE
from searchmerge.compatibility.line import Line
from searchmerge.compatibility.verdict import strangers
from tests.compatibility.making import findings, measure, relation

FOREIGN: dict[str, Any] = {"shares": (0.02, 0.01), "matched": 0.12, "weights": 0.004}


def line(barrier: float, low: float) -> Line:
    return Line((0.5,) * 5, barrier, low)


@pytest.mark.parametrize(
    ("figures", "word", "said"),
    [
        ({}, "merge", ""),
        ({"shares": (1.0, 0.96)}, "merge", ""),
        ({"cosine": -0.09}, "merge", ""),
        ({"cosine": math.nan}, "merge", ""),
        ({"cosine": None}, "merge", ""),
        ({"shares": ()}, "merge", ""),
        ({"weights": math.nan}, "merge", ""),
        ({"line": line(0.019, 0.01)}, "merge", ""),
        ({"line": line(0.05, -0.01)}, "merge", ""),
        ({"line": line(0.05, 0.01)}, "merge with care", "dev drops 0.050 below"),
        ({"line": line(math.nan, math.nan)}, "merge with care", "not finite"),
        ({"cosine": -0.3}, "merge with care", "oppose one another (cosine -0.30)"),
        ({"shares": (1.0, 0.9)}, "merge with care", "10% of the MLP units in layer.1"),
        (
            FOREIGN,
            "do not merge",
            "a and b do not share a base (MLP units in place 2%, cosine of weights 0.00)",
        ),
        ({"shares": (0.02, 0.01), "matched": 0.99}, "do not merge", "in another order"),
        ({"shares": (1.0, 0.1), "matched": 0.1}, "do not merge", "do not share a base in layer.1 (MLP units"),
        ({"shares": (), "weights": 0.05}, "do not merge", "do not share a base (cosine of weights 0.05)"),
    ],
)
def test_the_word_and_the_reason(figures: dict[str, Any], word: str, said: str) -> None:
    verdict = of_pair(relation(**figures))
    assert verdict.word == word
    assert said in str(verdict)
    assert bool(verdict.reasons) == (word != "merge")


def test_experts_of_one_base_are_merged() -> None:
    found = findings("abc")
    assert overall(found).word == "merge"
    assert refusal(found) is None


@pytest.mark.parametrize("base", [True, False])
def test_the_one_that_differs_from_all_is_the_stranger(base: bool) -> None:
    apart = {(one, "c"): FOREIGN for one in (BASE, "a", "b")} | {("c", "d"): FOREIGN}
    found = findings("abcd", apart, base=base)
    assert list(strangers(found)) == ["c"]
    assert overall(found).word == "do not merge"
    error = refusal(found)
    assert error is not None
    assert "c do not share a base" in error.got
    assert error.cure == "leave c out of models.experts"


def test_of_two_experts_the_base_tells_which_is_the_stranger() -> None:
    found = findings("ab", {(BASE, "a"): FOREIGN, ("a", "b"): FOREIGN})
    assert list(strangers(found)) == ["a"]


def test_a_base_of_which_no_expert_stems_is_the_stranger() -> None:
    found = findings("abc", {(BASE, name): FOREIGN for name in "abc"})
    assert list(strangers(found)) == [BASE]
    error = refusal(found)
    assert error is not None
    assert error.cure.endswith("as models.base")


def test_a_chain_of_relations_makes_one_family() -> None:
    # a knows b, b knows c; that a and c lie too far apart to tell makes neither a stranger.
    assert strangers(findings("abc", {("a", "c"): FOREIGN}, base=False)) == {}


def test_units_in_another_order_can_be_put_back() -> None:
    shuffled = {"shares": (0.0, 0.0), "matched": 1.0}
    error = refusal(findings("ab", {(BASE, "b"): shuffled, ("a", "b"): shuffled}))
    assert error is not None
    assert "leave b out of models.experts, or put the units back in order" in error.cure


def test_an_expert_far_from_the_base_is_merged_with_care() -> None:
    found = findings("ab")
    found = replace(found, distances={**found.distances, "b": measure(0.8)})
    assert str(overall(found)) == "merge with care: b is far from the base (0.80 of its norm)"
