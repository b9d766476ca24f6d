"""SLERP: spherical interpolation between two experts, tensor by tensor."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from searchmerge.merging import knobs
from searchmerge.merging.method import Knob, Method, Slab, Values
from searchmerge.merging.slabs import chunks, weighted_sum

_PARALLEL = 0.9995
_SMALLEST_NORM = 1e-8


def coefficients(cosine: float, t: float) -> tuple[float, float]:
    """Give the factors of both ends ``t`` of the way along the arc (Shoemake 1985, equation for Slerp).

    Vectors that are nearly parallel or opposite (mergekit's bound) are interpolated linearly.
    """
    if abs(cosine) > _PARALLEL:
        return 1 - t, t
    angle = math.acos(cosine)
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


def _merge(slab: Slab, values: Values) -> None:
    """Interpolate from expert 0 to expert 1; the angle is computed once, a candidate is one linear pass."""
    if "cosine" not in slab.memo:
        slab.memo["cosine"] = _cosine(slab)
    first, second = coefficients(slab.memo["cosine"], knobs.number(values, "t"))
    for part in chunks(slab):
        out = slab.out[part]
        weighted_sum(None, slab.rows(part), (first, second), out)
        if slab.base is not None:  # the deltas are task vectors: a(base + tau_0) + b(base + tau_1)
            out.add_(slab.base[part], alpha=first + second)


def _cosine(slab: Slab) -> float:
    """Cosine of the angle between both experts' flattened tensors, accumulated in float64."""
    products = torch.zeros(3, dtype=torch.float64, device=slab.out.device)
    for part in chunks(slab):
        first, second = _experts(slab, part)
        products += torch.stack((first.dot(second), first.dot(first), second.dot(second)))
    dot, *squares = (float(product) for product in products)
    scale = 1.0
    for norm in map(math.sqrt, squares):
        scale *= norm if norm > _SMALLEST_NORM else 1.0
    return min(1.0, max(-1.0, dot / scale))


def _experts(slab: Slab, part: slice) -> Tensor:
    experts = slab.deltas[:, part].double()
    return experts if slab.base is None else experts.add_(slab.base[part])


SLERP = Method(
    name="slerp",
    summary="from one expert to another along the arc between them (Shoemake 1985)",
    knobs=(Knob("t", knobs.constant(0.5), 0.0, 1.0, per_expert=False),),
    merge=_merge,
    scope="tensor",
    needs_base=False,
    experts=(2, 2),
)
