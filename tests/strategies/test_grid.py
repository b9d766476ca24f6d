"""The grid against itertools."""

from __future__ import annotations

from itertools import product

import pytest

from searchmerge.strategies.grid import Grid
from searchmerge.testing import drive, sphere
from searchmerge.types import Dim, UserError

DIMS = (Dim("a", 0.3), Dim("b", 0.5, choices=2), Dim("c", 0.1))


def test_every_combination_once() -> None:
    asked = drive(Grid(DIMS, seed=0, points=3), sphere, 100)
    assert sorted(asked) == sorted(product((0.0, 0.5, 1.0), (0.25, 0.75), (0.0, 0.5, 1.0)))


def test_the_order_is_shuffled_and_seeded() -> None:
    first, again, other = (drive(Grid(DIMS, seed=seed, points=4), sphere, 100) for seed in (0, 0, 1))
    assert first == again != other
    assert sorted(first) == sorted(other) != first


@pytest.mark.parametrize(("budget", "values"), [(None, 2), (7, 2), (18, 3), (31, 3), (32, 4), (200, 10)])
def test_left_out_the_grid_is_the_largest_that_fits(budget: int | None, values: int) -> None:
    assert len(drive(Grid(DIMS, seed=0, budget=budget), sphere, 1000)) == 2 * values**2


def test_named_coordinates_alone() -> None:
    asked = drive(Grid(DIMS, seed=0, points={"a": 3}), sphere, 100)
    assert sorted(asked) == sorted(product((0.0, 0.5, 1.0), (0.25, 0.75), (0.1,)))


def test_a_grid_beyond_all_bounds_starts_at_once() -> None:
    dims = tuple(Dim(f"x{i}", 0.5) for i in range(400))
    asked = drive(Grid(dims, seed=0, points=9), sphere, 50)
    assert len(set(asked)) == 50


@pytest.mark.parametrize("points", [0, {"a": 0}, {"z": 3}, {"b": 3}])
def test_bad_points_are_named(points: int | dict[str, int]) -> None:
    with pytest.raises(UserError, match="points"):
        Grid(DIMS, seed=0, points=points)
