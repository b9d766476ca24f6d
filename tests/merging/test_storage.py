"""Task vectors of 16 bits: merged as their float32 would be, and how far that is from what was rounded."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from searchmerge.merging import READINGS, consensus, find, slabs
from searchmerge.merging.kernels import array, widening
from searchmerge.merging.magnitudes import DENSITY_STEPS, Magnitudes, kept_count
from searchmerge.merging.method import Method, Values
from tests.merging.making import Floats, Known, doubles, seeds, slab_of

STORED = {"bfloat16": torch.bfloat16, "float16": torch.float16}
STEP = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
"""The largest relative error of rounding: half the distance from 1 to the next number."""

LEAST = {torch.bfloat16: 0.0, torch.float16: 2.0**-25}
"""Half the distance between the smallest numbers of float16: a small one may be off by that."""

CASES = {f"{reading}-{name}": one for reading, named in READINGS.items() for name, one in named.items()}
every = pytest.mark.parametrize("method", CASES.values(), ids=CASES)
both = pytest.mark.parametrize("dtype", STORED.values(), ids=STORED)
EXPERTS = {"slerp": 2}
SIZES = (24, 3 * 2**10)


def numbers(seed: int, *shape: int, spread: float = 1e-3) -> Tensor:
    return spread * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def values_of(method: Method, experts: int) -> dict[str, Any]:
    """Away from the defaults, so that what is multiplied rounds."""
    chosen = {"weight": [0.3, 0.9, 0.45][:experts], "lambda": 0.7, "t": 0.3, "density": 0.4, "gamma": 0.05}
    return {knob.name: chosen.get(knob.name, knob.default(experts)) for knob in method.knobs}


def known(size: int, experts: int) -> Known:
    """Information of every parameter, and inner products of the inputs of a layer with 8 of them."""
    inputs = [numbers(90 + k, 20, 8, spread=1.0) for k in range(experts)]
    information = numbers(80, experts, size, spread=1.0).square()
    return Known(list(information), [each.T @ each for each in inputs])


def merged(method: Method, base: Tensor | None, deltas: Tensor, **others: Any) -> Tensor:
    """The merge of task vectors as they are; twice, the second time with what was remembered."""
    experts, size = deltas.shape
    slab = slab_of(base, deltas, statistics=known(size, experts), row=8, **others)
    method.merge(slab, values_of(method, experts))
    first = slab.out.clone()
    method.merge(slab, values_of(method, experts))
    assert torch.equal(slab.out, first)
    return first


@both
@every
@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "plain"])
@pytest.mark.parametrize("size", SIZES)
def test_a_merge_is_that_of_the_rounded_task_vectors_to_the_bit(
    dtype: torch.dtype, method: Method, compiled: bool, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consensus, "COMPILED", compiled)
    monkeypatch.setattr(slabs, "CPU_CHUNK", 1000)
    stored = numbers(1, EXPERTS.get(method.name, 3), size).to(dtype)
    for base in (numbers(0, size, spread=0.05), *([] if method.needs_base else [None])):
        found = merged(method, base, stored)
        assert found.dtype == torch.float32
        assert torch.equal(found, merged(method, base, stored.float()))


@both
@every
def test_models_that_change_are_merged_alike(dtype: torch.dtype, method: Method) -> None:
    stored, base = numbers(1, EXPERTS.get(method.name, 3), 24).to(dtype), numbers(0, 24)
    searched = {"lasting": True, "searched": frozenset({"alpha"})}
    for others in ({"lasting": False}, searched):
        found = merged(method, base, stored, **others)
        assert torch.equal(found, merged(method, base, stored.float(), **others))


@both
def test_every_number_is_widened_as_torch_does(dtype: torch.dtype) -> None:
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    numbers_ = bits.view(dtype)
    numbers_ = numbers_[numbers_.isfinite()]
    widened, stored = widening(dtype), array(numbers_)

    @numba.njit
    def all_widened(words, out):  # type: ignore[no-untyped-def]
        for j in range(len(words)):
            out[j] = widened(words[j])

    found = np.empty(len(stored), dtype=np.float32)
    all_widened(stored, found)
    np.testing.assert_array_equal(found.view(np.uint32), numbers_.float().numpy().view(np.uint32))


@both
@pytest.mark.parametrize("size", [1, 100, DENSITY_STEPS + 1])
@given(seeds, st.floats(1e-6, 1), st.integers(1, DENSITY_STEPS))
def test_cutoffs_are_those_of_the_stored_magnitudes(
    dtype: torch.dtype, size: int, seed: int, odd: float, step: int
) -> None:
    stored = numbers(seed, 2, size + 5, spread=1.0).to(dtype)
    before, magnitudes, scope = stored.clone(), Magnitudes(stored), slice(3, 3 + size)
    for density in (odd, step / DENSITY_STEPS, 1.0):
        for expert in range(2):
            ordered = np.sort(np.abs(stored[expert, scope].double().numpy()))[::-1]
            assert magnitudes.cutoff(expert, scope, density) == ordered[kept_count(density, size) - 1]
    assert torch.equal(stored, before)


def linear_witness(base: Floats, deltas: Floats, weights: list[float]) -> Floats:
    return base + np.array(weights) @ deltas


@both
@given(seeds, st.lists(st.floats(-2, 2), min_size=3, max_size=3), st.sampled_from([1e-6, 1e-3, 1.0, 30.0]))
def test_linear_merges_differ_by_no_more_than_the_bound(
    dtype: torch.dtype, seed: int, weights: list[float], spread: float
) -> None:
    base, deltas = numbers(seed, 2000, spread=0.05), numbers(seed + 1, 3, 2000, spread=spread)
    slab = slab_of(base, deltas.to(dtype))
    find("task_arithmetic", "paper").merge(slab, {"weight": weights, "lambda": 1.0})
    wanted = linear_witness(doubles(base), doubles(deltas), weights)
    terms = np.abs(np.array(weights))[:, None] * np.maximum(
        STEP[dtype] * np.abs(doubles(deltas)), LEAST[dtype]
    )
    # What float32 rounds of the sum itself: a few times its relative step, of the largest partial sum.
    largest = np.abs(doubles(base)) + np.abs(weights) @ np.abs(doubles(deltas))
    assert (np.abs(doubles(slab.out) - wanted) <= terms.sum(axis=0) + 4 * 2.0**-24 * largest).all()


@both
def test_the_bound_is_no_larger_than_it_must_be(dtype: torch.dtype) -> None:
    deltas = torch.linspace(1, 2, 4000)[None]
    slab = slab_of(torch.zeros(4000), deltas.to(dtype))
    find("task_arithmetic", "paper").merge(slab, {"weight": 1.0, "lambda": 1.0})
    errors = (slab.out - deltas[0]).abs() / deltas[0]
    assert 0.9 * STEP[dtype] < float(errors.max()) <= STEP[dtype]


@both
@pytest.mark.parametrize("reading", READINGS)
@given(seeds, st.floats(0.05, 1), st.lists(st.floats(0.1, 2), min_size=3, max_size=3))
def test_what_ties_keeps_and_elects_differs_only_at_the_cutoff_and_where_signs_tie(
    dtype: torch.dtype, reading: str, seed: int, density: float, weights: list[float]
) -> None:
    base, deltas = numbers(seed, 3000, spread=0.05), numbers(seed + 1, 3, 3000)
    stored = deltas.to(dtype)
    values: Values = {"weight": weights, "density": density, "lambda": 0.8}
    outs = []
    for each in (deltas, stored):
        slab = slab_of(base, each)
        find("ties", reading).merge(slab, values)
        outs.append(doubles(slab.out))
    exact, rounded = doubles(deltas), doubles(stored)
    kept = [_trimmed(each, density) for each in (exact, rounded)]
    assert (kept[1] | ~kept[0]).all()  # what float32 keeps is kept
    cutoffs = np.array([np.abs(row)[keep].min() for row, keep in zip(rounded, kept[1], strict=True)])
    more = kept[1] & ~kept[0]
    assert (np.abs(rounded) == cutoffs[:, None])[more].all()  # and what is stored as the cutoff is
    # By the paper's reading the vote is unweighted and the mean weighted, by mergekit's it is the reverse.
    factors = np.array(weights)[:, None]
    vote, share = (factors, 1.0) if reading == "mergekit" else (np.ones_like(factors), factors)
    error = kept[0] * np.maximum(STEP[dtype] * np.abs(exact), LEAST[dtype])
    unsure = np.abs((vote * exact * kept[0]).sum(axis=0)) < 2 * (vote * error).sum(axis=0)
    unsure |= ((rounded == 0) & (exact != 0)).any(axis=0)
    same = ~more.any(axis=0) & ~unsure
    bound = 0.8 * (share * error).max(axis=0) + 8 * 2.0**-24 * np.abs(outs[0])
    assert (np.abs(outs[1] - outs[0]) <= bound)[same].all()
    assert same.mean() > 0.9


def _trimmed(deltas: Floats, density: float) -> Any:
    count = kept_count(density, deltas.shape[1])
    return np.array([np.abs(row) >= np.sort(np.abs(row))[::-1][count - 1] for row in deltas])
