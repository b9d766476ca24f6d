"""TIES: trim each task vector to its largest entries, elect a sign, merge the entries that agree."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from searchmerge.merging import consensus, knobs
from searchmerge.merging.method import Method, Slab, Values

_KNOBS = (knobs.WEIGHT_ONE, knobs.density(0.2), knobs.LAMBDA)


def _trim(slab: Slab, values: Values) -> consensus.Sparsify:
    densities = knobs.per_expert(values, "density", slab.deltas.shape[0])
    cutoffs = [slab.cutoff(expert, density) for expert, density in enumerate(densities)]
    # hardshrink keeps what is larger than its bound; the cutoff itself is to be kept.
    bounds = [float(np.nextafter(np.float32(cutoff), np.float32(0))) for cutoff in cutoffs]

    def sparsify(part: slice, rows: Tensor) -> None:
        for delta, bound, row in zip(slab.deltas[:, part], bounds, rows, strict=True):
            torch.hardshrink(delta, bound, out=row)

    return sparsify


TIES_PAPER = Method(
    name="ties",
    summary="base + λ · mean of the trimmed wᵢτᵢ of the elected sign (Yadav et al. 2023, arXiv:2306.01708)",
    knobs=_KNOBS,
    merge=consensus.by_election(_trim, consensus.PAPER),
)
"""As published: one cutoff for all that the scope holds, sign of the plain sum, mean over the agreeing."""

TIES_MERGEKIT = Method(
    name="ties",
    summary="base + λ · Σ wᵢ τᵢ / Σ wᵢ over the trimmed entries of the elected sign (TIES as in mergekit)",
    knobs=_KNOBS,
    merge=consensus.by_election(_trim, consensus.MERGEKIT),
    scope="tensor",
)
"""As in mergekit: a cutoff a tensor, sign of the weighted sum, divided by the agreeing weights.

Entries as large as the cutoff are all kept; mergekit keeps of these as many as make up the density.
"""
