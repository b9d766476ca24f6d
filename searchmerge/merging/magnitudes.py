"""Magnitude cutoffs, looked up instead of sorted: one sort an expert and scope, then a table."""

from __future__ import annotations

from collections.abc import Sequence
from mmap import ACCESS_COPY, mmap
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

DENSITY_STEPS = 4096
"""Searched densities are multiples of ``1 / DENSITY_STEPS``, so that a table answers them exactly."""


def kept_count(density: float, size: int) -> int:
    """How many of ``size`` entries a density keeps: at least one, else cut down to a whole number."""
    return max(1, int(density * size))


class Magnitudes:
    """Answers ``Slab.cutoff``: the magnitude at which an expert is trimmed within a scope.

    The first question about an expert and scope sorts it once, which takes a copy of the scope for a
    moment (on CUDA torch.sort's room too), and keeps the cutoffs of all multiples of ``1 / DENSITY_STEPS``,
    or all magnitudes where there are fewer. Other densities are answered exactly too, each by a selection
    the first time.

    Args:
        deltas: ``[experts, parameters]``, the task vectors as they are stored; must not change from then on.
    """

    def __init__(self, deltas: Tensor) -> None:
        self._deltas = deltas
        self._tables: dict[tuple[int, int, int], npt.NDArray[np.float32]] = {}
        self._others: dict[tuple[int, int, int, int], float] = {}

    def cutoff(self, expert: int, scope: slice, density: float) -> float:
        """Give the least magnitude among the ``kept_count(density, n)`` largest of one expert in a scope.

        Args:
            expert: its row.
            scope: the ``n`` parameters that are trimmed together, at least one; without a step.
            density: in ``(0, 1]``.
        """
        size = scope.stop - scope.start
        count = kept_count(density, size)
        step = density * DENSITY_STEPS
        if size <= DENSITY_STEPS:
            return float(self._table(expert, scope)[count - 1])
        if step == int(step):
            return float(self._table(expert, scope)[int(step) - 1])
        place = (expert, scope.start, scope.stop, count)
        if place not in self._others:
            self._others[place] = float(self._largest(expert, scope, [count])[0])
        return self._others[place]

    def _table(self, expert: int, scope: slice) -> npt.NDArray[np.float32]:
        """Cutoffs by the number kept (small scopes) or by density step, each from 1 on."""
        place = (expert, scope.start, scope.stop)
        if place not in self._tables:
            size = scope.stop - scope.start
            steps = range(1, min(size, DENSITY_STEPS) + 1)
            counts = steps if size <= DENSITY_STEPS else [kept_count(k / DENSITY_STEPS, size) for k in steps]
            self._tables[place] = self._largest(expert, scope, counts)
        return self._tables[place]

    def _largest(self, expert: int, scope: slice, counts: Sequence[int]) -> npt.NDArray[np.float32]:
        deltas = self._deltas[expert, scope]
        return largest(torch.abs(deltas, out=_room_for(deltas)), counts)


def _room_for(deltas: Tensor) -> Tensor:
    """Memory for a moment, like the deltas.

    On the CPU it is no part of the heap: there, the small table that stays would take the place of the copy
    that it is made from, and the next copy, too large for what is left of that, would have the heap grow.
    """
    if deltas.device.type != "cpu":
        return torch.empty_like(deltas)
    return torch.frombuffer(mmap(-1, deltas.nbytes, access=ACCESS_COPY), dtype=deltas.dtype)


def largest(magnitudes: Tensor, counts: Sequence[int]) -> npt.NDArray[np.float32]:
    """Give the least of the ``count`` largest magnitudes, for each count.

    Args:
        magnitudes: float32, bfloat16 or float16 ``[n]``, contiguous, no NaN; overwritten.
        counts: from 1 to ``n``; a single one is selected, several are looked up in a sorted copy.
    """
    ranks = magnitudes.numel() - np.asarray(counts, dtype=np.int64)
    if magnitudes.is_cuda:
        picked = magnitudes.sort().values[torch.from_numpy(ranks).to(magnitudes.device)]
        return np.asarray(picked.float().cpu())
    # Of 16 bits, which numpy has no type for or a slow one, the bits are in the order of the magnitudes.
    whole = magnitudes.dtype == torch.float32
    array: npt.NDArray[Any] = (magnitudes if whole else magnitudes.view(torch.int16)).numpy()
    if len(ranks) == 1:
        array.partition(ranks[0])
    else:
        array.sort()  # numpy sorts several times faster than torch
    return np.asarray(torch.from_numpy(array.take(ranks)).view(magnitudes.dtype).float())
