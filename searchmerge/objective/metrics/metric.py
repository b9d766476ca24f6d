"""What a metric is: a number computed from examples, each of which counts so many times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
"""Truth or answers, ``[examples, ...]``."""

Counts: TypeAlias = npt.NDArray[np.int64]
"""How often each example counts, ``[..., examples]``: ones for a score, multinomial draws for a bootstrap."""

Seen: TypeAlias = npt.NDArray[np.bool_]
"""Which examples have been answered, ``[examples]``."""

Values: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A number that says how good answers are.

    Args:
        name: as in the config.
        low: its least value.
        high: its largest value.
        of: ``(gold, answers, counts)`` to values ``[...]``.
        extreme: ``(gold, answers, seen)`` to the best value that there can still be, whatever the answers to
            the examples that are not seen (those in ``answers`` there do not count); None where that is the
            value with right answers in their place.
        lower: whether lower is better.
        each: ``(gold, answers)`` to a value an example, ``[examples]``, whose mean is the metric, and which
            no answer betters that is right; None where there are no such values.
    """

    name: str
    low: float
    high: float
    of: Callable[[Array, Array, Counts], Values]
    extreme: Callable[[Array, Array, Seen], float] | None = None
    lower: bool = False
    each: Callable[[Array, Array], Values] | None = None

    @property
    def best(self) -> float:
        """The value that cannot be bettered."""
        return self.low if self.lower else self.high

    def value(self, gold: Array, answers: Array) -> float:
        """The metric of examples that count once each."""
        return float(self.of(gold, answers, np.ones(len(gold), dtype=np.int64)))

    def bound(self, gold: Array, answers: Array, seen: Seen) -> float:
        """The best value that there can still be when only some examples have been answered."""
        if seen.all():
            return self.value(gold, answers)
        if self.extreme is not None:
            return self.extreme(gold, answers, seen)
        right = answers.copy()
        right[~seen] = gold[~seen]
        return self.value(gold, right)


def ratio(over: Array, under: Array) -> Values:
    """A fraction, 0 where it is 0/0: float64 ``[...]``."""
    found = np.divide(over, under, out=np.zeros(np.broadcast(over, under).shape), where=under != 0)
    return np.asarray(found, dtype=np.float64)


def in_blocks(of: Callable[[Counts], Values], counts: Counts, width: int) -> Values:
    """Compute values for some rows of ``[..., examples]`` at a time, where each needs ``width`` numbers."""
    rows = counts.reshape(-1, counts.shape[-1])
    blocks = np.array_split(rows, max(1, min(len(rows), len(rows) * width // _ENTRIES)))
    return np.concatenate([of(block) for block in blocks]).reshape(counts.shape[:-1])


_ENTRIES = 2**22
"""Numbers that are held at once."""
