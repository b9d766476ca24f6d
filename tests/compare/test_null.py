"""Fields where nothing is different: how often is something found?"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from searchmerge.compare.field import FloatArray
from searchmerge.compare.pairs import pairs
from searchmerge.compare.ranks import ranks
from tests.compare.making import field_of

FIELDS = 200


def bound(rate: float) -> float:
    """The share of 200 fields that a false-alarm rate exceeds in one of a thousand suites."""
    return float(stats.binom.ppf(0.999, FIELDS, rate)) / FIELDS


def simulated(seeds: int, strategies: int, seed: int, grain: float = 0) -> list[FloatArray]:
    """The best of 50 draws for each run; with a grain rounded to it, so that there are ties."""
    drawn = np.random.default_rng(seed).normal(0.8, 0.02, (FIELDS, seeds, strategies, 50)).max(-1)
    return list(np.round(drawn / grain) * grain if grain else drawn)


def alarms(tables: list[FloatArray]) -> float:
    return float(
        np.mean([any(pair.told_apart for pair in pairs(field_of(table), table)) for table in tables])
    )


@pytest.mark.parametrize(
    ("seeds", "strategies", "grain"), [(10, 2, 0), (10, 2, 0.01), (20, 2, 0), (10, 6, 0.01)]
)
def test_one_strategy_under_several_names_is_seldom_told_apart(
    seeds: int, strategies: int, grain: float
) -> None:
    assert alarms(simulated(seeds, strategies, 1, grain)) <= bound(0.05)


def test_where_it_cannot_be_shown_it_never_is() -> None:
    for seeds, strategies in ((5, 2), (5, 6), (9, 6)):
        tables = simulated(seeds, strategies, 2)[:40]
        for table in tables:
            table[:, 0] += 1  # the first one is far better
        assert alarms(tables) == 0


def test_one_that_differs_hides_no_false_alarm_among_the_others() -> None:
    tables = simulated(10, 4, 5)
    wrong = 0
    for table in tables:
        table[:, 0] += 1
        found = pairs(field_of(table), table)
        wrong += any(pair.told_apart for pair in found if pair.one != "a")
    assert wrong / FIELDS <= bound(0.05)


def test_a_real_difference_is_found() -> None:
    """Not vacuous: a shift of two deviations of the final score, with ten seeds."""
    tables = simulated(10, 2, 6)
    spread = np.std([table[:, 0] for table in tables])
    for table in tables:
        table[:, 0] += 2 * spread
    assert alarms(tables) > 0.9
    assert alarms(simulated(10, 2, 7)) > 0.01  # and with none it is not always silent either


@pytest.mark.parametrize(("seeds", "strategies"), [(5, 3), (5, 6), (12, 6)])
def test_the_friedman_test_and_its_groups_hold_their_level(seeds: int, strategies: int) -> None:
    found = [ranks(field_of(table), table) for table in simulated(seeds, strategies, 8)]
    seen = np.mean([each.p <= 0.05 for each in found])
    assert 0 < seen <= bound(0.05)
    apart = [len(each.groups) != 1 or len(each.groups[0]) < strategies for each in found]
    assert np.mean(apart) <= bound(0.05)
