"""What the growth benchmark is made of: sizes, cutoffs and fits that can be known beforehand."""

from __future__ import annotations

import pytest

from benchmarks.growth import exponent, layout_of, searched


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_is_that_of_the_power(power: float) -> None:
    assert exponent({n: 3 * n**power for n in (10, 70, 400)}) == pytest.approx(power)


@pytest.mark.parametrize("size", [1_000_000, 5_000_000, 50_000_000])
def test_layouts_have_about_as_many_parameters_as_wanted(size: int) -> None:
    assert layout_of(size).size == pytest.approx(size, rel=0.02)


@pytest.mark.parametrize("strategy", ["de", "grid"])
def test_a_search_is_timed_up_to_each_mark(strategy: str) -> None:
    times, waited = searched(strategy, [10, 20, 40])
    assert waited > 0
    assert 0 < times[10] < times[20] < times[40]
