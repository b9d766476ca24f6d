"""DELLA: drop entries at random, the small ones of a row more often, rescale the rest, then merge."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from searchmerge.merging import consensus, knobs
from searchmerge.merging.masks import STEPS, masks_on
from searchmerge.merging.method import Knob, Method, Slab, Values
from searchmerge.merging.rescale import norm_restored
from searchmerge.merging.slabs import CPU_CHUNK, chunk_size

_EPSILON = Knob("epsilon", knobs.constant(0.15), 0.0, 0.5)


def _prune(slab: Slab, values: Values, *, rescale: bool) -> consensus.Sparsify:
    """MAGPRUNE: keep the entry of rank ``r`` in its row of ``n`` with ``p = d - e + 2 e r / (n - 1)``.

    ``d`` is the density, ``e`` epsilon, cut down to where no probability leaves ``[0, 1]``. The only entry of
    a row is kept with ``d``. Probabilities are rounded to steps of ``1 / 2^16``, one step at least.

    Args:
        slab: what is merged.
        values: of the knobs.
        rescale: whether what is kept is divided by ``p``.
    """
    experts = slab.deltas.shape[0]
    densities = knobs.per_expert(values, "density", experts)
    epsilons = knobs.per_expert(values, "epsilon", experts)
    longest = (slab.row or slab.out.numel()) - 1
    lines = []
    for density, epsilon in zip(densities, epsilons, strict=True):
        half = min(epsilon, density, 1 - density) if longest else 0.0
        lines.append((STEPS * (density - half), STEPS * 2 * half / max(longest, 1)))
    if "ranks" not in slab.memo:
        slab.memo["ranks"] = _ranks(slab)
    ranks: Tensor = slab.memo["ranks"]
    masks = masks_on(slab.out.device)
    spare = slab.out.new_empty(chunk_size(slab))

    def sparsify(part: slice, rows: Tensor) -> None:
        masks.write_words(slab.keys, part, rows)
        steps = spare[: part.stop - part.start]
        for row, rank, delta, (least, slope) in zip(
            rows, ranks[:, part], slab.rows(part), lines, strict=True
        ):
            # One operation at a time: fused ones round otherwise, and masks are the same on every device.
            steps.copy_(rank).mul_(slope).add_(least).round_().clamp_(1, STEPS)
            row.lt_(steps).mul_(delta)
            if rescale:
                row.mul_(STEPS).div_(steps)

    return sparsify


def _ranks(slab: Slab) -> Tensor:
    """Rank the magnitudes within each row, from 0 for the smallest; of equal ones the first is the smaller.

    Returns:
        ``[experts, n]``, int16 where a row is short enough, else int32.
    """
    experts, size = slab.deltas.shape
    row = slab.row or size
    places = torch.arange(row, device=slab.out.device)
    kind = torch.int16 if row <= 2**15 else torch.int32
    ranks = torch.empty((experts, size), dtype=kind, device=slab.out.device)
    step = max(CPU_CHUNK // max(row, 1), 1) * row
    for one, all_deltas in zip(ranks, slab.deltas, strict=True):
        for start in range(0, size, step or 1):
            magnitudes = all_deltas[start : start + step].float().abs().view(-1, row)
            # A magnitude's bits are in the order of the magnitudes; the place below them settles equal ones.
            keys = magnitudes.view(torch.int32).long().bitwise_left_shift_(32).bitwise_or_(places)
            order = _sorted(keys).bitwise_and_(2**32 - 1)
            one[start : start + step].view(-1, row).scatter_(1, order, places.to(kind).expand_as(order))
    return ranks


def _sorted(keys: Tensor) -> Tensor:
    if keys.is_cuda:
        return keys.sort(dim=1).values
    keys.numpy().sort(axis=1)  # numpy sorts integers several times faster than torch
    return keys


def _by_probability(slab: Slab, values: Values) -> consensus.Sparsify:
    return _prune(slab, values, rescale=True)


def _by_norm(slab: Slab, values: Values) -> consensus.Sparsify:
    return norm_restored(slab, _prune(slab, values, rescale=False))


def _method(name: str, summary: str, weight: Knob, merge: Callable[[Slab, Values], None]) -> Method:
    return Method(
        name,
        summary,
        (weight, knobs.density(0.5), _EPSILON, knobs.LAMBDA),
        merge,
        scope="tensor",
        remembers=0.5,  # the ranks
        random=True,
    )


DELLA_LINEAR_PAPER = _method(
    "della_linear",
    "base + λ Σ wᵢ mᵢτᵢ / pᵢ, pᵢ = dᵢ ± ε by rank in the row (DELLA, Deep et al. 2024, arXiv:2406.11617)",
    knobs.WEIGHT_SHARE,
    consensus.by_sum(_by_probability),
)
DELLA_LINEAR_MERGEKIT = _method(
    "della_linear",
    "base + λ Σ wᵢ mᵢτᵢ ‖τᵢ‖₁ / ‖mᵢτᵢ‖₁, mᵢ as in DELLA (as in mergekit)",
    knobs.WEIGHT_SHARE,
    consensus.by_sum(_by_norm),
)
DELLA_PAPER = _method(
    "della",
    "base + λ · mean of the wᵢ mᵢτᵢ / pᵢ of the elected sign (DELLA, Deep et al. 2024, arXiv:2406.11617)",
    knobs.WEIGHT_ONE,
    consensus.by_election(_by_probability, consensus.PAPER),
)
DELLA_MERGEKIT = _method(
    "della",
    "base + λ Σ wᵢ m̂ᵢτᵢ / Σ wᵢ of the elected sign, rescaled to ‖τᵢ‖₁ (DELLA as in mergekit)",
    knobs.WEIGHT_ONE,
    consensus.by_election(_by_norm, consensus.MERGEKIT),
)
