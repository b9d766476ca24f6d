"""TIES and DARE in one pass over the memory: the CPU's form of :mod:`searchmerge.merging.consensus`.

Task vectors are read once, as they are stored, and widened in registers; what is kept of them, the election
and the merge stay in the first-level cache, a tile of parameters at a time, in loops that numba compiles at
the first merge. The results are those of the tensor operations to the bit, but that a zero keeps its sign.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Literal

import numba
import numpy as np
import torch
from torch import Tensor

from searchmerge.merging.kept import Kept
from searchmerge.merging.kernels import array, fma, mixed, widening
from searchmerge.merging.masks import BLOCK, block_key, threshold_of

_HALF = BLOCK // 2
_TILE = 1024
"""Parameters whose experts' entries fit the first-level cache together."""

_u32, _i32 = np.uint32, np.int32


def merge(
    kept: Kept,
    base: Tensor,
    weights: Sequence[float],
    scale: float,
    *,
    elects: bool,
    weighted_vote: bool,
    divisor: Literal["count", "weight"] | None,
) -> None:
    """Write the merge of a slab, on as many threads as torch has.

    Args:
        kept: the task vectors that take part, and the slab.
        base: float32 ``[n]``.
        weights: one an expert.
        scale: lambda.
        elects: whether signs are elected; if not, all is added up, weights times scale.
        weighted_vote: as of :class:`searchmerge.merging.consensus.Rule`.
        divisor: likewise.
    """
    slab, experts = kept.slab, len(weights)
    rows = tuple(array(row) for row in slab.deltas)
    shares = np.array([threshold_of(share) for share in kept.densities or [0.0] * experts], dtype=np.int32)
    bounds = np.array(kept.bounds or [0.0] * experts, dtype=np.float32)
    factors = np.array(kept.factors or [1.0] * experts, dtype=np.float32)
    weights_ = np.array(weights if elects else [scale * weight for weight in weights], dtype=np.float32)
    random, rescaled = kept.densities is not None, kept.factors is not None
    kernel = _kernel(slab.deltas.dtype, random, rescaled, elects, weighted_vote, divisor)
    arguments = (base.numpy(), rows, slab.out.numpy(), shares, bounds, factors, weights_, np.float32(scale))
    starts = range(0, slab.out.numel(), BLOCK)
    threads = max(1, min(torch.get_num_threads(), len(starts)))

    def work(first: int) -> None:
        for number in range(first, len(starts), threads):
            keys = [block_key(key, number) if random else 0 for key in slab.keys]
            halves = np.array([[key & 0xFFFFFFFF, key >> 32] for key in keys], dtype=np.uint32)
            stop = min(starts[number] + BLOCK, slab.out.numel())
            kernel(*arguments, halves, starts[number], stop)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))


@lru_cache
def _kernel(  # noqa: C901 - numba prunes
    stored: torch.dtype,
    random: bool,
    rescaled: bool,
    elects: bool,
    weighted_vote: bool,
    divisor: Literal["count", "weight"] | None,
) -> Callable[..., None]:
    """Compile the loops for one form of the methods."""
    divides, by_weight = divisor is not None, divisor == "weight"
    widened = widening(stored)

    @numba.njit(inline="always")
    def keep(row, words, kept, share, bound, factor, weight):  # type: ignore[no-untyped-def]
        for j in range(len(kept)):
            value = widened(row[j])
            taken = (_i32(words[j]) >> _i32(16)) < share if random else abs(value) > bound
            value = value if taken else np.float32(0)
            if rescaled:
                value = value * factor
            if weighted_vote:
                value = value * weight
            kept[j] = value

    @numba.njit(inline="always")
    def add_up(base, kept, weights, out):  # type: ignore[no-untyped-def]
        for j in range(len(out)):
            out[j] = base[j]
        for e in range(len(weights)):
            weight = weights[e]
            for j in range(len(out)):
                out[j] = fma(weight, kept[e, j], out[j])

    @numba.njit(inline="always")
    def elect(base, kept, weights, scale, sums, merged, parts, out):  # type: ignore[no-untyped-def]
        sums[:] = kept[0]
        for e in range(1, len(weights)):
            for j in range(len(out)):
                sums[j] += kept[e, j]
        for j in range(len(out)):
            sums[j] = np.float32(1) if sums[j] >= 0 else np.float32(-1)
        for e in range(len(weights)):
            weight = np.float32(1) if weighted_vote else weights[e]
            share = weights[e] if by_weight else np.float32(1)
            for j in range(len(out)):
                entry = max(kept[e, j] * sums[j], np.float32(0))
                agrees = np.float32(1) if entry > 0 else np.float32(0)
                merged[j] = weight * entry if e == 0 else fma(weight, entry, merged[j])
                if divides:
                    parts[j] = share * agrees if e == 0 else fma(share, agrees, parts[j])
        for j in range(len(out)):
            value = merged[j]
            if divides:
                value = value / (parts[j] if parts[j] != 0 else np.float32(1))
            out[j] = base[j] + (scale * value) * sums[j]

    @numba.njit(inline="always")
    def tile(base, rows, out, words, at, n, shares, bounds, factors, weights, scale, room, spare):  # type: ignore[no-untyped-def]
        kept = room[:, :n]
        for e in range(len(weights)):
            row = rows[e][at : at + n]
            keep(row, words[e if random else 0, :n], kept[e], shares[e], bounds[e], factors[e], weights[e])
        if elects:
            here = spare[:, :n]
            elect(base[at : at + n], kept, weights, scale, here[0], here[1], here[2], out[at : at + n])
        else:
            add_up(base[at : at + n], kept, weights, out[at : at + n])

    @numba.njit(nogil=True)
    def kernel(base, rows, out, shares, bounds, factors, weights, scale, halves, start, stop):  # type: ignore[no-untyped-def]
        experts = len(weights)
        room = np.empty((experts, _TILE), dtype=np.float32)
        spare = np.empty((3, _TILE), dtype=np.float32)
        words = np.empty((experts if random else 1, _TILE), dtype=np.uint32)
        size = stop - start
        for first in range(0, min(size, _HALF) if random else size, _TILE):
            n = min(_TILE, (min(size, _HALF) if random else size) - first)
            if random:
                for e in range(experts):
                    low, high = halves[e, 0], halves[e, 1]
                    for j in range(n):
                        words[e, j] = mixed(_u32(_u32(mixed(_u32(first + j)) ^ low) + high))
            tile(
                base, rows, out, words, start + first, n, shares, bounds, factors, weights, scale, room, spare
            )
            rest = min(n, size - _HALF - first)
            if random and rest > 0:
                for e in range(experts):
                    for j in range(rest):
                        words[e, j] = _u32(words[e, j] << _u32(16))
                at = start + _HALF + first
                tile(base, rows, out, words, at, rest, shares, bounds, factors, weights, scale, room, spare)

    return kernel
