from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.compare import Run
from searchmerge.compare.field import Split, arrange
from searchmerge.types import UserError
from tests.compare.making import fields, run


def test_runs_stand_by_block_and_strategy_in_whatever_order_they_come() -> None:
    runs = [run(name, seed, [0, seed], space=space) for space in "xy" for seed in (7, 3) for name in "ba"]
    field = arrange(runs)
    assert (field.strategies, field.spaces, field.seeds) == (("b", "a"), ("x", "y"), (3, 7))
    assert field.blocks == (("x", 3), ("x", 7), ("y", 3), ("y", 7))
    for (space, seed), row in zip(field.blocks, field.runs, strict=True):
        assert [(each.strategy, each.space, each.seed) for each in row] == [
            ("b", space, seed),
            ("a", space, seed),
        ]
    assert [each.seed for each in field.of("a", "y")] == [3, 7]


@given(fields())
def test_the_mean_of_a_seed_is_that_of_its_blocks(runs: list[Run]) -> None:
    field = arrange(runs)
    table = field.table("dev")
    assert table is not None
    for seed, row in zip(field.seeds, field.by_seed(table), strict=True):
        for place, name in enumerate(field.strategies):
            ends = [max(each.scores) for each in runs if (each.strategy, each.seed) == (name, seed)]
            assert row[place] == pytest.approx(sum(ends) / len(ends))


def test_blocks_that_a_strategy_lacks_are_left_out() -> None:
    field = arrange([run("a", 0, [0]), run("b", 0, [0]), run("a", 1, [0, 9])])
    assert (field.blocks, field.left_out, field.ends("")) == ((("", 0),), (("", 1),), (0, 0))


def test_one_missing_test_score_leaves_no_table_of_test() -> None:
    field = arrange([run("a", 0, [0], test=0.5), run("b", 0, [0])])
    assert field.table("test") is None
    assert field.table("dev") is not None


@pytest.mark.parametrize(
    ("scores", "seconds", "test", "fault"),
    [
        ([], [], None, r"scores \[0\]"),
        ([1.0, 2.0], [1.0], None, r"times \[1\]"),
        ([-np.inf, 1.0], [1.0, 1.0], None, "default merge"),
        ([1.0, np.nan], [1.0, 1.0], None, "no number"),
        ([1.0, np.inf], [1.0, 1.0], None, "infinite"),
        ([1.0, 2.0], [1.0, -1.0], None, "negative"),
        ([1.0, 2.0], [1.0, np.nan], None, "a time"),
        ([1.0], [1.0], np.nan, "test score nan"),
    ],
)
def test_what_is_no_run_is_refused(
    scores: list[float], seconds: list[float], test: float | None, fault: str
) -> None:
    with pytest.raises(UserError, match=fault):
        run("de", 0, scores, seconds=seconds, test=test)


def test_no_field_without_a_seed_that_all_have() -> None:
    with pytest.raises(UserError, match="none among 2 runs of a, b"):
        arrange([run("a", 0, [0]), run("b", 1, [0])])
    with pytest.raises(UserError, match="no strategy"):
        arrange([])
    with pytest.raises(UserError, match="two of a with seed 0"):
        arrange([run("a", 0, [0]), run("a", 0, [0])])


@given(st.lists(st.floats(-1, 1) | st.just(-np.inf), max_size=9))
def test_the_best_so_far_never_falls(tail: list[float]) -> None:
    best = run("a", 0, [0, *tail]).best
    assert list(best) == [max([0, *tail][: place + 1]) for place in range(len(tail) + 1)]


def test_means_that_only_rounding_separates_are_one_score() -> None:
    table = arrange([run("a", 0, [0, 0.1 + 0.2], test=0.7), run("b", 0, [0, 0.3], test=0.1 + 0.6)]).table
    splits: tuple[Split, ...] = ("dev", "test")
    for split in splits:
        scores = table(split)
        assert scores is not None
        assert scores[0, 0] == scores[0, 1]
