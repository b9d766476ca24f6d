"""What stands in the live weights, so that a candidate writes only what differs from the one before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor


class Written:
    """The live weights, and of which merge each run of them is known to be.

    That is known only as long as nobody else can have written them. It is given up when somebody asks the
    workshop for the live vector, which nobody does but to write, and when torch, which counts the writes to
    each tensor, has counted one to the vector, to a parameter of a live model or to a source. What this
    cannot see is numpy, or ``.data``, in the hands of someone who asked before the last merge.

    Args:
        weights: float32 ``[size]``, the live vector.
        aliases: the live models' parameters, whose writes torch counts apart.

    Attributes:
        weights: as given, for those who read.
    """

    def __init__(self, weights: Tensor, aliases: Iterable[Tensor] = ()) -> None:
        self.weights = weights
        self._aliases = tuple(aliases)
        self._asked = 0
        self._last: Any = None
        self._runs: dict[tuple[int, int], str] = {}

    def forget(self) -> None:
        """Know nothing of the weights any more."""
        self._asked += 1

    @contextmanager
    def by(self, what: str, sources: Iterable[Tensor]) -> Iterator[dict[tuple[int, int], str]]:
        """Within the block, write a merge.

        Args:
            what: all that the merge depends on but what differs between its runs.
            sources: the tensors that it is made of.

        Yields:
            Of each run that is known to be of such a merge, by start and stop, what it was merged by. Whoever
            writes a run takes it out before and puts it in after.
        """
        made_of, asked = tuple(sources), self._asked
        if self._last != (what, asked, self._writes(made_of)):
            self._runs.clear()
        try:
            yield self._runs
        finally:
            self._last = what, asked, self._writes(made_of)

    def _writes(self, sources: tuple[Tensor, ...]) -> Any:
        """How often the tensors have been written to: equal to another count if none was in between."""
        tensors = (self.weights, *self._aliases, *sources)
        if any(tensor.is_inference() for tensor in tensors):
            return object()  # their writes are not counted: equal to none
        return tuple(tensor._version for tensor in tensors)
