"""Fisher merging: a mean in which each model's parameter weighs as much as its answers depend on it."""

from __future__ import annotations

import torch

from searchmerge.merging import knobs
from searchmerge.merging.method import Method, Slab, Values
from searchmerge.merging.slabs import chunk_size, chunks

_LEAST = 1e-30
"""Added to every information, far below any that counts: where all are zero, the mean is the plain one."""


def _merge(slab: Slab, values: Values) -> None:
    """Write ``sum_i w_i F_i theta_i / sum_i w_i F_i`` (Matena & Raffel 2022, equation 4).

    With a base the deltas are task vectors; the weights of a parameter add up to one, so the same mean is
    ``base + sum_i w_i F_i tau_i / sum_i w_i F_i``.

    Raises:
        ValueError: the weights add up to zero.
    """
    weights = knobs.shares(knobs.per_expert(values, "weight", slab.deltas.shape[0]))
    information = [slab.known().fisher(model) for model in range(len(weights))]
    share, total, merged = slab.out.new_empty((3, chunk_size(slab)))
    for part in chunks(slab):
        width, deltas = part.stop - part.start, slab.rows(part)
        for k, (row, weight) in enumerate(zip(information, weights, strict=True)):
            torch.add(row[part], _LEAST, out=share[:width]).mul_(weight)
            if k == 0:
                total[:width].copy_(share[:width])
                torch.mul(share[:width], deltas[k], out=merged[:width])
            else:
                total[:width].add_(share[:width])
                merged[:width].addcmul_(share[:width], deltas[k])
        torch.div(merged[:width], total[:width], out=slab.out[part])
        if slab.base is not None:
            slab.out[part].add_(slab.base[part])


FISHER = Method(
    name="fisher",
    summary="Σ wᵢFᵢθᵢ / Σ wᵢFᵢ, Fᵢ the diagonal Fisher information (Matena & Raffel 2022, arXiv:2111.09832)",
    knobs=(knobs.IMPORTANCE,),
    merge=_merge,
    needs_base=False,
    statistics="fisher",
)
