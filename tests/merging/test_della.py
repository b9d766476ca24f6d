from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.merging import find
from searchmerge.merging.masks import Masks, key
from searchmerge.merging.method import Slab, Values
from tests.merging.making import Floats, assert_near, coarse, coarse_slab, doubles, seeds, slab_of, weights
from tests.merging.test_masks import is_kept

READINGS = ["paper", "mergekit"]
METHODS = ["della_linear", "della"]
shapes = st.tuples(st.integers(1, 6), st.integers(1, 12))
halves = st.sampled_from([0.0, 1 / 8, 1 / 4])


def probabilities(delta: Floats, row: int, density: float, epsilon: float) -> list[float]:
    """Of each entry, by counting in its row who is smaller; in steps of 1 / 65536."""
    epsilon = min(epsilon, density, 1 - density)
    found = []
    for j, entry in enumerate(delta):
        first = j // row * row
        before = [abs(other) <= abs(entry) for other in delta[first:j]]
        after = [abs(other) < abs(entry) for other in delta[j + 1 : first + row]]
        share = (sum(before) + sum(after)) / (row - 1) if row > 1 else 0.5
        found.append(max(round((density - epsilon + 2 * epsilon * share) * 65536), 1) / 65536)
    return found


def pruned(slab: Slab, density: list[float], epsilon: float, reading: str) -> Floats:
    rows = np.zeros(slab.deltas.shape)
    for i, delta in enumerate(doubles(slab.deltas)):
        chances = probabilities(delta, slab.row or len(delta), density[i], epsilon)
        for j, chance in enumerate(chances):
            if is_kept(slab.keys[i], j, chance):
                rows[i, j] = delta[j] / chance if reading == "paper" else delta[j]
        before, after = np.abs(delta).sum(), np.abs(rows[i]).sum()
        if reading == "mergekit" and before >= 1e-7 and after >= 1e-7:
            rows[i] *= before / after
    return rows


def shaped_slab(seed: int, experts: int, shape: tuple[int, ...]) -> Slab:
    size = prod(shape)
    return slab_of(coarse(seed, size), coarse(seed + 1, experts, size), row=shape[-1])


@pytest.mark.parametrize("reading", READINGS)
@given(st.data(), st.integers(1, 4), shapes, seeds, halves, st.integers(-3, 3))
def test_della_linear_adds_what_is_kept_by_rank(
    reading: str,
    data: st.DataObject,
    experts: int,
    shape: tuple[int, int],
    seed: int,
    epsilon: float,
    scale: int,
) -> None:
    weight = data.draw(weights(experts))
    density = data.draw(st.lists(st.sampled_from([0.25, 0.5, 0.75, 1.0]), min_size=experts, max_size=experts))
    slab = shaped_slab(seed, experts, shape)
    values: Values = {"weight": weight, "density": density, "epsilon": epsilon, "lambda": scale}
    find("della_linear", reading).merge(slab, values)
    rows, base = pruned(slab, density, epsilon, reading), doubles(slab.base)
    expected = [base[j] + scale * sum(w * rows[i, j] for i, w in enumerate(weight)) for j in range(len(base))]
    assert_near(slab.out, expected)


@pytest.mark.parametrize("reading", READINGS)
@given(st.data(), st.integers(1, 4), shapes, seeds, halves)
def test_della_elects_signs_among_what_is_kept(
    reading: str, data: st.DataObject, experts: int, shape: tuple[int, int], seed: int, epsilon: float
) -> None:
    weight = data.draw(weights(experts))
    density = [0.5] * experts
    slab = shaped_slab(seed, experts, shape)
    find("della", reading).merge(
        slab, {"weight": weight, "density": density, "epsilon": epsilon, "lambda": 1}
    )
    rows = pruned(slab, density, epsilon, reading)
    out, expected = doubles(slab.out), doubles(slab.base)
    for j in range(len(out)):
        entries = rows[:, j]
        votes = entries if reading == "paper" else entries * weight
        if 0 < abs(votes.sum()) < 1e-5:
            expected[j] = out[j]  # factors are rounded: which sign such a vote has is open
            continue
        sign = 1 if votes.sum() >= 0 else -1
        agreeing = [i for i in range(experts) if votes[i] * sign > 0]
        divisor = len(agreeing) if reading == "paper" else sum(weight[i] for i in agreeing)
        expected[j] += sum(weight[i] * entries[i] for i in agreeing) / (divisor or 1)
    assert_near(slab.out, expected)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize(("name", "plain"), [("della_linear", "task_arithmetic"), ("della", "ties")])
def test_density_one_drops_nothing_whatever_epsilon_is(name: str, plain: str, reading: str) -> None:
    slab, other = coarse_slab(5, 3, 1000), coarse_slab(5, 3, 1000)
    values: Values = {"weight": [0.5, -0.25, 1.0], "lambda": 0.5, "density": 1.0, "epsilon": 0.3}
    find(name, reading).merge(slab, values)
    find(plain, reading).merge(other, values)
    assert torch.equal(slab.out, other.out)


@pytest.mark.parametrize(("name", "plain"), [("della_linear", "dare_linear"), ("della", "dare_ties")])
def test_without_epsilon_it_is_dare(name: str, plain: str) -> None:
    slab, other = coarse_slab(6, 3, 1000), coarse_slab(6, 3, 1000)
    values: Values = {"weight": [0.5, -0.25, 1.0], "lambda": 0.5, "density": 0.25, "epsilon": 0.0}
    find(name, "paper").merge(slab, values)
    find(plain, "paper").merge(other, values)
    assert torch.equal(slab.out, other.out)


ROWS, ROW = 20_000, 16
DENSITY, EPSILON = 0.4, 0.3


def kept_by_rank() -> npt.NDArray[np.bool_]:
    """``[ROWS, ROW]``, the entries of a row in the order of their magnitudes."""
    generator = np.random.default_rng(4)
    deltas = generator.permuted(np.tile(np.arange(1, ROW + 1), (ROWS, 1)), axis=1)
    signed = deltas * generator.choice([-1, 1], deltas.shape)
    slab = slab_of(torch.zeros(ROWS * ROW), torch.from_numpy(signed).float().reshape(1, -1), row=ROW)
    values: Values = {"weight": 1.0, "density": DENSITY, "epsilon": EPSILON, "lambda": 1.0}
    find("della_linear", "paper").merge(slab, values)
    kept = slab.out.reshape(ROWS, ROW).numpy() != 0
    return np.take_along_axis(kept, deltas.argsort(axis=1), axis=1)


def test_each_rank_is_kept_as_often_as_it_should() -> None:
    """Chi-square over the ranks, and over 100 blocks of rows; five deviations each."""
    kept = kept_by_rank()
    chances = DENSITY - EPSILON + 2 * EPSILON * np.arange(ROW) / (ROW - 1)
    by_rank = ((kept.sum(axis=0) - ROWS * chances) ** 2 / (ROWS * chances * (1 - chances))).sum()
    assert abs(by_rank - ROW) < 5 * np.sqrt(2 * ROW)
    counts = kept.reshape(100, -1).sum(axis=1)
    mean, variance = ROWS / 100 * chances.sum(), ROWS / 100 * (chances * (1 - chances)).sum()
    assert abs(((counts - mean) ** 2 / variance).sum() - 100) < 5 * np.sqrt(2 * 100)


def test_neighbours_in_rank_are_kept_independently() -> None:
    kept = kept_by_rank()
    for rank in range(ROW - 1):
        correlation = np.corrcoef(kept[:, rank], kept[:, rank + 1])[0, 1]
        assert abs(correlation) < 5 / np.sqrt(ROWS)


def test_rescaling_keeps_the_expected_task_vector() -> None:
    slab = slab_of(torch.zeros(200_000), torch.arange(1.0, 9.0).repeat(25_000)[None], row=8)
    find("della_linear", "paper").merge(slab, {"weight": 1.0, "density": 0.5, "epsilon": 0.25, "lambda": 1.0})
    means = slab.out.reshape(-1, 8).mean(dim=0).double().numpy()
    chances = 0.25 + 0.5 * np.arange(8) / 7
    deviations = np.arange(1, 9) * np.sqrt((1 - chances) / chances / 25_000)
    assert (abs(means - np.arange(1, 9)) < 5 * deviations).all()


@pytest.mark.parametrize("density", [0.01, 0.2, 0.99])
def test_epsilon_is_cut_down_to_where_probabilities_are_some(density: float) -> None:
    slab = slab_of(torch.zeros(100_000), torch.arange(1.0, 1001.0).repeat(100)[None], row=1000)
    find("della_linear", "paper").merge(
        slab, {"weight": 1.0, "density": density, "epsilon": 0.5, "lambda": 1.0}
    )
    assert torch.isfinite(slab.out).all()
    kept = float((slab.out != 0).double().mean())
    assert abs(kept - density) < 5 * np.sqrt(density * (1 - density) / 100_000) + 1 / 65536


def test_a_row_too_long_for_small_ranks_is_ranked_too() -> None:
    for size, row, kind in ((2**15 + 5, 2**15 + 5, torch.int32), (2**16, 2**15, torch.int16)):
        slab = slab_of(torch.zeros(size), torch.arange(float(size)).flip(0)[None], row=row)
        find("della_linear", "paper").merge(
            slab, {"weight": 1.0, "density": 0.5, "epsilon": 0.25, "lambda": 1.0}
        )
        ranks = slab.memo["ranks"]
        assert ranks.dtype == kind
        assert torch.equal(ranks[0, :row].flip(0).long(), torch.arange(row))


def test_equal_magnitudes_are_ranked_by_place_and_once() -> None:
    deltas = torch.tensor([[2.0, -1.0, 1.0, 0.0, -0.0, 2.0], [1.0, 1.0, 1.0, -3.0, 1.0, 2.0]])
    slab = slab_of(torch.zeros(6), deltas, row=3)
    values: Values = {"weight": 1.0, "density": 0.5, "epsilon": 0.25, "lambda": 1.0}
    find("della", "paper").merge(slab, values)
    assert slab.memo["ranks"].tolist() == [[2, 0, 1, 0, 1, 2], [0, 1, 2, 2, 0, 1]]
    before = slab.memo["ranks"]
    find("della", "paper").merge(slab, values)
    assert slab.memo["ranks"] is before


def test_words_are_the_bits_that_masks_are_cut_from() -> None:
    keys = [key(0, "a", "t"), key(0, "b", "t")]
    part = slice(2**18 - 300, 2**18 + 2**17 + 300)
    words, masks = torch.empty(2, part.stop - part.start), torch.empty(2, part.stop - part.start)
    made = Masks(words.device)
    made.write_words(keys, part, words)
    assert float(words.min()) >= 0
    assert float(words.max()) <= 65535
    for share in (0.0, 1 / 65536, 0.3, 1.0):
        made.write(keys, [share, share], part, masks)
        assert torch.equal(words < round(share * 65536), masks > 0)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_the_experts_does_not_matter(name: str, reading: str) -> None:
    order = [2, 0, 3, 1]
    slab = shaped_slab(3, 4, (50, 10))
    shuffled = slab_of(slab.base, slab.deltas[order], keys=[slab.keys[i] for i in order], row=10)
    weight, density = [0.5, 1.0, -0.25, 2.0], [0.25, 0.5, 1.0, 0.5]
    for each, who in ((slab, [0, 1, 2, 3]), (shuffled, order)):
        values = {"weight": [weight[i] for i in who], "density": [density[i] for i in who]}
        find(name, reading).merge(each, {**values, "epsilon": 0.125, "lambda": 1.0})
    assert_near(shuffled.out, doubles(slab.out))
