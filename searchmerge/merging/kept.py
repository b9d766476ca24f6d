"""Which entries of the task vectors are kept: the large ones, or random ones; and how they are rescaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from searchmerge.merging.masks import masks_on
from searchmerge.merging.method import Slab


@dataclass(frozen=True)
class Kept:
    """A slab's task vectors without the entries that are dropped.

    Called with a part and rows ``[experts, part]``, it writes them there. What it says of them is enough for
    :mod:`searchmerge.merging.fused` to do without that.

    Args:
        slab: what is merged.
        cutoffs: of each expert the least magnitude that is kept; None where entries are kept at random.
        densities: of each expert the share that is kept at random; None where the large ones are kept.
        factors: what each expert's entries are multiplied by; None for 1.
    """

    slab: Slab
    cutoffs: Sequence[float] | None = None
    densities: Sequence[float] | None = None
    factors: Sequence[float] | None = None

    @property
    def bounds(self) -> list[float]:
        """Of each expert the largest float32 below its cutoff: what is larger is kept."""
        return [float(np.nextafter(np.float32(cutoff), np.float32(0))) for cutoff in self.cutoffs or ()]

    def __call__(self, part: slice, rows: Tensor) -> None:
        """Write the task vectors of a part."""
        deltas = self.slab.rows(part)
        if self.densities is not None:
            masks_on(rows.device).write(self.slab.keys, self.densities, part, rows)
            rows.mul_(deltas)
        else:
            for delta, bound, row in zip(deltas, self.bounds, rows, strict=True):
                torch.hardshrink(delta, bound, out=row)
        for row, factor in zip(rows, self.factors or (), strict=False):
            row.mul_(factor)
