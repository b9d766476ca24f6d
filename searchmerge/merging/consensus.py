"""How sparsified task vectors are put together: all of them added up, or by election.

In an election each parameter takes the majority's sign, and only the entries that agree are merged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeGuard

import torch
from torch import Tensor

from searchmerge.merging import knobs
from searchmerge.merging.kept import Kept
from searchmerge.merging.method import Slab, Values
from searchmerge.merging.slabs import chunk_size, chunks, require_base, scratch_rows, weighted_sum

Sparsify: TypeAlias = Callable[[slice, Tensor], None]
"""``(part, rows)``: writes the sparsified task vectors of ``part`` into ``rows``, ``[experts, part]``."""

Drop: TypeAlias = Callable[[Slab, Values], Sparsify]
"""Says how the task vectors of a slab are sparsified."""


COMPILED = True
"""Whether a CPU merges TIES and DARE in one pass over the memory, by :mod:`searchmerge.merging.fused`."""


@dataclass(frozen=True)
class Rule:
    """How signs are elected and what the agreeing entries are divided by.

    Args:
        weighted_vote: whether the sign is that of ``sum_i w_i tau_i`` (else of ``sum_i tau_i``), and an
            expert agrees where ``w_i tau_i`` (else ``tau_i``) has it.
        divisor: the number of agreeing experts, the sum of their weights, or nothing. A divisor of zero
            counts as one.
    """

    weighted_vote: bool
    divisor: Literal["count", "weight"] | None


PAPER = Rule(weighted_vote=False, divisor="count")
"""Yadav et al. 2023, section 4.2: elect, then the mean over the agreeing experts."""

MERGEKIT = Rule(weighted_vote=True, divisor="weight")
"""mergekit with ``normalize: true``."""

SCE = Rule(weighted_vote=False, divisor="weight")
"""Wan et al. 2024 and mergekit's ``sce``: elect, then the mean over the agreeing, weighted."""

MERGEKIT_SUM = Rule(weighted_vote=True, divisor=None)
"""mergekit with ``normalize: false``."""


def by_sum(drop: Drop) -> Callable[[Slab, Values], None]:
    """The method ``base + lambda sum_i w_i drop(tau_i)``."""

    def method(slab: Slab, values: Values) -> None:
        weights = knobs.per_expert(values, "weight", slab.deltas.shape[0])
        add(slab, drop(slab, values), weights, knobs.number(values, "lambda"))

    return method


def by_election(drop: Drop, rule: Rule) -> Callable[[Slab, Values], None]:
    """The method ``base + lambda elect(drop(tau_i))``."""

    def method(slab: Slab, values: Values) -> None:
        weights = knobs.per_expert(values, "weight", slab.deltas.shape[0])
        merge(slab, drop(slab, values), weights, knobs.number(values, "lambda"), rule)

    return method


def add(slab: Slab, sparsify: Sparsify, weights: Sequence[float], scale: float) -> None:
    """Write ``base + scale * sum_i weights[i] * tau_i`` of the sparsified task vectors, without an election.

    Args:
        slab: what is merged.
        sparsify: gives the task vectors that take part.
        weights: one an expert.
        scale: lambda.

    Raises:
        ValueError: the slab has no base.
    """
    base = require_base(slab)
    if _fuses(sparsify):
        _fused(sparsify, base, weights, scale)
        return
    coefficients = [scale * weight for weight in weights]
    room = scratch_rows(slab)
    for part in chunks(slab):
        rows = room[:, : part.stop - part.start]
        sparsify(part, rows)
        weighted_sum(base[part], rows, coefficients, slab.out[part])


def merge(slab: Slab, sparsify: Sparsify, weights: Sequence[float], scale: float, rule: Rule) -> None:
    """Write ``base + scale * merged``, where ``merged`` joins the entries of the elected sign.

    Where the entries cancel exactly, plus is elected, as mergekit does; the reference code of TIES takes the
    sign that is more frequent in the whole model there.

    Args:
        slab: what is merged.
        sparsify: gives the task vectors that take part.
        weights: one an expert.
        scale: lambda.
        rule: the reading.

    Raises:
        ValueError: the slab has no base.
    """
    base = require_base(slab)
    if _fuses(sparsify):
        _fused(sparsify, base, weights, scale, rule)
        return
    ones = [1.0] * len(weights)
    room = scratch_rows(slab)
    small_room = slab.out.new_empty((3, chunk_size(slab)))
    for part in chunks(slab):
        width = part.stop - part.start
        rows = room[:, :width]
        majority, merged, divisor = small_room[:, :width]
        sparsify(part, rows)
        if rule.weighted_vote:
            _scale_rows(rows, weights)
        _elect(rows, out=majority)
        rows.mul_(majority).relu_()  # the magnitudes of the entries that agree; the others are zero
        weighted_sum(None, rows, ones if rule.weighted_vote else weights, out=merged)
        if rule.divisor is not None:
            rows.sign_()
            weighted_sum(None, rows, weights if rule.divisor == "weight" else ones, out=divisor)
            _divide(merged, divisor, spare=rows[0])
        torch.addcmul(base[part], merged, majority, value=scale, out=slab.out[part])


def _fuses(sparsify: Sparsify) -> TypeGuard[Kept]:
    """Whether there is a compiled loop for it."""
    return COMPILED and isinstance(sparsify, Kept) and sparsify.slab.out.device.type == "cpu"


def _fused(
    kept: Kept, base: Tensor, weights: Sequence[float], scale: float, rule: Rule | None = None
) -> None:
    from searchmerge.merging import fused  # compiles: only where there is such a merge

    fused.merge(
        kept,
        base,
        weights,
        scale,
        elects=rule is not None,
        weighted_vote=rule is not None and rule.weighted_vote,
        divisor=rule.divisor if rule else None,
    )


def _scale_rows(rows: Tensor, factors: Sequence[float]) -> None:
    for row, factor in zip(rows, factors, strict=True):
        row.mul_(factor)


def _elect(rows: Tensor, out: Tensor) -> None:
    """Write the sign of the rows' sum, 1 for a sum of zero."""
    weighted_sum(None, rows, [1.0] * rows.shape[0], out)
    torch.ge(out, 0, out=out).mul_(2).sub_(1)


def _divide(merged: Tensor, divisor: Tensor, spare: Tensor) -> None:
    """Divide in place, by one where the divisor is zero."""
    torch.eq(divisor, 0, out=spare)
    merged.div_(divisor.add_(spare))
