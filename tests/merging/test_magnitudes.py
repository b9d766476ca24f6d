from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.merging.magnitudes import DENSITY_STEPS, Magnitudes, kept_count
from tests.merging.making import coarse, seeds


def expected(deltas: torch.Tensor, expert: int, scope: slice, density: float) -> float:
    ordered = np.sort(np.abs(deltas[expert].numpy()[scope]))[::-1]
    return float(ordered[max(1, int(density * len(ordered))) - 1])


@pytest.mark.parametrize("size", [1, 2, 100, DENSITY_STEPS - 1, DENSITY_STEPS, DENSITY_STEPS + 1, 10_007])
@given(st.data(), seeds)
def test_is_the_order_statistic(size: int, data: st.DataObject, seed: int) -> None:
    deltas = torch.from_numpy(np.random.default_rng(seed).standard_normal((2, size + 5), np.float32))
    magnitudes = Magnitudes(deltas)
    scope = slice(3, 3 + size)
    on_the_grid = st.integers(1, DENSITY_STEPS).map(lambda step: step / DENSITY_STEPS)
    chosen = data.draw(st.lists(on_the_grid | st.floats(1e-6, 1), max_size=8))
    for density in [*chosen, 1.0, 0.2, 1 / DENSITY_STEPS, 0.5, 0.2]:
        for expert in range(2):
            assert magnitudes.cutoff(expert, scope, density) == expected(deltas, expert, scope, density)


@given(seeds, st.floats(1e-6, 1))
def test_equal_magnitudes_are_one_cutoff(seed: int, density: float) -> None:
    deltas = coarse(seed, 1, 5000)
    scope = slice(0, 5000)
    cutoff = Magnitudes(deltas).cutoff(0, scope, density)
    assert cutoff == expected(deltas, 0, scope, density)
    assert int((deltas.abs() >= cutoff).sum()) >= kept_count(density, 5000)


def test_scopes_and_experts_are_told_apart() -> None:
    deltas = torch.arange(40_000, dtype=torch.float32).reshape(2, 20_000)
    magnitudes = Magnitudes(deltas)
    for density in (0.5, 0.3):
        for expert in range(2):
            for scope in (slice(0, 10_000), slice(0, 20_000), slice(10_000, 20_000)):
                for _ in range(2):
                    assert magnitudes.cutoff(expert, scope, density) == expected(
                        deltas, expert, scope, density
                    )


def anonymous() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("only Linux tells in /proc what memory a process has")
    return int(
        next(line for line in status.read_text().splitlines() if line.startswith("RssAnon")).split()[1]
    )


def test_tables_of_many_scopes_leave_no_room_behind() -> None:
    size, scopes = 10**6, 30
    magnitudes = Magnitudes(torch.randn(1, scopes * size))
    magnitudes.cutoff(0, slice(0, size), 0.5)
    before = anonymous()
    for number in range(1, scopes):
        magnitudes.cutoff(0, slice(number * size, (number + 1) * size), 0.5)
    assert anonymous() - before < 20_000  # KiB; a sorted copy of each would be 113,000, the tables are 475


def test_the_task_vectors_are_left_as_they_were() -> None:
    deltas = coarse(0, 2, 9000)
    copy = deltas.clone()
    magnitudes = Magnitudes(deltas)
    for density in (0.5, 0.2):
        magnitudes.cutoff(0, slice(0, 9000), density)
    assert torch.equal(deltas, copy)


@pytest.mark.parametrize(
    ("density", "size", "count"), [(0.2, 10, 2), (0.29, 100, 28), (0.01, 10, 1), (1.0, 7, 7)]
)
def test_the_number_kept_is_cut_down(density: float, size: int, count: int) -> None:
    assert kept_count(density, size) == count
