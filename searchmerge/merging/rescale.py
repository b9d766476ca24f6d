"""Sparsified task vectors made larger again, so that what was dropped is made up for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from searchmerge.merging.consensus import Sparsify
from searchmerge.merging.kept import Kept
from searchmerge.merging.method import Slab
from searchmerge.merging.slabs import chunks, scratch_rows

_SMALLEST_NORM = 1e-7


def scaled(sparsify: Sparsify, factors: Sequence[float]) -> Sparsify:
    """Multiply what an expert keeps by that expert's factor."""
    if isinstance(sparsify, Kept):
        return replace(sparsify, factors=factors)

    def multiplied(part: slice, rows: Tensor) -> None:
        sparsify(part, rows)
        for row, factor in zip(rows, factors, strict=True):
            row.mul_(factor)

    return multiplied


def norm_restored(slab: Slab, sparsify: Sparsify) -> Sparsify:
    """Restore each expert's l1 norm, as mergekit does; as it is where a norm vanishes.

    The norms before the drop are remembered in the slab; those after it take a pass a candidate.
    """

    def everything(part: slice, rows: Tensor) -> None:
        rows.copy_(slab.rows(part))

    if "l1" not in slab.memo:
        slab.memo["l1"] = _l1_norms(slab, everything)
    before: list[float] = slab.memo["l1"]
    after = _l1_norms(slab, sparsify)
    factors = [
        b / a if b >= _SMALLEST_NORM and a >= _SMALLEST_NORM else 1.0
        for b, a in zip(before, after, strict=True)
    ]
    return scaled(sparsify, factors)


def _l1_norms(slab: Slab, sparsify: Sparsify) -> list[float]:
    room = scratch_rows(slab)
    norms = torch.zeros(room.shape[0], dtype=torch.float64, device=room.device)
    for part in chunks(slab):
        rows = room[:, : part.stop - part.start]
        sparsify(part, rows)
        norms += rows.abs_().sum(dim=1)  # float32 within a chunk, float64 over the chunks
    return norms.tolist()
