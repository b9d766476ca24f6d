"""Children in one pass over the memory: the CPU's form of :mod:`searchmerge.merging.crossover`.

Parents are read, masks hashed, mutants summed and children written in the registers of one loop, which numba
compiles at the first child. The results are those of the tensor operations to the bit, but that a zero keeps
its sign.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numba
import numpy as np
import torch
from numba.extending import intrinsic
from torch import Tensor

from searchmerge.merging.masks import BLOCK

_HALF = BLOCK // 2
_u32, _i32 = np.uint32, np.int32


@dataclass(frozen=True)
class Block:
    """Some parameters of a tensor that are crossed under one key.

    Args:
        start: index of the first one in an individual.
        stop: one past the last, at most ``BLOCK`` further.
        key: 64 bits, the block's key of :class:`searchmerge.merging.masks.Masks`.
    """

    start: int
    stop: int
    key: int


def cross(
    parent: Tensor,
    mutant: Sequence[tuple[Tensor, float]],
    blocks: Sequence[Block],
    threshold: int,
    out: Tensor,
) -> None:
    """Write the children's blocks, on as many threads as torch has.

    Args:
        parent: ``[size]``, float32 or bfloat16.
        mutant: one to five individuals alike with their coefficients.
        blocks: what to write.
        threshold: a parameter is the mutant's where its 16 bits, read as signed, are less.
        out: ``[size]``, in the parent's type or float32.
    """
    kernel = _kernel(len(mutant), parent.dtype == torch.bfloat16, out.dtype == torch.bfloat16)
    rows = [array(row) for row, _ in mutant]
    rows += [rows[0]] * (5 - len(rows))
    coefficients = np.zeros(5, dtype=np.float32)
    coefficients[: len(mutant)] = [coefficient for _, coefficient in mutant]
    arguments = (array(parent), *rows, coefficients, _i32(threshold), array(out))
    threads = max(1, min(torch.get_num_threads(), len(blocks)))

    def work(first: int) -> None:
        for block in blocks[first::threads]:
            low, high = _u32(block.key & 0xFFFFFFFF), _u32(block.key >> 32)
            kernel(*arguments, block.start, block.stop, low, high)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))


def array(row: Tensor) -> Any:
    """The row's memory; bfloat16 and float16 as their bits, numba has no such types."""
    return (row if row.dtype == torch.float32 else row.view(torch.uint16)).numpy()


def widening(stored: torch.dtype) -> Any:
    """The compiled function that makes a float32 of an entry of :func:`array`."""
    return {torch.float32: _same, torch.bfloat16: _number, torch.float16: _number_of_float16}[stored]


@intrinsic
def _fused(typing, a, b, c):  # type: ignore[no-untyped-def]  # noqa: ARG001 - numba's signature
    """``a * b + c``, rounded once, as torch adds a multiple."""
    return a(a, b, c), lambda context, builder, signature, values: builder.fma(*values)  # noqa: ARG005


fma: Any = _fused  # its types say otherwise, but the first argument is numba's


@numba.njit(inline="always")
def mixed(word):  # type: ignore[no-untyped-def]
    """As :func:`searchmerge.merging.masks.mix`; numba widens a product, so each is cut to 32 bits again."""
    word = _u32(_u32(word ^ (word >> _u32(16))) * _u32(0x7FEB352D))
    word = _u32(_u32(word ^ (word >> _u32(15))) * _u32(0x846CA68B))
    return _u32(word ^ (word >> _u32(16)))


@numba.njit(inline="always")
def _number(bits):  # type: ignore[no-untyped-def]
    """Of a bfloat16."""
    return _u32(_u32(bits) << _u32(16)).view(np.float32)


@numba.njit(inline="always")
def _same(number):  # type: ignore[no-untyped-def]
    return number


@numba.njit(inline="always")
def _number_of_float16(bits):  # type: ignore[no-untyped-def]
    """Of a float16 that is finite. Its exponent counts from 15, that of float32 from 127."""
    size = _u32(_u32(_u32(bits) & _u32(0x7FFF)) << _u32(13))
    normal = _u32(size + _u32(112 << 23))
    # Where the exponent is zero the digits count from zero, not from one, in steps of 2^-24.
    small = np.float32(_u32(size + _u32(113 << 23)).view(np.float32) - np.float32(2.0**-14)).view(np.uint32)
    is_small = _u32(_i32(size - _u32(1 << 23)) >> _i32(31))  # all bits or none: numba cannot view a choice
    word = _u32(_u32(small & is_small) | _u32(normal & ~is_small))
    sign = _u32(_u32(_u32(bits) & _u32(0x8000)) << _u32(16))
    return _u32(word | sign).view(np.float32)


@numba.njit(inline="always")
def _bits(number):  # type: ignore[no-untyped-def]
    """Of the nearest bfloat16, ties to even."""
    word = np.float32(number).view(np.uint32)
    odd = _u32(_u32(word >> _u32(16)) & _u32(1))
    return np.uint16(_u32(_u32(word + _u32(0x7FFF)) + odd) >> _u32(16))


@lru_cache
def _kernel(terms: int, halves: bool, halves_out: bool) -> Callable[..., None]:  # noqa: C901 - numba prunes
    """Compile the loop for so many terms; the flags say whether individuals and child are in bfloat16."""

    @numba.njit(inline="always")
    def read(row, j):  # type: ignore[no-untyped-def]
        return _number(row[j]) if halves else row[j]

    @numba.njit(inline="always")
    def mutated(a, b, c, d, e, k, j):  # type: ignore[no-untyped-def]
        value = k[0] * read(a, j)
        if terms > 1:
            value = fma(k[1], read(b, j), value)
        if terms > 2:
            value = fma(k[2], read(c, j), value)
        if terms > 3:
            value = fma(k[3], read(d, j), value)
        if terms > 4:
            value = fma(k[4], read(e, j), value)
        return value

    @numba.njit(inline="always")
    def place(parent, a, b, c, d, e, k, out, j, crossed):  # type: ignore[no-untyped-def]
        # Both are read, and one is chosen without a branch: so the compiler makes vectors of the loop.
        mutant, old = mutated(a, b, c, d, e, k, j), read(parent, j)
        number = mutant if crossed else old
        if halves_out:
            out[j] = _bits(number)
        else:
            out[j] = _number(_bits(number)) if halves else number

    # Indices count from zero: one that might be negative keeps the compiler from making vectors too.
    @numba.njit(nogil=True)
    def kernel(parent, a, b, c, d, e, k, threshold, out, start, stop, low, high):  # type: ignore[no-untyped-def]
        parent, out = parent[start:stop], out[start:stop]
        a, b, c, d, e = a[start:stop], b[start:stop], c[start:stop], d[start:stop], e[start:stop]
        upper, lower = min(stop - start, _HALF), max(stop - start - _HALF, 0)
        for w in range(lower):
            word = mixed(_u32(_u32(mixed(_u32(w)) ^ low) + high))
            place(parent, a, b, c, d, e, k, out, w, (_i32(word) >> _i32(16)) < threshold)
            word = _u32(word << _u32(16))
            place(parent, a, b, c, d, e, k, out, w + _HALF, (_i32(word) >> _i32(16)) < threshold)
        for w in range(lower, upper):
            word = mixed(_u32(_u32(mixed(_u32(w)) ^ low) + high))
            place(parent, a, b, c, d, e, k, out, w, (_i32(word) >> _i32(16)) < threshold)

    return kernel
