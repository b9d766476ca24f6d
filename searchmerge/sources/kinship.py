"""Whether the base really is the experts' base: told from a sample of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from searchmerge.sources.checkpoint import Checkpoint
from searchmerge.types import UserError

_TENSORS, _ENTRIES = 3, 1 << 20
"""The sample: so many tensors of middling size, at most so many entries of each."""

UNRELATED = 0.1
"""Fine-tuning leaves the cosine near 1, long further training lowers it; between models of different
initialisation it is 0 within 1/sqrt(entries)."""

FAR = 0.5
"""A distance to the base, relative to its norm, that few fine-tunings reach."""


def compare(
    sources: Mapping[str, Checkpoint], names: Sequence[str], *, heads: bool, strangers: bool = False
) -> list[str]:
    """Check that models are near one another, as those of one origin are.

    Args:
        sources: by what messages call them; the first (the base, if any) is the measure.
        names: canonical names of tensors that all of these have in one shape.
        heads: whether the experts keep heads of their own, so that one with the base's body is still another
            model.
        strangers: whether an unrelated expert is noted, not refused.

    Returns:
        Notes for the user.

    Raises:
        UserError: an expert that is the base, or one that is unrelated to the first source.
    """
    notes = _twins(sources, names, may_equal_base=heads)
    first, *rest = sources
    for who in rest:
        cosine, distance = _compare(sources[first], sources[who], names)
        if cosine < UNRELATED:
            got = f"unrelated weights (cosine {cosine:.2f}) in {sources[first].ref} and {sources[who].ref}"
            if strangers:
                notes.append(got)
                continue
            raise UserError(
                expected=f"models of one origin in {first} and {who}",
                got=got,
                cure="give the base that the experts were trained from; "
                "models of different initialisation cannot be merged",
            )
        if distance > FAR:
            far = f"{who} is far from {first}: {distance:.2f} of its norm"
            notes.append(f"{far} (a fine-tuned model: below 0.1)")
    return notes


def _twins(sources: Mapping[str, Checkpoint], names: Sequence[str], may_equal_base: bool) -> list[str]:
    notes, seen = [], dict[str, str]()
    for who, source in sources.items():
        twin = seen.setdefault(source.digest(names), who)
        if twin == who:
            continue
        if twin == "base" and not may_equal_base:
            raise UserError(
                expected="a base that the experts were fine-tuned from",
                got=f"the weights of {who} ({source.ref}) as base ({sources['base'].ref})",
                cure="correct models.base, or leave it out",
            )
        notes.append(f"{who} has the same weights as {twin}")
    return notes


def _compare(one: Checkpoint, other: Checkpoint, names: Sequence[str]) -> tuple[float, float]:
    """Cosine and relative distance of two models over the sample."""
    by_size = sorted(names, key=lambda name: (math.prod(one.tensors[name].shape), name))
    matrices = [name for name in by_size if len(one.tensors[name].shape) > 1] or by_size
    start = max(0, (len(matrices) - _TENSORS) // 2)
    sample = matrices[start : start + _TENSORS]
    a, b = (
        torch.cat([model.load(name).flatten()[:_ENTRIES].double() for name in sample])
        for model in (one, other)
    )
    return float(a @ b / (a.norm() * b.norm())), float((b - a).norm() / a.norm())
