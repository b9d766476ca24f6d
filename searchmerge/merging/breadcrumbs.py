"""Model Breadcrumbs: drop the smallest entries of each task vector, and the largest ones too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from searchmerge.merging import consensus, knobs
from searchmerge.merging.magnitudes import DENSITY_STEPS, kept_count
from searchmerge.merging.method import Knob, Method, Slab, Values
from searchmerge.merging.slabs import chunk_size

_GAMMA = Knob("gamma", knobs.constant(0.01), 0.0, 1.0)


def _drop(slab: Slab, values: Values) -> consensus.Sparsify:
    experts = slab.deltas.shape[0]
    densities = knobs.per_expert(values, "density", experts)
    gammas = knobs.per_expert(values, "gamma", experts)
    bands = [_band(slab, *which) for which in zip(range(experts), densities, gammas, strict=True)]
    spare = slab.out.new_empty(chunk_size(slab))

    def sparsify(part: slice, rows: Tensor) -> None:
        outliers = spare[: part.stop - part.start]
        for delta, (low, high), row in zip(slab.rows(part), bands, rows, strict=True):
            torch.hardshrink(delta, low, out=row)
            torch.hardshrink(delta, high, out=outliers)
            row.sub_(outliers)

    return sparsify


def _band(slab: Slab, expert: int, density: float, gamma: float) -> tuple[float, float]:
    """Give the magnitudes between which an expert's entries are kept, the lower one excluded.

    Of ``n`` entries the ``int(gamma n)`` largest are dropped, or as few as leave ``density n``, and of the
    others the largest ``density n`` kept. Entries as large as one that is kept are kept too. gamma counts in
    steps of ``1 / DENSITY_STEPS``, so that ``density + gamma`` is in the tables where the density is.
    """
    size = slab.out.numel()
    gamma = round(gamma * DENSITY_STEPS) / DENSITY_STEPS
    dropped = min(int(gamma * size), size - kept_count(density, size))
    high = slab.cutoff(expert, min((dropped + 1.5) / size, 1.0))  # of rank dropped + 1
    low = min(slab.cutoff(expert, min(density + gamma, 1.0)), high)
    # What is larger than a bound is told from what is not: the least magnitude itself is to be kept.
    return float(np.nextafter(np.float32(low), np.float32(0))), high


def _method(name: str, summary: str, weight: Knob, merge: Callable[[Slab, Values], None]) -> Method:
    return Method(name, summary, (weight, knobs.density(0.15), _GAMMA, knobs.LAMBDA), merge, scope="tensor")


BREADCRUMBS = _method(
    "breadcrumbs",
    "base + λ Σ wᵢ mᵢτᵢ, mᵢ without the largest γ, then the smallest (Davari & Belilovsky 2023)",
    knobs.WEIGHT_SHARE,
    consensus.by_sum(_drop),
)
"""arXiv:2312.06795; one method for both readings.

mergekit keeps ``int(density n)`` entries, none where that is 0; here it is at least one, and may be one
more where ``gamma n`` is no whole number. Up to 0.1.4 it drops the whole task vector where
``int(gamma n)`` is 0 (tensors of fewer than ``1 / gamma`` entries, and all of them without gamma); 0.1.5, and
this, drop no outlier then.
"""
BREADCRUMBS_TIES_PAPER = _method(
    "breadcrumbs_ties",
    "base + λ · mean of the wᵢ mᵢτᵢ of the elected sign, mᵢ as in breadcrumbs (TIES' election)",
    knobs.WEIGHT_ONE,
    consensus.by_election(_drop, consensus.PAPER),
)
BREADCRUMBS_TIES_MERGEKIT = _method(
    "breadcrumbs_ties",
    "base + λ · sum of the wᵢ mᵢτᵢ of the elected sign, mᵢ as in breadcrumbs (as in mergekit)",
    knobs.WEIGHT_SHARE,  # nothing is divided by here: equal shares keep the sum at the size of a mean
    consensus.by_election(_drop, consensus.MERGEKIT_SUM),
)
