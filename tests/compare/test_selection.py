from __future__ import annotations

import numpy as np
import pytest

from searchmerge.compare import Reference
from searchmerge.compare.field import arrange
from searchmerge.compare.selection import selection, survival
from searchmerge.types import UserError
from tests.compare.making import ended, run

DEV = np.array([[0.6, 0.7], [0.65, 0.72], [0.61, 0.69], [0.66, 0.75], [0.63, 0.7]])
TEST = np.array([[0.52, 0.61], [0.55, 0.6], [0.53, 0.6], [0.57, 0.64], [0.55, 0.58]])


def test_gains_and_shares_by_hand() -> None:
    found = selection(arrange(ended(DEV, TEST)), {"space 0": Reference("the plain average", 0.5, 0.48)})
    assert found
    assert found.reference == "the plain average"
    for place, name in enumerate("ab"):
        dev, test = DEV[:, place] - 0.5, TEST[:, place] - 0.48
        own = found.strategies[name]
        assert found.gains[name] == pytest.approx(np.stack([dev, test], axis=1))
        assert (own.dev.value, own.test.value) == pytest.approx((dev.mean(), test.mean()))
        assert own.share
        assert own.share.value == pytest.approx(test.sum() / dev.sum())
        assert own.share.low < own.share.value < own.share.high
    assert found.field.share
    assert found.field.share.value == pytest.approx((TEST - 0.48).sum() / (DEV - 0.5).sum())


def test_the_share_is_drawn_with_dev_and_test_of_the_same_seeds() -> None:
    """A test gain that is half of the dev gain in each seed leaves no doubt, whatever the gains are."""
    dev = np.array([0.1, 0.3, 0.2, 0.5, 0.4])
    share = survival(np.stack([dev, dev / 2], axis=1)).share
    assert share
    assert (share.low, share.value, share.high) == pytest.approx((0.5, 0.5, 0.5))


def test_the_interval_of_the_share_holds_the_true_one() -> None:
    rng, held = np.random.default_rng(8), 0
    for _ in range(300):
        dev = rng.normal(1, 0.2, 10)
        share = survival(np.stack([dev, 0.6 * dev + rng.normal(0, 0.2, 10)], axis=1)).share
        assert share
        held += share.low <= 0.6 <= share.high
    assert held / 300 > 0.91


@pytest.mark.parametrize(
    "dev",
    [[0.0] * 5, [0.1, -0.1, 0.2, -0.2, 0.05], [0.1, 0.2, 0.3, 0.4], [0.2], [-0.1, -0.2, -0.3, -0.2, -0.1]],
)
def test_no_share_of_a_gain_that_is_not_beyond_nothing(dev: list[float]) -> None:
    """Nor where four seeds are too few to tell."""
    found = survival(np.stack([np.array(dev), np.full(len(dev), 0.1)], axis=1))
    assert found.share is None
    assert found.test.value == pytest.approx(0.1)


def test_each_space_has_its_own_reference() -> None:
    runs = [run("a", seed, [0, seed + 1], test=seed, space=space) for space in "xy" for seed in range(2)]
    references = {"x": Reference("the default merge", 0, 0), "y": Reference("the default merge", 1, -1)}
    found = selection(arrange(runs), references)
    assert found
    assert found.gains["a"].tolist() == [[1, 0], [2, 1], [0, 1], [1, 2]]
    assert found.field.dev.value == 1
    with pytest.raises(UserError, match="none for 'y'"):
        selection(arrange(runs), {"x": references["x"]})


def test_nothing_without_test_scores() -> None:
    assert selection(arrange([run("a", 0, [0])]), {"": Reference("x", 0, 0)}) is None
