"""The compiled elections against those of tensor operations, bit by bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from searchmerge.merging import consensus, dare, ties
from searchmerge.merging.magnitudes import Magnitudes
from searchmerge.merging.masks import BLOCK
from searchmerge.merging.method import Method, Slab, Values

METHODS = [
    ties.TIES_PAPER,
    ties.TIES_MERGEKIT,
    dare.DARE_LINEAR_PAPER,
    dare.DARE_LINEAR_MERGEKIT,
    dare.DARE_TIES_PAPER,
    dare.DARE_TIES_MERGEKIT,
]
SIZES = [1, 2, 1023, 1024, 1025, BLOCK // 2, BLOCK // 2 + 3, BLOCK + 1, BLOCK + BLOCK // 2 + 1030]


def slab(base: Tensor, deltas: Tensor) -> Slab:
    """The task vectors as the middle rows and columns of larger ones, as a workshop has them."""
    experts, size = deltas.shape
    around = torch.full((experts, size + 5), torch.nan)
    around[:, 3:-2] = deltas
    magnitudes = Magnitudes(deltas)
    return Slab(
        base,
        around[:, 3:-2],
        torch.full((size,), torch.nan),
        lambda expert, density: magnitudes.cutoff(expert, slice(0, size), density),
        [(2**63 // 7) * (expert + 1) for expert in range(experts)],
    )


def both(method: Method, base: Tensor, deltas: Tensor, values: Values) -> list[Tensor]:
    """The merge as it is compiled and by tensor operations."""
    merged = []
    for compiled in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(consensus, "COMPILED", compiled)
            of = slab(base, deltas)
            method.merge(of, values)
            merged.append(of.out)
    return merged


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method.name}-{method.scope}")
@given(
    size=st.sampled_from(SIZES),
    experts=st.integers(1, 5),
    weights=st.lists(st.just(0.0) | st.floats(-2, 2), min_size=5, max_size=5),
    densities=st.lists(st.just(1.0) | st.floats(0.01, 1), min_size=5, max_size=5),
    scale=st.floats(-1.5, 1.5),
    seed=st.integers(0, 2**32 - 1),
    few=st.booleans(),
)
@settings(max_examples=12)
def test_compiled_merges_are_those_of_tensor_operations(
    method: Method,
    size: int,
    experts: int,
    weights: list[float],
    densities: list[float],
    scale: float,
    seed: int,
    few: bool,
) -> None:
    numbers = torch.randn(experts + 1, size, generator=torch.Generator().manual_seed(seed))
    base, deltas = numbers[0], numbers[1:]
    if few:  # entries that are equal, that cancel, and zeros
        deltas = deltas.mul(2).round().div(2)
    values: Values = {"weight": weights[:experts], "density": densities[:experts], "lambda": scale}
    compiled, plain = both(method, base, deltas, values)
    assert torch.equal(compiled, plain)


def test_many_threads_write_what_one_writes() -> None:
    numbers = torch.randn(4, 5 * BLOCK + 17)
    values: Values = {"weight": [0.5, 1.0, -0.2], "density": [0.3, 0.6, 0.9], "lambda": 1.0}
    threads = torch.get_num_threads()
    merged = []
    try:
        for count in (1, 3, 16):
            torch.set_num_threads(count)
            of = slab(numbers[0], numbers[1:])
            dare.DARE_TIES_PAPER.merge(of, values)
            merged.append(of.out)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(merged[0], merged[1])
    assert torch.equal(merged[0], merged[2])
