from __future__ import annotations

from dataclasses import astuple
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from searchmerge.compare.field import arrange
from searchmerge.compare.pairs import Pair, exact, pairs
from tests.compare.making import ended, field_of

tables = st.integers(1, 7).flatmap(
    lambda seeds: st.lists(
        st.lists(st.integers(0, 5), min_size=3, max_size=3), min_size=seeds, max_size=seeds
    )
)


def by_names(table: np.typing.NDArray[np.float64]) -> dict[tuple[str, str], Pair]:
    return {(pair.one, pair.other): pair for pair in pairs(field_of(table), table)}


@given(tables)
def test_wins_and_differences_are_counted_seed_by_seed(drawn: list[list[int]]) -> None:
    table = np.array(drawn, float)
    found = by_names(table)
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    for (one, other), pair in found.items():
        i, j = "abc".index(one), "abc".index(other)
        wins = [1.0 if row[i] > row[j] else 0.5 if row[i] == row[j] else 0.0 for row in drawn]
        assert pair.probability.value == pytest.approx(sum(wins) / len(wins))
        assert pair.difference.value == pytest.approx(sum(row[i] - row[j] for row in drawn) / len(drawn))
        assert pair.exact[0] <= pair.probability.value <= pair.exact[1]
        assert pair.p <= pair.corrected <= 1


@given(tables)
def test_exchanging_both_sides_mirrors_all(drawn: list[list[int]]) -> None:
    table = np.array(drawn, float)
    forth, back = by_names(table)["a", "b"], by_names(table[:, [1, 0, 2]])["a", "b"]
    for one, other in ((forth.probability, back.probability), (forth.difference, back.difference)):
        total = 1 if one is forth.probability else 0
        assert one.value + other.value == pytest.approx(total)
        if len(drawn) >= 5:
            assert one.low + other.high == pytest.approx(total)
    assert forth.exact == pytest.approx((1 - back.exact[1], 1 - back.exact[0]))
    assert (forth.p, forth.corrected) == (back.p, back.corrected)


@given(tables, st.sampled_from(list(permutations(range(3)))), st.integers(-9, 9))
def test_order_of_strategies_and_seeds_and_a_constant_change_nothing(
    drawn: list[list[int]], order: tuple[int, ...], constant: int
) -> None:
    table = np.array(drawn, float)
    kept, moved = by_names(table), by_names(table[::-1, list(order)] + constant)
    for (one, other), pair in moved.items():
        i, j = order["abc".index(one)], order["abc".index(other)]
        before = kept["abc"[min(i, j)], "abc"[max(i, j)]]
        assert (pair.p, pair.corrected) == (before.p, before.corrected)
        if i < j:
            assert pair.exact == before.exact
            assert astuple(pair.probability) == pytest.approx(astuple(before.probability), nan_ok=True)
            assert astuple(pair.difference) == pytest.approx(astuple(before.difference), nan_ok=True)


def test_without_ties_the_exact_interval_is_clopper_and_pearsons() -> None:
    for seeds in (1, 5, 12):
        for won in range(seeds + 1):
            theirs = stats.binomtest(won, seeds).proportion_ci(method="exact")
            assert exact(np.repeat([1.0, 0.0], [won, seeds - won])) == pytest.approx(
                (theirs.low, theirs.high)
            )


def test_the_exact_interval_holds_with_ties_and_few_seeds() -> None:
    rng = np.random.default_rng(5)
    for lose, tie in ((0.5, 0.0), (0.2, 0.5), (0.1, 0.0), (0.0, 0.9)):
        true = 1 - lose - tie / 2
        drawn = rng.choice([0, 0.5, 1], p=[lose, tie, 1 - lose - tie], size=(300, 5))
        held = [low <= true <= high for low, high in map(exact, drawn)]
        assert np.mean(held) >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / 300)


def test_five_wins_of_five_look_certain_only_to_the_bootstrap() -> None:
    (pair,) = pairs(field_of(np.array([[2.0, 1]] * 5)), np.array([[2.0, 1]] * 5))
    assert (pair.probability.low, pair.probability.high) == (1, 1)
    assert pair.exact[0] == pytest.approx(0.478, abs=0.001)
    assert pair.p == 1 / 16
    assert not pair.told_apart


def test_spaces_that_share_a_seed_count_once() -> None:
    """Three spaces by five seeds are five pairs, not fifteen; by fifteen seeds they are fifteen."""
    table = np.repeat(np.array([[2.0, 1]]), 15, axis=0)
    shared = arrange(ended(table, seeds=[seed for seed in range(5) for _ in range(3)]))
    (pair,) = pairs(shared, table)
    assert len(shared.blocks) == 15
    assert pair.p == 1 / 16
    assert pair.exact[0] == pytest.approx(0.478, abs=0.001)
    (pair,) = pairs(field_of(table), table)
    assert pair.p == 2**-14
