"""TIES: trim each task vector to its largest entries, elect a sign, merge the entries that agree."""

from __future__ import annotations

from searchmerge.merging import consensus, knobs
from searchmerge.merging.kept import Kept
from searchmerge.merging.method import Method, Slab, Values

_KNOBS = (knobs.WEIGHT_ONE, knobs.density(0.2), knobs.LAMBDA)


def _trim(slab: Slab, values: Values) -> consensus.Sparsify:
    densities = knobs.per_expert(values, "density", slab.deltas.shape[0])
    return Kept(slab, cutoffs=[slab.cutoff(expert, density) for expert, density in enumerate(densities)])


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
