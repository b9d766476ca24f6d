"""What holds of every method and reading."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from searchmerge.merging import METHODS, READINGS, find, knobs, slabs
from searchmerge.merging.method import Method, Slab
from searchmerge.types import UserError
from tests.merging.making import assert_near, coarse_slab, doubles, slab_of

CASES = {f"{reading}-{name}": one for reading, named in READINGS.items() for name, one in named.items()}
every = pytest.mark.parametrize("method", CASES.values(), ids=CASES)
with_lambda = pytest.mark.parametrize(
    "method", [pytest.param(one, id=case) for case, one in CASES.items() if knobs.LAMBDA in one.knobs]
)


def defaults(method: Method, experts: int, **changes: Any) -> dict[str, Any]:
    return {knob.name: knob.default(experts) for knob in method.knobs} | changes


def uneven(method: Method) -> dict[str, Any]:
    """Values whose products round."""
    values = defaults(method, 2)
    chosen = {"weight": [0.3, 0.9], "lambda": 0.7, "t": 0.3}
    return values | {name: chosen[name] for name in values.keys() & chosen}


def random_slab(size: int, seed: int = 0) -> Slab:
    generator = torch.Generator().manual_seed(seed)
    return slab_of(torch.randn(size, generator=generator), torch.randn(2, size, generator=generator) / 8)


@every
def test_the_defaults_are_legal_and_merge_well(method: Method) -> None:
    for experts in (2, 3, 9):
        assert all(knob.low <= knob.default(experts) <= knob.high for knob in method.knobs)
    slab = random_slab(1000)
    assert slab.base is not None
    base, deltas = slab.base.clone(), slab.deltas.clone()
    method.merge(slab, defaults(method, 2))
    assert torch.isfinite(slab.out).all()
    # A default merge stays within a few times the experts' distance from the base.
    assert (slab.out - base).norm() < 2 * slab.deltas.norm(dim=1).max()
    assert torch.equal(slab.base, base)
    assert torch.equal(slab.deltas, deltas)


@every
def test_the_seed_counts_where_a_method_is_random_and_nowhere_else(method: Method) -> None:
    values = defaults(method, 2) | dict.fromkeys({"density"} & defaults(method, 2).keys(), 0.5)
    merged = []
    for keys in ([1, 2], [3, 4]):
        slab = replace(random_slab(1000), keys=keys)
        method.merge(slab, values)
        merged.append(slab.out)
    assert torch.equal(*merged) != method.random


@with_lambda
def test_weight_or_lambda_zero_gives_the_base_exactly(method: Method) -> None:
    for change in {"weight", "lambda"} & defaults(method, 2).keys():
        slab = random_slab(1000)
        method.merge(slab, defaults(method, 2, **{change: 0.0}))
        assert slab.base is not None
        assert torch.equal(slab.out, slab.base)


@with_lambda
def test_one_expert_of_weight_and_density_one_is_that_expert(method: Method) -> None:
    if method.experts[0] > 1:
        pytest.skip("it takes two")
    generator = torch.Generator().manual_seed(1)
    base, expert = torch.randn(2, 1000, generator=generator)
    slab = slab_of(base, (expert - base)[None])
    method.merge(slab, defaults(method, 1, weight=1.0, density=1.0))
    # The difference and its sum with the base round once each.
    ulp = torch.finfo(torch.float32).eps * torch.maximum(expert.abs(), (expert - base).abs())
    assert ((slab.out - expert).abs() <= ulp).all()


@every
def test_the_chunks_do_not_show(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = random_slab(10_000), random_slab(10_000)
    method.merge(whole, uneven(method))
    monkeypatch.setattr(slabs, "CPU_CHUNK", 1001)
    method.merge(cut, uneven(method))
    assert_near(cut.out, doubles(whole.out))


@every
def test_a_slab_longer_than_a_chunk_is_merged_to_its_end(method: Method) -> None:
    size = 2 * slabs.CPU_CHUNK + 77
    slab = random_slab(size)
    method.merge(slab, defaults(method, 2))
    assert torch.isfinite(slab.out).all()


@every
def test_the_number_of_threads_does_not_show(method: Method) -> None:
    outs = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            slab = random_slab(70_001)  # torch cuts work of more than 32,768 elements
            method.merge(slab, uneven(method))
            outs.append(slab.out)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*outs)


@every
@pytest.mark.parametrize("zero", [slice(0, 1), slice(0, 2)], ids=["one", "all"])
def test_task_vectors_of_zeros_are_no_division_by_zero(method: Method, zero: slice) -> None:
    slab = random_slab(500)
    slab.deltas[zero] = 0
    method.merge(slab, defaults(method, 2))
    assert torch.isfinite(slab.out).all()
    if zero.stop == 2 and "t" not in defaults(method, 2):
        assert slab.base is not None
        assert_near(slab.out, doubles(slab.base))


@every
def test_what_is_remembered_changes_nothing(method: Method) -> None:
    slab, fresh = random_slab(5000), random_slab(5000)
    method.merge(slab, defaults(method, 2))  # fills the memo
    for each in (slab, fresh):
        method.merge(each, uneven(method))
    assert torch.equal(slab.out, fresh.out)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every
def test_cuda_merges_as_the_processor_does(method: Method) -> None:
    slab = coarse_slab(0, 2, 100_000)
    assert slab.base is not None
    on_device = slab_of(slab.base.cuda(), slab.deltas.cuda())
    for each in (slab, on_device):
        method.merge(each, defaults(method, 2))
    assert_near(on_device.out, doubles(slab.out))


def test_an_unknown_method_lists_the_known_ones() -> None:
    with pytest.raises(UserError) as error:
        find("tise", "paper")
    assert error.value.got == "tise"
    assert all(name in error.value.expected for name in METHODS)


def test_an_unknown_reading_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="paper, mergekit"):
        find("ties", "blog post")


def test_methods_are_found_by_the_name_they_bear() -> None:
    for reading, methods in READINGS.items():
        for name, method in methods.items():
            assert find(name, reading) is method
            assert method.name == name
    assert READINGS["mergekit"].keys() == METHODS.keys()
