from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from searchmerge.merging import find
from searchmerge.merging.method import Slab
from tests.merging.making import (
    Floats,
    assert_near,
    coarse,
    coarse_slab,
    doubles,
    seeds,
    sizes,
    slab_of,
    weights,
)

LINEAR = find("linear", "paper")


def naive(experts: Floats, weight: list[float]) -> list[float]:
    merged = []
    for j in range(experts.shape[1]):
        total = sum(w * experts[i, j] for i, w in enumerate(weight))
        merged.append(total / sum(weight))
    return merged


@given(st.data(), st.integers(1, 5), sizes, seeds)
def test_is_the_weighted_mean_of_the_experts_without_a_base(
    data: st.DataObject, experts: int, size: int, seed: int
) -> None:
    weight = data.draw(weights(experts))
    assume(abs(sum(weight)) > 0)
    slab = slab_of(None, coarse(seed, experts, size))
    LINEAR.merge(slab, {"weight": weight})
    assert_near(slab.out, naive(doubles(slab.deltas), weight))


@given(st.data(), st.integers(1, 5), sizes, seeds)
def test_is_the_same_mean_with_a_base(data: st.DataObject, experts: int, size: int, seed: int) -> None:
    weight = data.draw(weights(experts))
    assume(abs(sum(weight)) > 0)
    slab = coarse_slab(seed, experts, size)
    LINEAR.merge(slab, {"weight": weight})
    scale = max(1.0, *(abs(w / sum(weight)) for w in weight))
    expected = naive(doubles(slab.base) + doubles(slab.deltas), weight)
    assert_near(slab.out / scale, [value / scale for value in expected])


def test_one_number_is_the_weight_of_all() -> None:
    slab = coarse_slab(0, 3, 10)
    LINEAR.merge(slab, {"weight": 0.25})
    assert_near(slab.out, (doubles(slab.base) + doubles(slab.deltas)).mean(axis=0))


@pytest.mark.parametrize("weight", [[0.0, 0.0], [1.0, -1.0], [1e-9, 0.0]])
def test_weights_that_cancel_are_an_error(weight: list[float]) -> None:
    with pytest.raises(ValueError, match="mean is undefined"):
        LINEAR.merge(coarse_slab(0, 2, 4), {"weight": weight})


def test_as_many_weights_as_experts_are_needed() -> None:
    with pytest.raises(ValueError, match="2 numbers for 3 experts"):
        LINEAR.merge(coarse_slab(0, 3, 4), {"weight": [1.0, 1.0]})


def test_a_single_expert_is_left_as_it_is() -> None:
    expert = torch.randn(1, 1000, generator=torch.Generator().manual_seed(0))
    slab: Slab = slab_of(None, expert)
    LINEAR.merge(slab, {"weight": [0.3]})
    assert torch.equal(slab.out, expert[0])
