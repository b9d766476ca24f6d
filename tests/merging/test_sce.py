from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.merging import find
from tests.merging.making import Floats, assert_near, coarse_slab, doubles, seeds, sizes, slab_of

READINGS = ["paper", "mergekit"]
SMALLEST = {"paper": 0.0, "mergekit": 1e-6}


def selected(deltas: Floats, density: float) -> list[bool]:
    """Those of the largest variances, and all of the variance of the last of them."""
    size = deltas.shape[1]
    if density >= 1:
        return [True] * size
    variances = [float(np.var(deltas[:, j])) for j in range(size)]
    ordered = sorted((variance for variance in variances if variance > 1e-20), reverse=True)
    count = int(density * len(ordered))
    return [count > 0 and variance >= ordered[count - 1] * (1 - 1e-5) for variance in variances]


def naive(base: Floats, deltas: Floats, density: float, scale: float, smallest: float) -> list[float]:
    size = len(base)
    chosen = deltas * selected(deltas, density)
    energies = [sum(entry**2 for entry in row) / size for row in chosen]
    total = sum(energies)
    shares = [energy / total if total and total >= smallest else 1 / len(energies) for energy in energies]
    merged = []
    for j in range(size):
        sign = 1 if sum(chosen[:, j]) >= 0 else -1
        agreeing = [i for i in range(len(deltas)) if chosen[i, j] * sign > 0]
        divisor = sum(shares[i] for i in agreeing) or 1
        merged.append(base[j] + scale * sum(shares[i] * chosen[i, j] for i in agreeing) / divisor)
    return merged


@pytest.mark.parametrize("reading", READINGS)
@given(st.sampled_from([1, 2, 4]), sizes, seeds, st.floats(1 / 4096, 1), st.integers(-3, 3))
def test_selects_calculates_and_erases(
    reading: str, experts: int, size: int, seed: int, density: float, scale: int
) -> None:
    slab = coarse_slab(seed, experts, size)  # of one, two or four: so that equal variances are equal exactly
    find("sce", reading).merge(slab, {"density": density, "lambda": scale})
    assert_near(slab.out, naive(doubles(slab.base), doubles(slab.deltas), density, scale, SMALLEST[reading]))


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("density", [0.03, 0.5, 1.0])
def test_three_experts_of_any_entries(reading: str, density: float) -> None:
    deltas = torch.randn(3, 2000, generator=torch.Generator().manual_seed(2))
    slab = slab_of(torch.zeros(2000), deltas)
    find("sce", reading).merge(slab, {"density": density, "lambda": 1.0})
    assert_near(slab.out, naive(np.zeros(2000), doubles(deltas), density, 1.0, SMALLEST[reading]))
    if density < 1:
        assert int((slab.out != 0).sum()) == int(density * 2000)


def test_the_readings_differ_where_task_vectors_are_small() -> None:
    """1e-4 is what fine-tuning leaves: mergekit weighs the experts the same, whatever their size."""
    deltas = 1e-4 * torch.tensor([[1.0, 1.0], [3.0, 3.0]])
    outs = []
    for reading in READINGS:
        slab = slab_of(torch.zeros(2), deltas)
        find("sce", reading).merge(slab, {"density": 1.0, "lambda": 1.0})
        outs.append(slab.out[0].item())
    assert outs == pytest.approx([2.8e-4, 2e-4])


@pytest.mark.parametrize("reading", READINGS)
def test_equal_experts_do_not_vary(reading: str) -> None:
    delta = torch.randn(50, generator=torch.Generator().manual_seed(3))
    for density, kept in ((1.0, delta), (0.9, torch.zeros(50))):
        slab = slab_of(torch.zeros(50), delta.repeat(3, 1))
        find("sce", reading).merge(slab, {"density": density, "lambda": 1.0})
        assert_near(slab.out, doubles(kept))


def test_entries_that_do_not_vary_do_not_count() -> None:
    deltas = torch.tensor([[5.0, 5, 5, 5, 1, 2], [5.0, 5, 5, 5, 3, 8]])
    slab = slab_of(torch.zeros(6), deltas)
    find("sce", "paper").merge(slab, {"density": 0.5, "lambda": 1.0})  # half of two
    assert (slab.out != 0).tolist() == [False] * 5 + [True]


def test_each_density_is_looked_up_once() -> None:
    slab = coarse_slab(0, 3, 100)
    for density in (0.5, 0.25, 0.5):
        find("sce", "paper").merge(slab, {"density": density, "lambda": 1.0})
    assert {density for density, _ in slab.memo["densities"]} == {0.5, 0.25}
    assert len(slab.memo["densities"]) == 2


def test_what_one_reading_remembers_is_not_taken_for_the_others() -> None:
    deltas = 1e-4 * torch.tensor([[1.0, 1.0], [3.0, 3.0]])
    slab, outs = slab_of(torch.zeros(2), deltas), []
    for reading in READINGS:
        find("sce", reading).merge(slab, {"density": 1.0, "lambda": 1.0})
        outs.append(slab.out[0].item())
    assert outs == pytest.approx([2.8e-4, 2e-4])


@pytest.mark.parametrize("reading", READINGS)
def test_the_order_of_the_experts_does_not_matter(reading: str) -> None:
    slab = coarse_slab(3, 4, 500)
    shuffled = slab_of(slab.base, slab.deltas[[2, 0, 3, 1]])
    for each in (slab, shuffled):
        find("sce", reading).merge(each, {"density": 0.4, "lambda": 0.7})
    assert_near(shuffled.out, doubles(slab.out))
