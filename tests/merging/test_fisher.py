from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from searchmerge.merging.fisher import FISHER
from tests.merging.making import Floats, Known, assert_near, coarse, doubles, seeds, sizes, slab_of


def naive(base: Tensor | None, deltas: Tensor, information: Tensor, weights: Sequence[float]) -> Floats:
    models = doubles(deltas) + (0 if base is None else doubles(base))
    merged = []
    for j in range(models.shape[1]):
        shares = [weight * float(row[j]) for weight, row in zip(weights, information, strict=True)]
        if sum(shares) == 0:
            shares = list(weights)
        merged.append(sum(s * float(m[j]) for s, m in zip(shares, models, strict=True)) / sum(shares))
    return np.array(merged)


@given(
    seed=seeds,
    size=sizes,
    weights=st.lists(st.integers(0, 16).map(lambda step: step / 8), min_size=1, max_size=4).filter(any),
    with_base=st.booleans(),
)
def test_fisher_is_the_naive_loops(seed: int, size: int, weights: list[float], with_base: bool) -> None:
    experts = len(weights)
    base = coarse(seed, size) if with_base else None
    deltas = coarse(seed + 1, experts, size)
    # Many zeros, some of them for every model that has a weight.
    information = coarse(seed + 2, experts, size).clamp(0) ** 2
    slab = slab_of(base, deltas, statistics=Known(list(information)))
    FISHER.merge(slab, {"weight": weights})
    assert_near(slab.out, naive(base, deltas, information, weights))


def test_equal_information_gives_the_plain_mean() -> None:
    base, deltas = coarse(0, 50), coarse(1, 3, 50)
    slab = slab_of(base, deltas, statistics=Known([torch.full((50,), 2e-12)] * 3))
    FISHER.merge(slab, {"weight": 1.0})
    assert_near(slab.out, doubles(base + deltas.mean(0)))


def test_a_model_that_alone_depends_on_a_parameter_decides_it() -> None:
    base, deltas = coarse(0, 50), coarse(1, 2, 50)
    slab = slab_of(base, deltas, statistics=Known([torch.zeros(50), torch.full((50,), 1e-9)]))
    FISHER.merge(slab, {"weight": 1.0})
    assert_near(slab.out, doubles(base + deltas[1]))


def test_weights_of_zero_are_a_failed_candidate() -> None:
    with pytest.raises(ValueError, match="add up to 0"):
        FISHER.merge(slab_of(None, coarse(0, 2, 5)), {"weight": 0.0})


def test_without_statistics_it_cannot_be() -> None:
    with pytest.raises(ValueError, match="statistics"):
        FISHER.merge(slab_of(None, coarse(0, 2, 5), statistics=None), {"weight": 1.0})
