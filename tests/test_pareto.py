"""Fronts and the volume they hold, against loops over pairs and over cells."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.pareto import front, hypervolume, signed

Point = tuple[float, ...]


def points(values: st.SearchStrategy[float], most: int = 24) -> st.SearchStrategy[list[Point]]:
    """Lists of points of one to four values, often equal ones."""
    return st.integers(1, 4).flatmap(lambda k: st.lists(st.tuples(*[values] * k), min_size=1, max_size=most))


def beats(one: Point, other: Point) -> bool:
    better = False
    for mine, its in zip(one, other, strict=True):
        if mine < its:
            return False
        better = better or mine > its
    return better


@given(points(st.sampled_from([-1.5, 0.0, 0.25, 1.0, 1.0 + 2**-52])))
def test_the_front_is_that_of_a_loop_over_pairs(drawn: list[Point]) -> None:
    expected = []
    for place, point in enumerate(drawn):
        if not any(beats(other, point) for other in drawn) and point not in drawn[:place]:
            expected.append(place)
    assert front(drawn) == expected


@given(points(st.integers(-1, 4).map(float), most=10), st.integers(-1, 2))
def test_the_volume_is_the_number_of_cells_under_a_point(drawn: list[Point], low: int) -> None:
    cells = 0
    for corner in product(range(low, 4), repeat=len(drawn[0])):
        cells += any(all(x >= c + 1 for x, c in zip(point, corner, strict=True)) for point in drawn)
    assert hypervolume(drawn, [float(low)] * len(drawn[0])) == cells


def test_the_volume_of_two_boxes_is_by_inclusion_and_exclusion() -> None:
    first, second, low = (0.9, 0.3, 0.5, 0.7), (0.4, 0.8, 0.6, 0.5), (0.1, 0.2, -0.3, 0.0)
    volumes = []
    for point in (first, second, tuple(map(min, zip(first, second, strict=True)))):
        volume = 1.0
        for x, least in zip(point, low, strict=True):
            volume *= x - least
        volumes.append(volume)
    assert hypervolume([first, second], low) == pytest.approx(volumes[0] + volumes[1] - volumes[2], rel=1e-14)


def test_nothing_above_the_reference_holds_no_volume() -> None:
    assert hypervolume([], [0.0, 0.0]) == 0
    assert hypervolume([(0.0, 5.0), (5.0, -1.0)], [0.0, 0.0]) == 0


def test_a_volume_that_would_take_minutes_is_not_measured() -> None:
    assert hypervolume([(1.0,) * 12] * 30, [0.0] * 12) is None
    assert hypervolume([(1.0,) * 12] * 20, [0.0] * 12) == 1


def test_a_metric_that_is_better_when_lower_counts_with_a_minus() -> None:
    metrics = {"a": 0.5, "loss": 2.5, "other": 9.0}
    assert signed(metrics, ["loss", "a"], {"loss"}) == (-2.5, 0.5)
