"""SCE: select where the experts vary most, calculate their weights from it, erase the minority's signs."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import torch
from torch import Tensor

from searchmerge.merging import consensus, knobs
from searchmerge.merging.magnitudes import DENSITY_STEPS, largest
from searchmerge.merging.method import Knob, Method, Slab, Values
from searchmerge.merging.slabs import chunk_size, chunks, scratch_rows, weighted_sum

_DENSITY = Knob("density", knobs.constant(1.0), 1 / DENSITY_STEPS, 1.0, per_expert=False)


def _merge_by(smallest: float) -> Callable[[Slab, Values], None]:
    def merge(slab: Slab, values: Values) -> None:
        density = knobs.number(values, "density")
        known = slab.memo.setdefault("densities", {})
        place = density, smallest  # both readings have the memo in common
        if place not in known:
            cutoff = _cutoff(slab, density)
            known[place] = cutoff, _weights(slab, _select(slab, cutoff), smallest)
        cutoff, weights = known[place]
        consensus.merge(slab, _select(slab, cutoff), weights, knobs.number(values, "lambda"), consensus.SCE)

    return merge


def _cutoff(slab: Slab, density: float) -> float:
    """The least of the ``int(density n)`` largest variances, ``n`` counting those that are not zero."""
    if density >= 1:
        return 0.0
    variances = torch.empty_like(slab.out)
    room = scratch_rows(slab)
    for part in chunks(slab):
        _write_variances(slab.rows(part), room[:, : part.stop - part.start], variances[part])
    count = int(density * int(variances.count_nonzero()))
    return float(largest(variances, [count])[0]) if count else inf


def _write_variances(deltas: Tensor, rows: Tensor, out: Tensor) -> None:
    """Write the variance of the experts' entries, float32 ``[n]``; ``rows`` is overwritten."""
    shares = [1 / len(deltas)] * len(deltas)
    torch.sub(deltas, deltas[:1], out=rows)  # so that experts who agree have none, not a rounding's
    weighted_sum(None, rows, shares, out)
    rows.sub_(out).square_()
    weighted_sum(None, rows, shares, out)


def _select(slab: Slab, cutoff: float) -> consensus.Sparsify:
    """Keep the entries where the variance is not below the cutoff.

    The variances are computed anew rather than kept: they would take as much memory as an expert.
    """
    spare = slab.out.new_empty(chunk_size(slab))

    def sparsify(part: slice, rows: Tensor) -> None:
        deltas = slab.rows(part)
        if cutoff == 0:
            rows.copy_(deltas)
            return
        chosen = spare[: part.stop - part.start]
        _write_variances(deltas, rows, chosen)
        chosen.ge_(cutoff)
        torch.mul(deltas, chosen, out=rows)

    return sparsify


def _weights(slab: Slab, select: consensus.Sparsify, smallest: float) -> list[float]:
    """Shares of the mean squares of what is selected; equal where these add up to less than ``smallest``."""
    room = scratch_rows(slab)
    squares = torch.zeros(room.shape[0], dtype=torch.float64, device=room.device)
    for part in chunks(slab):
        rows = room[:, : part.stop - part.start]
        select(part, rows)
        squares += rows.square_().sum(dim=1)  # float32 within a chunk, float64 over the chunks
    means = [square / slab.out.numel() for square in squares.tolist()]
    total = sum(means)
    return [mean / total if total >= smallest and total else 1 / len(means) for mean in means]


def _method(summary: str, smallest: float) -> Method:
    return Method("sce", summary, (_DENSITY, knobs.LAMBDA), _merge_by(smallest), scope="tensor")


SCE_PAPER = _method(
    "base + λ Σ ηᵢτᵢ / Σ ηᵢ of the elected sign where the τᵢ vary most, ηᵢ ∝ ‖τᵢ‖² (Wan et al. 2024)",
    0.0,
)
"""FuseChat, arXiv:2408.07990; as in mergekit, but for the bound below."""
SCE_MERGEKIT = _method(
    "base + λ Σ ηᵢτᵢ / Σ ηᵢ of the elected sign where the τᵢ vary most (SCE as in mergekit)",
    1e-6,
)
"""As in mergekit: the experts weigh the same where their mean squares add up to less than 1e-6.

That is where the task vectors' entries are about 1e-3 or less, so after fine-tuning in small steps. Where the
weights of the agreeing experts add up to less than 1e-6, mergekit divides by that instead.
"""
