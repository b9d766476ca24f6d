from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from searchmerge.merging import find
from tests.merging.making import Floats, assert_near, coarse, doubles, seeds, slab_of

READINGS = ["paper", "mergekit"]
positive = st.floats(0.05, 1)


def vectors(seed: int, count: int, size: int) -> Tensor:
    """At angles of about 60 degrees, of lengths that differ."""
    generator = np.random.default_rng(seed)
    made = generator.standard_normal((count, size)) + generator.standard_normal(size)
    return torch.from_numpy(made * generator.uniform(0.5, 2, (count, 1))).float()


def units(experts: Floats) -> Floats:
    return np.array([vector / math.sqrt(sum(x * x for x in vector)) for vector in experts])


def merged(experts: Tensor, weight: Sequence[float], reading: str, base: Tensor | None = None) -> Tensor:
    slab = slab_of(base, experts)
    find("multislerp", reading).merge(slab, {"weight": list(weight)})
    return slab.out


def as_mergekit_says(experts: Floats, weight: Sequence[float]) -> Floats:
    """Step by step: mean direction, tangent vectors, their mean, the exponential map, the mean length."""
    shares = np.array(weight) / sum(weight)
    directions = units(experts)
    mean = sum(share * u for share, u in zip(shares, directions, strict=True))
    mean = mean / np.linalg.norm(mean)
    tangents = [u - (u @ mean) * mean for u in directions]
    step = sum(share * tangent for share, tangent in zip(shares, tangents, strict=True))
    length = float(np.linalg.norm(step)) + 1e-8
    length_of_all = sum(share * np.linalg.norm(v) for share, v in zip(shares, experts, strict=True))
    found: Floats = length_of_all * (mean * math.cos(length) + step * math.sin(length) / length)
    return found


@given(seeds, st.integers(1, 5), st.data())
def test_mergekits_steps(seed: int, count: int, data: st.DataObject) -> None:
    weight = data.draw(st.lists(positive, min_size=count, max_size=count))
    experts = vectors(seed, count, 40)
    assert_near(merged(experts, weight, "mergekit"), as_mergekit_says(doubles(experts), weight))


@given(seeds, st.floats(0, 1), st.booleans())
def test_of_two_experts_it_is_slerp(seed: int, t: float, based: bool) -> None:
    experts = vectors(seed, 2, 40)
    first, second = units(doubles(experts))
    assume(abs(first @ second) < 0.999)
    plain = slab_of(None, experts)
    find("slerp", "paper").merge(plain, {"t": t})
    base = coarse(seed, 40) if based else torch.zeros(40)
    out = merged(experts, [1 - t, t], "paper", base if based else None)
    assert_near(out, doubles(base) + doubles(plain.out))


@given(seeds, st.integers(2, 6), st.data())
def test_the_mean_is_the_point_of_the_least_squared_angles(
    seed: int, count: int, data: st.DataObject
) -> None:
    """Of unit vectors: on the sphere, no logarithm left, and every point near it is worse."""
    weight = np.array(data.draw(st.lists(positive, min_size=count, max_size=count)))
    directions = units(doubles(vectors(seed, count, 30)))
    assume((directions @ directions.T).min() > 0)
    found = doubles(merged(torch.from_numpy(directions).float(), weight.tolist(), "paper"))
    assert np.linalg.norm(found) == pytest.approx(1.0, abs=1e-5)

    def badness(point: Floats) -> float:
        cosines = (directions @ (point / np.linalg.norm(point))).clip(-1, 1)
        return float(weight @ np.arccos(cosines) ** 2)

    generator = np.random.default_rng(seed)
    for _ in range(20):
        away = 1e-2 * generator.standard_normal(30)
        assert badness(found) <= badness(found + away) + 1e-9
        assert badness(found) <= badness(found + 0.1 * (directions[0] - found)) + 1e-9


def test_right_angles_and_equal_weights() -> None:
    for reading, factor in (("paper", 1 / 2), ("mergekit", 1 / 2)):
        assert merged(torch.eye(4), [3.0] * 4, reading).tolist() == pytest.approx([factor] * 4)


def test_a_third_of_a_right_angle_in_the_papers_reading_only() -> None:
    angles = [
        math.degrees(math.atan2(*reversed(merged(torch.eye(2), [2, 1], reading).tolist())))
        for reading in READINGS
    ]
    assert angles[0] == pytest.approx(30)
    assert angles[1] == pytest.approx(math.degrees(math.atan2(1, 2)))


@pytest.mark.parametrize("reading", READINGS)
@given(seeds, st.data())
def test_equal_and_parallel_experts(reading: str, seed: int, data: st.DataObject) -> None:
    """Nothing to turn: the mean of the lengths."""
    weight = data.draw(st.lists(positive, min_size=3, max_size=3))
    one = vectors(seed, 1, 20)[0]
    assert_near(merged(one.repeat(3, 1), weight, reading), doubles(one))
    lengths = torch.tensor([1.0, 2.0, 4.0])
    factor = sum(w * float(x) for w, x in zip(weight, lengths, strict=True)) / sum(weight)
    assert_near(merged(lengths[:, None] * one, weight, reading), factor * doubles(one))


@pytest.mark.parametrize("reading", READINGS)
def test_one_expert_stays(reading: str) -> None:
    experts = vectors(0, 1, 20)
    assert_near(merged(experts, [0.3], reading), doubles(experts[0]))


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize(
    "experts",
    [[[1.0, 2], [-1, -2]], [[2.0, 0], [-1, 0]], [[0.0, 0], [0, 0]], [[1.0, 0], [-1, 1e-4]]],
    ids=["cancel", "opposite", "zeros", "nearly opposite"],
)
def test_where_there_is_no_mean_direction(reading: str, experts: list[list[float]]) -> None:
    out = merged(torch.tensor(experts), [1.0, 1.0], reading)
    assert torch.isfinite(out).all()
    if reading == "paper":
        assert_near(out, np.mean(experts, axis=0))


def test_opposite_to_the_mean() -> None:
    """Unequal weights: the mean in space has a direction, the mean on the sphere none that is unique."""
    assert merged(torch.tensor([[1.0, 0], [-1, 0]]), [3.0, 1.0], "paper").tolist() == [0.5, 0.0]


@pytest.mark.parametrize("reading", READINGS)
def test_a_vector_of_zeros_takes_its_share_away(reading: str) -> None:
    out = merged(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), [3.0, 1.0], reading)
    assert out.tolist() == pytest.approx([2.25, 3.0])


@pytest.mark.parametrize("reading", READINGS)
def test_weights_count_by_their_share_and_zero_leaves_out(reading: str) -> None:
    experts = vectors(1, 3, 40)
    weight = [0.5, 0.25, 1.0]
    assert_near(merged(experts, [3 * w for w in weight], reading), doubles(merged(experts, weight, reading)))
    assert_near(
        merged(experts, [0.5, 0.25, 0.0], reading), doubles(merged(experts[:2], [0.5, 0.25], reading))
    )
    with pytest.raises(ValueError, match="add up to 0"):
        merged(experts, [0.0, 0.0, 0.0], reading)


@pytest.mark.parametrize("reading", READINGS)
@given(seeds, st.permutations(range(4)))
def test_the_order_of_the_experts_does_not_matter(reading: str, seed: int, order: list[int]) -> None:
    experts, weight = vectors(seed, 4, 40), [0.5, 0.25, 1.0, 0.75]
    shuffled = merged(experts[order], [weight[i] for i in order], reading)
    assert_near(shuffled, doubles(merged(experts, weight, reading)))


def test_the_inner_products_are_computed_once() -> None:
    slab = slab_of(None, torch.tensor([[3.0, 4.0], [4.0, 3.0]]))
    for weight in (0.2, 0.7):
        find("multislerp", "paper").merge(slab, {"weight": [weight, 1 - weight]})
        assert slab.memo["gram"].tolist() == [[25.0, 24.0], [24.0, 25.0]]
