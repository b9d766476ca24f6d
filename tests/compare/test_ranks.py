from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from searchmerge.compare.field import FloatArray, arrange
from searchmerge.compare.ranks import Ranks, critical_difference, ranks
from tests.compare.making import ended, field_of

# Demšar (2006), table 6: AUC of C4.5 with m and cf tuned or not, on 14 data sets.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.975, 0.973],
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def of(table: FloatArray) -> Ranks:
    return ranks(field_of(table), table)


def test_demsars_table() -> None:
    """As printed there; he leaves the correction for ties out."""
    found = of(DEMSAR)
    assert list(found.mean.values()) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=0.0005)
    plain = 12 * 14 / 20 * (sum(mean**2 for mean in found.mean.values()) - 4 * 25 / 4)
    assert plain == pytest.approx(9.28, abs=0.01)
    assert found.friedman == pytest.approx(stats.friedmanchisquare(*DEMSAR.T).statistic)
    assert found.p < 0.05
    assert found.chi_square_p is None  # four strategies are too few for it
    assert found.critical == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 14)), abs=0.001)
    assert found.groups == (("d", "b", "c", "a"),)  # 3.143 - 1.964 is within 1.25


@pytest.mark.parametrize(("strategies", "q"), [(3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (10, 3.164)])
def test_critical_values_are_those_of_demsars_table_5(strategies: int, q: float) -> None:
    blocks = strategies * (strategies + 1) // 2
    assert critical_difference(strategies, 4 * blocks) * np.sqrt(12) == pytest.approx(q, abs=0.0015)


tables = st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=2, max_size=6)


@given(tables)
def test_ranks_and_statistic_as_scipy_has_them(drawn: list[list[int]]) -> None:
    table = np.array(drawn, float)
    found = of(table)
    for place, mean in enumerate(found.mean.values()):
        own = [sum(x > row[place] for x in row) + (1 + row.count(row[place])) / 2 for row in drawn]
        assert mean == pytest.approx(sum(own) / len(own))
    if any(len(set(row)) > 1 for row in drawn):
        assert found.friedman == pytest.approx(stats.friedmanchisquare(*table.T).statistic)
    else:
        assert (found.friedman, found.p) == (0, 1)


@given(tables, st.sampled_from(list(permutations(range(4)))))
def test_order_of_strategies_and_seeds_changes_nothing(
    drawn: list[list[int]], order: tuple[int, ...]
) -> None:
    table = np.array(drawn, float)
    found, moved = of(table), of(table[::-1, list(order)] + 3)
    assert list(moved.mean.values()) == pytest.approx([list(found.mean.values())[place] for place in order])
    assert moved.friedman == pytest.approx(found.friedman)
    assert moved.p == found.p


@pytest.mark.parametrize(
    "table", [[[1, 2, 3], [1, 3, 2], [1, 2, 3], [2, 1, 3]], [[1, 1, 2], [1, 2, 2], [0, 1, 4]]]
)
def test_p_is_that_of_all_exchanges_within_seeds(table: list[list[int]]) -> None:
    ranked = [stats.rankdata(row) for row in table]
    observed = np.square(np.sum(ranked, axis=0)).sum()
    every = [
        np.square(np.sum(rows, axis=0)).sum()
        for rows in product(*(list(permutations(row)) for row in ranked))
    ]
    expected = np.mean([each >= observed - 1e-9 for each in every])
    assert of(np.array(table, float)).p == pytest.approx(expected, abs=0.015)


def test_in_a_large_field_p_is_near_chi_squares() -> None:
    rng = np.random.default_rng(2)
    table = rng.normal(size=(30, 7)) + 0.15 * np.arange(7)
    found = of(table)
    assert found.chi_square_p == pytest.approx(stats.friedmanchisquare(*table.T).pvalue)
    assert found.p == pytest.approx(found.chi_square_p, abs=0.01)
    assert 0.001 < found.p < 0.5


def test_blocks_of_one_seed_are_exchanged_together_and_count_once() -> None:
    """The same order in four spaces of three seeds is as surprising as in one space of three."""
    once = np.array([[3.0, 2, 1]] * 3)
    field = arrange(ended(np.repeat(once, 4, axis=0), seeds=[0] * 4 + [1] * 4 + [2] * 4))
    found = ranks(field, np.repeat(once, 4, axis=0))
    assert found.mean == {"a": 1, "b": 2, "c": 3}
    assert found.p == of(once).p == pytest.approx(1 / 36, abs=0.006)
    assert found.reason
    assert found.reason.startswith("3 seeds are too few")


def test_where_no_difference_can_be_drawn_all_stand_in_one_group() -> None:
    two = of(np.array([[1.0, 2]] * 12))
    assert (two.groups, two.critical) == ((("b", "a"),), None)
    assert np.isnan(two.p)
    even = of(np.random.default_rng(1).normal(size=(12, 3)))
    assert even.p > 0.05
    assert even.reason == f"the Friedman test sees no difference (p = {even.p:.2g})"
    assert len(even.groups) == 1
    assert of(np.array([[3.0, 2, 1]] * 10)).critical is None


def test_groups_are_the_longest_stretches_within_the_critical_difference() -> None:
    # Mean ranks 1, 2, 3, 4.5, 4.5 of 12 seeds; the critical difference is 1.761.
    rows = [[9, 8, 7, 6, 5], [9, 8, 7, 5, 6]] * 6
    found = of(np.array(rows, float))
    assert found.critical == pytest.approx(2.728 * np.sqrt(30 / 72), abs=0.001)
    assert found.groups == (("a", "b"), ("b", "c"), ("c", "d", "e"))
    alone = of(np.array([[9, 5, 6, 7], [9, 6, 7, 5], [9, 7, 5, 6]] * 7, float))
    assert alone.groups == (("b", "c", "d"),)
