from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.merging import find
from tests.merging.making import Floats, assert_near, coarse_slab, doubles, seeds, sizes, slab_of

READINGS = ["paper", "mergekit"]


def naive(base: Floats, deltas: Floats, scale: float, smallest: float = 0.0) -> list[float]:
    cosines = []
    for first, second in combinations(deltas.tolist(), 2):
        dot = sum(x * y for x, y in zip(first, second, strict=True))
        norms = math.sqrt(sum(x * x for x in first)) * math.sqrt(sum(y * y for y in second))
        cosines.append(dot / max(norms, smallest) if norms else 0.0)
    cosine, count = sum(cosines) / len(cosines), len(deltas)
    divisor = 1 + (count - 1) * cosine
    t = count * cosine / divisor if divisor > 1e-6 else 0.0
    return [base[j] + scale * t * sum(deltas[:, j]) / count for j in range(len(base))]


@pytest.mark.parametrize("reading", READINGS)
@given(st.integers(2, 5), sizes, seeds, st.integers(-3, 3))
def test_interpolates_by_the_mean_angle(reading: str, experts: int, size: int, seed: int, scale: int) -> None:
    slab = coarse_slab(seed, experts, size)
    find("model_stock", reading).merge(slab, {"lambda": scale})
    assert_near(slab.out, naive(doubles(slab.base), doubles(slab.deltas), scale))


def test_lies_at_the_foot_of_the_perpendicular_to_the_plane_of_the_experts() -> None:
    """The paper's figure: experts lie on a sphere about a centre, here the mean of very many of them.

    The merge is the point of the line from the base through the mean of two that is nearest to the centre.
    """
    generator = torch.Generator().manual_seed(0)
    size, many = 4000, 400
    centre = torch.randn(size, generator=generator)
    experts = centre + torch.randn(many, size, generator=generator)
    slab = slab_of(torch.zeros(size), experts[:2].clone())
    find("model_stock", "paper").merge(slab, {"lambda": 1.0})
    mean = experts[:2].mean(dim=0)
    nearest = mean * (mean @ experts.mean(dim=0)) / (mean @ mean)
    assert (slab.out - nearest).norm() < 0.02 * nearest.norm()


@pytest.mark.parametrize("reading", READINGS)
def test_equal_experts_are_kept_as_they_are(reading: str) -> None:
    slab = slab_of(torch.ones(100), torch.linspace(-1, 1, 100).repeat(3, 1))
    find("model_stock", reading).merge(slab, {"lambda": 1.0})
    assert_near(slab.out, doubles(torch.ones(100) + slab.deltas[0]))


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("deltas", [[[1.0, 0], [0, 1]], [[1.0, 2], [-1, -2]], [[0.0, 0], [1, 1]]])
def test_experts_at_right_angles_or_opposite_leave_the_base(reading: str, deltas: list[list[float]]) -> None:
    slab = slab_of(torch.tensor([1.0, 2.0]), torch.tensor(deltas))
    find("model_stock", reading).merge(slab, {"lambda": 1.0})
    assert slab.out.tolist() == [1.0, 2.0]


def test_the_readings_differ_where_task_vectors_are_tiny() -> None:
    outs = []
    for reading, smallest in (("paper", 0.0), ("mergekit", 1e-6)):
        slab = slab_of(torch.zeros(2), 1e-4 * torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        find("model_stock", reading).merge(slab, {"lambda": 1.0})
        expected = naive(np.zeros(2), doubles(slab.deltas), 1.0, smallest)
        np.testing.assert_allclose(slab.out.numpy(), expected, rtol=1e-6)
        outs.append(slab.out[0].item())
    assert outs[1] < outs[0] / 10


def test_the_inner_products_are_computed_once() -> None:
    slab = slab_of(torch.zeros(2), torch.tensor([[3.0, 4.0], [4.0, 3.0]]))
    find("model_stock", "paper").merge(slab, {"lambda": 1.0})
    assert slab.memo["gram"].tolist() == [[25.0, 24.0], [24.0, 25.0]]
    slab.memo["gram"][:] = 25.0
    find("model_stock", "paper").merge(slab, {"lambda": 1.0})
    assert slab.out.tolist() == [3.5, 3.5]


def test_takes_two_experts_or_more_and_the_base() -> None:
    method = find("model_stock", "paper")
    assert method.experts == (2, None)
    assert method.needs_base


def test_the_order_of_the_experts_does_not_matter() -> None:
    slab = coarse_slab(3, 4, 500)
    shuffled = slab_of(slab.base, slab.deltas[[2, 0, 3, 1]])
    for each in (slab, shuffled):
        find("model_stock", "paper").merge(each, {"lambda": 0.7})
    assert_near(shuffled.out, doubles(slab.out))
