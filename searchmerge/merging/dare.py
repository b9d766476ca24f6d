"""DARE: drop entries of the task vectors at random, rescale the rest, then merge linearly or by election."""

from __future__ import annotations

from collections.abc import Callable

from searchmerge.merging import consensus, knobs
from searchmerge.merging.kept import Kept
from searchmerge.merging.method import Knob, Method, Slab, Values
from searchmerge.merging.rescale import norm_restored

_DENSITY = knobs.density(0.5)


def _by_density(slab: Slab, values: Values) -> consensus.Sparsify:
    """Yu et al. 2024, equation 2: times ``1 / (1 - p)``, which keeps every entry's expectation."""
    densities = knobs.per_expert(values, "density", slab.deltas.shape[0])
    return Kept(slab, densities=densities, factors=[1 / density for density in densities])


def _by_norm(slab: Slab, values: Values) -> consensus.Sparsify:
    """As mergekit: times what restores the l1 norm."""
    return norm_restored(
        slab, Kept(slab, densities=knobs.per_expert(values, "density", slab.deltas.shape[0]))
    )


def _method(name: str, summary: str, weight: Knob, merge: Callable[[Slab, Values], None]) -> Method:
    return Method(name, summary, (weight, _DENSITY, knobs.LAMBDA), merge, scope="tensor", random=True)


DARE_LINEAR_PAPER = _method(
    "dare_linear",
    "base + λ Σ wᵢ mᵢτᵢ / dᵢ, mᵢ a random mask of density dᵢ (DARE, Yu et al. 2024, arXiv:2311.03099)",
    knobs.WEIGHT_SHARE,
    consensus.by_sum(_by_density),
)
DARE_LINEAR_MERGEKIT = _method(
    "dare_linear",
    "base + λ Σ wᵢ mᵢτᵢ ‖τᵢ‖₁ / ‖mᵢτᵢ‖₁, mᵢ a random mask (DARE as in mergekit)",
    knobs.WEIGHT_SHARE,
    consensus.by_sum(_by_norm),
)
DARE_TIES_PAPER = _method(
    "dare_ties",
    "base + λ · mean of the wᵢ mᵢτᵢ / dᵢ of the elected sign (DARE, Yu et al. 2024, then TIES' election)",
    knobs.WEIGHT_ONE,
    consensus.by_election(_by_density, consensus.PAPER),
)
DARE_TIES_MERGEKIT = _method(
    "dare_ties",
    "base + λ · sum of the wᵢ mᵢτᵢ ‖τᵢ‖₁ / ‖mᵢτᵢ‖₁ of the elected sign (DARE-TIES as in mergekit)",
    knobs.WEIGHT_SHARE,  # nothing is divided by here: equal shares keep the sum at the size of a mean
    consensus.by_election(_by_norm, consensus.MERGEKIT_SUM),
)
