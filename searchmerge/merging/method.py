"""What a merge method is: its knobs, and the arithmetic over one slab of parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

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


class Statistics(Protocol):
    """What is known of the data that each model was trained on, for the parameters of one slab."""

    @property
    def memo(self) -> dict[str, Any]:
        """What a method computed from the statistics alone; lives as long as they do."""

    @property
    def input_first(self) -> bool:
        """Whether a linear layer's weight is stored ``[in, out]``, not ``[out, in]``."""

    def fisher(self, model: int) -> Tensor:
        """The diagonal Fisher information, float32 ``[n]``."""

    def gram(self, model: int) -> Tensor | None:
        """``XᵀX`` of a linear layer's inputs, float32 ``[in, in]``; None where the slab is not its weight."""


@dataclass(frozen=True)
class Slab:
    """A run of parameters that one call merges with one value a knob.

    Args:
        base: float32 ``[n]``, or None where there is no base model: then deltas hold the experts themselves.
        deltas: ``[experts, n]``, the task vectors (expert minus base) as they are stored: in float32,
            bfloat16 or float16. :meth:`rows` gives what is computed with.
        out: float32 ``[n]``, where the merged parameters are written.
        cutoff: ``(expert, density) -> magnitude``: the least magnitude among the ``density`` largest of
            that expert in the scope that the reading trims (the knob's group, or the tensor).
        keys: one 64-bit hash key an expert, for random masks; depends on seed, expert name and tensor name.
        memo: what a method computed for this slab once and for all; lives as long as the models.
        row: parameters a row where the slab is a tensor: its last dimension; 0: the slab is one row.
        lasting: whether the next candidate is made of the same models; if not, the memo is new every time.
        searched: of the knobs that the method prepares for, those that differ between candidates.
        statistics: what the method merges by beside the weights; None where it needs nothing.
    """

    base: Tensor | None
    deltas: Tensor
    out: Tensor
    cutoff: Callable[[int, float], float]
    keys: Sequence[int]
    memo: dict[str, Any] = field(default_factory=dict)
    row: int = 0
    lasting: bool = True
    searched: frozenset[str] = frozenset()
    statistics: Statistics | None = None

    def rows(self, part: slice) -> Tensor:
        """Give the task vectors of a part in float32, ``[experts, part]``; they may be the stored ones."""
        return self.deltas[:, part].float()

    def known(self) -> Statistics:
        """The statistics.

        Raises:
            ValueError: there are none.
        """
        if self.statistics is None:
            raise ValueError("this method merges by statistics of the models' data")
        return self.statistics


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
        statistics: what it has to know of each expert's data, if anything.
        prepares: knobs whose being searched or not changes how it computes.
        random: whether it draws masks, so that the recipe's seed counts.
    """

    name: str
    summary: str
    knobs: tuple[Knob, ...]
    merge: Callable[[Slab, Values], None]
    scope: Literal["run", "tensor"] = "run"
    needs_base: bool = True
    experts: tuple[int, int | None] = (1, None)
    remembers: float = 0.0
    statistics: Literal["fisher", "gram"] | None = None
    prepares: frozenset[str] = frozenset()
    random: bool = False
