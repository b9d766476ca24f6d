from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.merging import find
from searchmerge.merging.method import Slab
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


def trimmed(delta: Floats, density: float) -> list[float]:
    count = max(1, int(density * len(delta)))
    cutoff = sorted((abs(entry) for entry in delta), reverse=True)[count - 1]
    return [entry if abs(entry) >= cutoff else 0.0 for entry in delta]


def naive(slab: Slab, weight: list[float], density: list[float], scale: float, reading: str) -> list[float]:
    base, deltas = doubles(slab.base), doubles(slab.deltas)
    kept = [trimmed(delta, d) for delta, d in zip(deltas, density, strict=True)]
    merged = []
    for j in range(len(base)):
        entries = [row[j] for row in kept]
        votes = entries if reading == "paper" else [w * e for w, e in zip(weight, entries, strict=True)]
        sign = 1 if sum(votes) >= 0 else -1
        agreeing = [i for i, vote in enumerate(votes) if vote * sign > 0]
        total = sum(weight[i] * entries[i] for i in agreeing)
        divisor = len(agreeing) if reading == "paper" else sum(weight[i] for i in agreeing)
        merged.append(base[j] + scale * total / (divisor or 1))
    return merged


@pytest.mark.parametrize("reading", ["paper", "mergekit"])
@given(st.data(), st.integers(1, 5), sizes, seeds, st.integers(-4, 4))
def test_trims_elects_and_averages(
    reading: str, data: st.DataObject, experts: int, size: int, seed: int, scale: int
) -> None:
    weight, density = data.draw(weights(experts)), data.draw(densities(experts))
    slab = coarse_slab(seed, experts, size)
    find("ties", reading).merge(slab, {"weight": weight, "density": density, "lambda": scale})
    assert_near(slab.out, naive(slab, weight, density, scale, reading))


def test_the_readings_differ_where_weights_outvote_the_larger_entry() -> None:
    outs = []
    for reading in ("paper", "mergekit"):
        slab = slab_of(torch.zeros(1), torch.tensor([[2.0], [-1.0]]))
        find("ties", reading).merge(slab, {"weight": [1.0, 4.0], "density": 1.0, "lambda": 1.0})
        outs.append(slab.out.item())
    assert outs == [2.0, -1.0]


@pytest.mark.parametrize("reading", ["paper", "mergekit"])
def test_an_exact_cancellation_elects_plus(reading: str) -> None:
    slab = slab_of(torch.zeros(1), torch.tensor([[3.0], [-3.0]]))
    find("ties", reading).merge(slab, {"weight": 1.0, "density": 1.0, "lambda": 1.0})
    assert slab.out.item() == 3.0


def test_weights_that_cancel_among_the_agreeing_divide_by_one() -> None:
    slab = slab_of(torch.zeros(1), torch.tensor([[3.0], [-2.0]]))
    find("ties", "mergekit").merge(slab, {"weight": [0.5, -0.5], "density": 1.0, "lambda": 1.0})
    assert slab.out.item() == 2.5


def test_the_cutoff_of_a_wider_scope_may_drop_everything() -> None:
    slab = slab_of(torch.ones(3), torch.tensor([[0.1, -0.2, 0.3]]))
    wider = Slab(slab.base, slab.deltas, slab.out, lambda *_: 0.5, slab.keys)
    find("ties", "paper").merge(wider, {"weight": 1.0, "density": 0.2, "lambda": 1.0})
    assert slab.out.tolist() == [1.0, 1.0, 1.0]


def test_the_entry_at_the_cutoff_is_kept_whatever_its_size() -> None:
    delta = torch.tensor([[1e-45, 3e-39, -1.5e-7, 1.0, 1.0000001, -3e38]])
    for kept in range(1, 7):
        slab = slab_of(torch.zeros(6), delta)
        find("ties", "paper").merge(slab, {"weight": 1.0, "density": kept / 6 + 1e-9, "lambda": 1.0})
        assert torch.equal(slab.out[6 - kept :], delta[0, 6 - kept :])
        assert not slab.out[: 6 - kept].any()


@pytest.mark.parametrize("reading", ["paper", "mergekit"])
@given(st.data(), st.integers(2, 5), seeds)
def test_the_order_of_the_experts_does_not_matter(
    reading: str, data: st.DataObject, experts: int, seed: int
) -> None:
    weight, density = np.array(data.draw(weights(experts))), np.array(data.draw(densities(experts)))
    order = data.draw(st.permutations(range(experts)))
    slab = coarse_slab(seed, experts, 30)
    shuffled = slab_of(slab.base, slab.deltas[order])
    for each, who in ((slab, list(range(experts))), (shuffled, order)):
        values = {"weight": weight[who].tolist(), "density": density[who].tolist(), "lambda": 1.0}
        find("ties", reading).merge(each, values)
    assert torch.equal(slab.out, shuffled.out)
