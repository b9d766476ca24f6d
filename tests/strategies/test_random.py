"""Random search is nothing but the generator."""

from __future__ import annotations

import numpy as np

from searchmerge.strategies.random import Random
from searchmerge.testing import drive, sphere
from searchmerge.types import Dim

DIMS = (Dim("a", 0.3), Dim("b", 0.5, choices=2))


def test_the_points_are_the_generators() -> None:
    expected = np.random.default_rng(6).random((50, 2))
    assert drive(Random(DIMS, seed=6), sphere, 50) == [tuple(row) for row in expected.tolist()]


def test_scores_change_nothing() -> None:
    assert drive(Random(DIMS, seed=6), sphere, 50) == drive(Random(DIMS, seed=6), lambda _: -np.inf, 50)
