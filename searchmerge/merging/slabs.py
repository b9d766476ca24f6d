"""How methods walk a slab: in chunks that stay in the cache, with no allocation an operation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from searchmerge.merging.method import Slab

CPU_CHUNK = 2**18
"""Parameters a chunk: the rows of a handful of experts fit the cache, and a call's overhead is small."""

CUDA_CHUNK = 2**22
"""Parameters a chunk on a GPU, where the overhead of a launch weighs more and the scratch less."""


def chunk_size(slab: Slab) -> int:
    """Parameters in the slab's longest chunk."""
    return min(slab.out.numel(), CUDA_CHUNK if slab.out.is_cuda else CPU_CHUNK)


def chunks(slab: Slab) -> Iterator[slice]:
    """Cut the slab into runs of ``chunk_size`` parameters, the last one shorter."""
    size = slab.out.numel()
    step = chunk_size(slab)
    for start in range(0, size, step or 1):
        yield slice(start, min(start + step, size))


def scratch_rows(slab: Slab) -> Tensor:
    """Room for one chunk of every expert, uninitialised float32 ``[experts, chunk]``."""
    return slab.out.new_empty((slab.deltas.shape[0], chunk_size(slab)))


def require_base(slab: Slab) -> Tensor:
    """Give the slab's base.

    Raises:
        ValueError: it has none.
    """
    if slab.base is None:
        raise ValueError("this method merges task vectors and needs the base model")
    return slab.base


def combine(slab: Slab, coefficients: Sequence[float]) -> None:
    """Write ``base + sum_i coefficients[i] * tau_i`` of whole task vectors; without a base the sum alone.

    Args:
        slab: what is merged.
        coefficients: one an expert.
    """
    for part in chunks(slab):
        base = None if slab.base is None else slab.base[part]
        weighted_sum(base, slab.rows(part), coefficients, slab.out[part])


def weighted_sum(
    base: Tensor | None, rows: Tensor | Sequence[Tensor], coefficients: Sequence[float], out: Tensor
) -> None:
    """Write ``base + sum_i coefficients[i] * rows[i]`` into ``out``, added in the order of the rows.

    A fixed order of plain elementwise operations: unlike a library's matrix product, the result depends
    neither on the alignment of the memory nor on the number of threads.

    Args:
        base: float32 ``[n]``, or None for zero.
        rows: float32 ``[experts, n]``.
        coefficients: one an expert.
        out: float32 ``[n]``, none of the inputs.
    """
    if base is None:
        torch.mul(rows[0], coefficients[0], out=out)
    else:
        torch.add(base, rows[0], alpha=coefficients[0], out=out)
    for row, coefficient in zip(rows[1:], coefficients[1:], strict=True):
        out.add_(row, alpha=coefficient)
