"""What a merge method is: its knobs, and the arithmetic over one slab of parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from torch import Tensor

Values: TypeAlias = Mapping[str, float | Sequence[float]]
"""A knob's name to its value: a number, or one number an expert."""


@dataclass(frozen=True)
class Knob:
    """A number of a method that may be fixed or searched.

    Args:
        name: as in the config.
        default: its value in the default merge, given the number of experts.
        low: the least legal value.
        high: the largest legal value.
        per_expert: whether every expert has its own.
    """

    name: str
    default: Callable[[int], float]
    low: float
    high: float
    per_expert: bool = True


@dataclass(frozen=True)
class Slab:
    """A run of parameters that one call merges with one value a knob.

    Args:
        base: float32 ``[n]``, or None where there is no base model: then deltas hold the experts themselves.
        deltas: float32 ``[experts, n]``, the task vectors (expert minus base).
        out: float32 ``[n]``, where the merged parameters are written.
        cutoff: ``(expert, density) -> magnitude``: the least magnitude among the ``density`` largest of
            that expert in the scope that the reading trims (the knob's group, or the tensor).
        keys: one 64-bit hash key an expert, for random masks; depends on seed, expert name and tensor name.
        memo: what a method computed for this slab once and for all; lives as long as the sources.
        row: parameters a row where the slab is a tensor: its last dimension; 0: the slab is one row.
    """

    base: Tensor | None
    deltas: Tensor
    out: Tensor
    cutoff: Callable[[int, float], float]
    keys: Sequence[int]
    memo: dict[str, Any] = field(default_factory=dict)
    row: int = 0


@dataclass(frozen=True)
class Method:
    """A merge method.

    Args:
        name: as in the config.
        summary: one line with formula and paper.
        knobs: its knobs, in the order that a space lays them out.
        merge: the arithmetic; writes ``slab.out``.
        scope: ``run`` where any run of parameters may be merged at once, ``tensor`` where the method (its
            statistics, its masks) is defined a tensor.
        needs_base: whether it is undefined without a base model.
        experts: the least and the largest number of experts (None: any).
        remembers: copies of an expert that ``Slab.memo`` takes, where they count.
    """

    name: str
    summary: str
    knobs: tuple[Knob, ...]
    merge: Callable[[Slab, Values], None]
    scope: Literal["run", "tensor"] = "run"
    needs_base: bool = True
    experts: tuple[int, int | None] = (1, None)
    remembers: float = 0.0
