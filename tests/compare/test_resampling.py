from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from searchmerge.compare.resampling import (
    LEVEL,
    estimate,
    expanded,
    holm,
    resampled,
    seeds_needed,
    sign_flips,
    smallest,
)

values = st.lists(st.integers(-8, 8).map(float), min_size=1, max_size=7)


@given(values)
def test_all_signs_are_gone_through(differences: list[float]) -> None:
    sums = [
        sum(sign * each for sign, each in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=len(differences))
    ]
    far = [abs(each) >= abs(sum(differences)) for each in sums]
    assert sign_flips(np.array(differences)) == sum(far) / len(far)


def test_signs_as_scipy_flips_them() -> None:
    differences = np.random.default_rng(0).normal(0.5, 1, 11)
    theirs = stats.permutation_test((differences,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert sign_flips(differences) == pytest.approx(theirs.pvalue)


def test_signs_of_many_are_drawn() -> None:
    """The sum of ones of either sign is that of fair coins: a binomial tail."""
    ones = np.ones(20)
    ones[:5] = -1
    assert sign_flips(ones) == pytest.approx(stats.binomtest(5, 20).pvalue, abs=0.002)
    assert sign_flips(np.ones(40)) == 1 / 65536  # none of those drawn, and the one observed
    assert sign_flips(np.ones(16)) == 2**-15


def test_rounding_separates_no_equal_sums() -> None:
    assert sign_flips(np.array([0.1, 0.2, -0.3])) == 1
    assert sign_flips(np.array([0.1, 0.2, 0.3, -0.3])) == sign_flips(np.array([1.0, 2, 3, -3]))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_steps_down(p: list[float]) -> None:
    """The smallest p falls at the level over the number of those left; where one stands, the rest do."""
    corrected = holm(p)
    for level in (0.05, 0.3, 0.9):
        fallen: set[int] = set()
        for index in sorted(range(len(p)), key=lambda index: p[index]):
            if p[index] * (len(p) - len(fallen)) > level:
                break
            fallen.add(index)
        assert {index for index, each in enumerate(corrected) if each <= level} == fallen


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_knows_no_order(p: list[float]) -> None:
    assert holm(p[::-1]) == holm(p)[::-1]


def test_seeds_needed() -> None:
    """No field can beat differences of one sign, and every other pair at 1."""
    for strategies, needed in ((2, 6), (3, 7), (4, 8), (6, 10)):
        pairs = strategies * (strategies - 1) // 2
        assert seeds_needed(strategies) == needed
        for seeds in range(1, 17):
            best = holm([sign_flips(np.ones(seeds)), *[1.0] * (pairs - 1)])[0]
            assert smallest(strategies, seeds) == pytest.approx(best)
            assert (best <= LEVEL) == (seeds >= needed)
        assert smallest(strategies, 40) == holm([sign_flips(np.ones(40)), *[1.0] * (pairs - 1)])[0]


def test_draws_are_those_of_all_samples_with_replacement() -> None:
    few = np.array([0.0, 1.0, 4.0, 4.5, 9.0])
    every = np.array([np.mean(sample) for sample in product(few, repeat=5)])
    drawn = resampled(few[:, None])[:, 0]
    for share in (0.025, 0.25, 0.5, 0.75, 0.975):
        assert np.quantile(drawn, share) == pytest.approx(np.quantile(every, share), abs=0.15)
    assert (drawn.mean(), drawn.std()) == pytest.approx((few.mean(), few.std() / np.sqrt(5)), rel=0.03)


def test_figures_of_one_seed_are_drawn_together() -> None:
    one = np.array([3.0, 1, 2, 5, 4])
    drawn = resampled(np.stack([one, 2 * one + 1], axis=1))
    assert drawn[:, 1] == pytest.approx(2 * drawn[:, 0] + 1)


def test_the_interval_is_as_wide_as_students() -> None:
    """Of many draws of a normal distribution with the deviation that a bootstrap mean has."""
    for seeds in (5, 12, 50):
        draws = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000) * np.sqrt((seeds - 1) / seeds)
        assert expanded(draws, seeds)[1] == pytest.approx(stats.t.ppf(0.975, seeds - 1), rel=0.01)


@pytest.mark.parametrize(("seeds", "least"), [(5, 0.90), (10, 0.92), (20, 0.93)])
def test_intervals_of_few_seeds_hold_the_mean_about_as_often_as_they_say(seeds: int, least: float) -> None:
    samples = np.random.default_rng(3).standard_normal((600, seeds))
    held = 0
    for sample in samples:
        found = estimate(sample)
        held += found.low <= 0 <= found.high
    assert held / 600 > least


def test_of_fewer_than_five_seeds_there_is_no_interval() -> None:
    found = estimate(np.array([0.0, 1, 2, 5]))
    assert found.value == 2
    assert np.isnan([found.low, found.high]).all()


@given(st.lists(st.integers(0, 8).map(float), min_size=5, max_size=9))
def test_intervals_mirror_and_know_no_order(of: list[float]) -> None:
    found, mirrored = estimate(np.array(of)), estimate(8 - np.array(of))
    assert (mirrored.low, mirrored.high) == pytest.approx((8 - found.high, 8 - found.low))
    assert estimate(np.array(of[::-1])) == found
