from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from searchmerge.merging import find
from tests.merging.making import Floats, assert_near, coarse, doubles, seeds, sizes, slab_of

SLERP = find("slerp", "paper")


def unit(seed: int, size: int) -> Tensor:
    vector = np.random.default_rng(seed).standard_normal(size)
    return torch.from_numpy(vector / np.linalg.norm(vector)).float()


def naive(experts: Floats, t: float) -> list[float]:
    first, second = experts
    norms = [math.sqrt(sum(x * x for x in vector)) for vector in (first, second)]
    a, b = (norm if norm > 1e-8 else 1.0 for norm in norms)
    cosine = max(-1.0, min(1.0, sum(x / a * (y / b) for x, y in zip(first, second, strict=True))))
    if abs(cosine) > 0.9995:
        return [(1 - t) * x + t * y for x, y in zip(first, second, strict=True)]
    angle = math.acos(cosine)
    left, right = math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
    return [left * x + right * y for x, y in zip(first, second, strict=True)]


@given(sizes, seeds, st.floats(0, 1))
def test_follows_the_arc(size: int, seed: int, t: float) -> None:
    slab = slab_of(None, coarse(seed, 2, size))
    SLERP.merge(slab, {"t": t})
    assert_near(slab.out, naive(doubles(slab.deltas), t))


@given(sizes, seeds, st.floats(0, 1))
def test_is_the_same_from_task_vectors(size: int, seed: int, t: float) -> None:
    slab = slab_of(coarse(seed, size), coarse(seed + 1, 2, size))
    experts = doubles(slab.base) + doubles(slab.deltas)
    first, second = experts
    assume(
        first @ second > -0.9 * np.linalg.norm(first) * np.linalg.norm(second)
    )  # else the factors are large
    SLERP.merge(slab, {"t": t})
    assert_near(slab.out, naive(experts, t))


@pytest.mark.parametrize("t", [0.0, 1.0])
def test_the_ends_are_the_experts_bit_for_bit(t: float) -> None:
    experts = torch.stack([unit(0, 300), 3 * unit(1, 300)])
    slab = slab_of(None, experts)
    SLERP.merge(slab, {"t": t})
    assert torch.equal(slab.out, experts[int(t)])


@given(st.integers(2, 300), st.floats(0, 1))
def test_unit_vectors_stay_unit_vectors(size: int, t: float) -> None:
    slab = slab_of(None, torch.stack([unit(1, size), unit(2, size)]))
    SLERP.merge(slab, {"t": t})
    cosine = float(slab.deltas[0].double() @ slab.deltas[1].double())
    if abs(cosine) <= 0.999:
        assert float(slab.out.double().norm()) == pytest.approx(1.0, abs=1e-5)


def test_the_middle_halves_a_right_angle() -> None:
    slab = slab_of(None, torch.eye(2))
    SLERP.merge(slab, {"t": 1 / 3})
    assert slab.out.tolist() == pytest.approx([math.cos(math.pi / 6), math.sin(math.pi / 6)])


@pytest.mark.parametrize("second", [[2.0, 4.0, 6.0], [-1.0, -2.0, -3.0], [0.0, 0.0, 0.0]])
def test_parallel_opposite_and_zero_vectors(second: list[float]) -> None:
    experts = torch.tensor([[1.0, 2.0, 3.0], second])
    slab = slab_of(None, experts)
    SLERP.merge(slab, {"t": 0.25})
    assert_near(slab.out, naive(doubles(experts), 0.25))
    assert torch.isfinite(slab.out).all()


def test_the_angle_is_computed_once() -> None:
    memo: dict[str, object] = {}
    slab = slab_of(None, torch.tensor([[3.0, 4.0], [4.0, 3.0]]), memo=memo)
    SLERP.merge(slab, {"t": 0.5})
    assert memo == {"cosine": pytest.approx(24 / 25)}
    memo["cosine"] = 1.0
    SLERP.merge(slab, {"t": 0.5})
    assert slab.out.tolist() == [3.5, 3.5]


def test_takes_exactly_two_experts_and_no_base() -> None:
    assert SLERP.experts == (2, 2)
    assert not SLERP.needs_base
