"""Linear merging: the weighted mean of the experts' weights."""

from __future__ import annotations

from searchmerge.merging import knobs
from searchmerge.merging.method import Method, Slab, Values
from searchmerge.merging.slabs import combine


def _merge(slab: Slab, values: Values) -> None:
    """Write ``sum_i w_i theta_i / sum_i w_i`` (Wortsman et al. 2022, mergekit ``linear``).

    With a base the deltas are task vectors. The normalised weights add up to one, so that the same mean is
    ``base + sum_i w_i tau_i / sum_i w_i``.

    Raises:
        ValueError: the weights add up to zero.
    """
    shares = knobs.shares(knobs.per_expert(values, "weight", slab.deltas.shape[0]))
    combine(slab, shares)


LINEAR = Method(
    name="linear",
    summary="Σ wᵢ θᵢ / Σ wᵢ (model soups, Wortsman et al. 2022, arXiv:2203.05482)",
    knobs=(knobs.WEIGHT_SHARE,),
    merge=_merge,
    needs_base=False,
)
