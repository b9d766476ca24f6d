"""Task arithmetic: the weighted sum of task vectors, added to the base."""

from __future__ import annotations

from searchmerge.merging import knobs
from searchmerge.merging.method import Method, Slab, Values
from searchmerge.merging.slabs import combine, require_base


def _merge(slab: Slab, values: Values) -> None:
    """Write ``base + lambda sum_i w_i tau_i`` (Ilharco et al. 2023, mergekit ``task_arithmetic``)."""
    require_base(slab)
    scale = knobs.number(values, "lambda")
    weights = knobs.per_expert(values, "weight", slab.deltas.shape[0])
    combine(slab, [scale * weight for weight in weights])


TASK_ARITHMETIC = Method(
    name="task_arithmetic",
    summary="base + λ Σ wᵢ τᵢ (Ilharco et al. 2023, arXiv:2212.04089)",
    knobs=(knobs.WEIGHT_SHARE, knobs.LAMBDA),
    merge=_merge,
)
