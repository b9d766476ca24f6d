"""Inner products of inputs in 8 bits, which processors multiply several times as fast as float32.

Each input is a multiple of its column's step, the column's largest magnitude over 127, and is rounded up or
down at random, up the likelier the nearer it is (stochastic rounding: Croci et al. 2022, "Stochastic
rounding: implementation, error analysis and applications", Royal Society Open Science 9). So the expectation
of a product is the exact product: two columns are rounded independently, and what a column has with itself,
where that does not hold, is summed in float32.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from searchmerge.merging.kernels import mixed

LARGEST = 127
MOST_ROWS = 2**17
"""So many products of two bytes add up without leaving 32 bits."""

_TINY = np.finfo(np.float32).tiny
_u32 = np.uint32


def multiplies_bytes() -> bool:
    """Whether the processor multiplies matrices of bytes natively (VNNI); not where torch does not tell."""
    return hasattr(torch.cpu, "_is_vnni_supported") and torch.cpu._is_vnni_supported()


def rounded(rows: Tensor, key: int) -> tuple[Tensor, Tensor, Tensor]:
    """Round inputs to 8 bits at random.

    Args:
        rows: float32 ``[tokens, in]`` on the CPU.
        key: 32 bits; another one for every other batch and layer.

    Returns:
        int8 ``[tokens, in]``; the columns' steps, float32 ``[in]``; the sums of the squares of what was
        rounded, float32 ``[in]``.
    """
    inputs, numbers = rows.contiguous().numpy(), np.empty(rows.shape, dtype=np.int8)
    threads = torch.get_num_threads()
    edges = np.linspace(0, len(inputs), threads + 1, dtype=int)
    parts = [slice(start, stop) for start, stop in pairwise(edges)]
    largest, squares = np.zeros((2, threads, inputs.shape[1]), dtype=np.float32)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda part, out: _measure(inputs[part], out), parts, largest))
        steps = largest.max(axis=0) / np.float32(LARGEST)
        inverse = np.divide(1, steps, out=np.zeros_like(steps), where=steps > _TINY)

        def work(part: slice, sums: Any) -> None:
            _round(inputs[part], inverse, _u32(key), part.start, numbers[part], sums)

        list(pool.map(work, parts, squares))
    return torch.from_numpy(numbers), torch.from_numpy(steps), torch.from_numpy(squares.sum(axis=0))


@numba.njit(nogil=True)
def _measure(rows, largest):  # type: ignore[no-untyped-def]
    for i in range(rows.shape[0]):
        row = rows[i]
        for j in range(row.shape[0]):
            largest[j] = max(largest[j], abs(row[j]))


@numba.njit(nogil=True)
def _round(rows, inverse, key, first, numbers, squares):  # type: ignore[no-untyped-def]
    key = mixed(key)  # else keys that follow one another would give the same rows' chances, in other order
    for i in range(rows.shape[0]):
        row, to = rows[i], numbers[i]
        salt = mixed(_u32(_u32(first + i) ^ key))
        for j in range(row.shape[0]):
            word = mixed(_u32(_u32(j) + salt))
            chance = np.float32(np.int32(word >> _u32(16))) * np.float32(2.0**-16)
            number = np.floor(row[j] * inverse[j] + chance)
            to[j] = np.int8(np.int32(min(number, np.float32(LARGEST))))
            squares[j] += row[j] * row[j]
