from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.merging import find
from searchmerge.merging.method import Slab, Values
from tests.merging.making import (
    Floats,
    assert_near,
    coarse_slab,
    densities,
    doubles,
    seeds,
    sizes,
    slab_of,
    weights,
)

READINGS = ["paper", "mergekit"]
steps = st.integers(0, 4096).map(lambda step: step / 4096)


def band(delta: Floats, density: float, gamma: float) -> list[float]:
    """The entries between the largest gamma and the smallest, and those as large as these."""
    size = len(delta)
    outliers = min(int(gamma * size), size - max(1, int(density * size)))
    last = max(int(min(density + gamma, 1.0) * size), outliers + 1)
    ordered = sorted((abs(entry) for entry in delta), reverse=True)
    high, low = ordered[outliers], ordered[last - 1]
    return [entry if low <= abs(entry) <= high else 0.0 for entry in delta]


def kept(slab: Slab, density: list[float], gamma: list[float]) -> Floats:
    rows = zip(doubles(slab.deltas), density, gamma, strict=True)
    return np.array([band(*row) for row in rows])


@pytest.mark.parametrize("reading", READINGS)
@given(st.data(), st.integers(1, 4), sizes, seeds, st.integers(-3, 3))
def test_adds_what_is_neither_small_nor_an_outlier(
    reading: str, data: st.DataObject, experts: int, size: int, seed: int, scale: int
) -> None:
    weight, density = data.draw(weights(experts)), data.draw(densities(experts))
    gamma = data.draw(st.lists(steps, min_size=experts, max_size=experts))
    slab = coarse_slab(seed, experts, size)
    values: Values = {"weight": weight, "density": density, "gamma": gamma, "lambda": scale}
    find("breadcrumbs", reading).merge(slab, values)
    rows, base = kept(slab, density, gamma), doubles(slab.base)
    expected = [base[j] + scale * sum(w * rows[i, j] for i, w in enumerate(weight)) for j in range(size)]
    assert_near(slab.out, expected)


@pytest.mark.parametrize("reading", READINGS)
@given(st.data(), st.integers(1, 4), sizes, seeds)
def test_elects_signs_among_these(
    reading: str, data: st.DataObject, experts: int, size: int, seed: int
) -> None:
    weight, density = data.draw(weights(experts)), data.draw(densities(experts))
    gamma = data.draw(st.lists(steps, min_size=experts, max_size=experts))
    slab = coarse_slab(seed, experts, size)
    values: Values = {"weight": weight, "density": density, "gamma": gamma, "lambda": 1.0}
    find("breadcrumbs_ties", reading).merge(slab, values)
    rows, expected = kept(slab, density, gamma), doubles(slab.base)
    for j in range(size):
        votes = rows[:, j] if reading == "paper" else rows[:, j] * weight
        sign = 1 if votes.sum() >= 0 else -1
        agreeing = [i for i in range(experts) if votes[i] * sign > 0]
        total = sum(weight[i] * rows[i, j] for i in agreeing)
        expected[j] += total / (len(agreeing) or 1) if reading == "paper" else total
    assert_near(slab.out, expected)


def one(delta: torch.Tensor, density: float, gamma: float) -> torch.Tensor:
    slab = slab_of(torch.zeros(delta.numel()), delta[None])
    find("breadcrumbs", "paper").merge(
        slab, {"weight": 1.0, "density": density, "gamma": gamma, "lambda": 1.0}
    )
    return slab.out


def test_counts_of_a_large_tensor() -> None:
    """10,000 magnitudes that all differ: the ranks 101 to 2100, of which gamma alone is rounded."""
    delta = torch.from_numpy(np.random.default_rng(0).permutation(np.arange(1, 10_001))).float()
    out = one(delta, 0.2, 0.01)  # 41 / 4096 * 10,000 is 100.1
    assert sorted(out[out != 0].tolist()) == list(range(10_001 - 2100, 10_001 - 100))


@pytest.mark.parametrize("size", [100, 10_000])
def test_without_gamma_only_the_smallest_go(size: int) -> None:
    """mergekit before 0.1.5 dropped everything here."""
    delta = torch.arange(1.0, size + 1)
    out = one(delta, 0.25, 0.0)
    assert torch.equal(out, torch.where(delta > 0.75 * size, delta, 0.0))


def test_few_entries_have_no_outliers() -> None:
    assert torch.equal(one(torch.tensor([1.0, -2.0, 3.0, 4.0]), 0.5, 0.01), torch.tensor([0.0, 0, 3, 4]))


@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.3, 1.0])
def test_density_one_drops_nothing(gamma: float) -> None:
    slab, plain = coarse_slab(5, 3, 10_000), coarse_slab(5, 3, 10_000)
    values: Values = {"weight": [0.5, -0.25, 1.0], "lambda": 0.5, "density": 1.0, "gamma": gamma}
    find("breadcrumbs", "paper").merge(slab, values)
    find("task_arithmetic", "paper").merge(plain, values)
    assert torch.equal(slab.out, plain.out)


def test_fewer_outliers_go_where_more_would_leave_too_little() -> None:
    assert torch.equal(one(torch.arange(1.0, 11.0), 0.6, 0.9), torch.tensor([1.0, 2, 3, 4, 5, 6, 0, 0, 0, 0]))


def test_entries_that_are_all_as_large_are_all_kept() -> None:
    """Differences of models in bfloat16 have few magnitudes."""
    delta = torch.tensor([1.0, -1.0]).repeat(500)
    assert torch.equal(one(delta, 0.1, 0.1), delta)


def test_nothing_is_sorted_once_the_tables_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    slab = slab_of(torch.zeros(9000), torch.randn(2, 9000, generator=torch.Generator().manual_seed(1)))
    merge = find("breadcrumbs", "paper").merge
    values = {"weight": 1.0, "gamma": 0.01, "lambda": 1.0}
    merge(slab, {**values, "density": 0.5})
    monkeypatch.setattr("searchmerge.merging.magnitudes.largest", None)
    for step in (1, 500, 4000):
        merge(slab, {**values, "density": step / 4096})


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("name", ["breadcrumbs", "breadcrumbs_ties"])
def test_the_order_of_the_experts_does_not_matter(name: str, reading: str) -> None:
    order = [2, 0, 3, 1]
    slab = coarse_slab(3, 4, 500)
    shuffled = slab_of(slab.base, slab.deltas[order])
    weight, density, gamma = [0.5, 1.0, -0.25, 2.0], [0.25, 0.5, 1.0, 0.5], [0.0, 0.1, 0.2, 0.3]
    for each, who in ((slab, [0, 1, 2, 3]), (shuffled, order)):
        values = {"weight": weight, "density": density, "gamma": gamma}
        chosen = {knob: [numbers[i] for i in who] for knob, numbers in values.items()}
        find(name, reading).merge(each, {**chosen, "lambda": 1.0})
    assert_near(shuffled.out, doubles(slab.out))
