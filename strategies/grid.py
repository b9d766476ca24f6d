"""Grid search in a shuffled order."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

import numpy as np

from searchmerge.strategies._bins import centre_of
from searchmerge.strategies._options import one_of, whole
from searchmerge.types import Candidate, Dim

BATCH = 8
"""Points asked at once; the points are the same for any batch size."""


class Grid:
    """Every combination of a few values a coordinate, each once, in a shuffled order.

    Shuffled, because a grid that the budget cuts short should have covered the cube evenly, where the usual
    nested loops would still be in one corner. The order is drawn as it is needed: the grid may have more
    points than there are atoms.

    Args:
        dims: the coordinates; one with choices takes each of them.
        seed: of the order.
        budget: the evaluations that the grid should fit into.
        points: values of each real coordinate, evenly spaced with both ends (one: the default alone); or a
            mapping from the names of some real coordinates to such numbers, all others staying at their
            default. Left out: the largest number, at least 2, whose grid fits into the budget.

    Raises:
        UserError: a number below 1, or a name that no real coordinate has.
    """

    def __init__(
        self,
        dims: Sequence[Dim],
        *,
        seed: int,
        budget: int | None = None,
        points: int | Mapping[str, int] | None = None,
    ) -> None:
        self._levels = [
            _levels(dim, count) for dim, count in zip(dims, _counts(dims, budget, points), strict=True)
        ]
        self._size = math.prod(len(levels) for levels in self._levels)
        # Python's generator: numpy's cannot draw below numbers of hundreds of digits.
        self._rng = random.Random(seed)
        self._moved: dict[int, int] = {}
        self._done = 0
        self._asked = 0

    def ask(self) -> Sequence[Candidate]:
        """Give the next points; none when the grid is finished."""
        self._asked = min(BATCH, self._size - self._done)
        return [Candidate(self._point(self._next())) for _ in range(self._asked)]

    def tell(self, scores: Sequence[float]) -> None:
        """Take the scores, and forget them.

        Raises:
            ValueError: not one score a point.
        """
        if len(scores) != self._asked:
            raise ValueError(f"{self._asked} candidates were asked, {len(scores)} scores told")

    def _next(self) -> int:
        # Fisher-Yates (Durstenfeld's form, CACM 7(7), 1964) on a list that is written down only where it
        # differs from 0, 1, 2, …
        here, there = self._done, self._rng.randrange(self._done, self._size)
        drawn = self._moved.get(there, there)
        self._moved[there] = self._moved.pop(here, here)
        self._done += 1
        return drawn

    def _point(self, number: int) -> tuple[float, ...]:
        point = []
        for levels in self._levels:
            number, digit = divmod(number, len(levels))
            point.append(levels[digit])
        return tuple(point)


def _counts(dims: Sequence[Dim], budget: int | None, points: int | Mapping[str, int] | None) -> list[int]:
    """How many values each coordinate takes."""
    real = [dim.name for dim in dims if dim.choices is None]
    if isinstance(points, Mapping):
        wanted = {
            one_of("points", name, real): whole(f"points.{name}", n, least=1) for name, n in points.items()
        }
    else:
        every = _fitting(dims, budget) if points is None else whole("points", points, least=1)
        wanted = dict.fromkeys(real, every)
    return [dim.choices or wanted.get(dim.name, 1) for dim in dims]


def _fitting(dims: Sequence[Dim], budget: int | None) -> int:
    """The largest number of values a real coordinate, at least 2, whose grid fits into the budget."""
    real = sum(dim.choices is None for dim in dims)
    rest = (budget or 0) // math.prod(dim.choices or 1 for dim in dims)
    count = 2
    while real and (count + 1) ** real <= rest:
        count += 1
    return count


def _levels(dim: Dim, count: int) -> list[float]:
    if dim.choices is not None:
        return [centre_of(dim, number) for number in range(dim.choices)]
    return [dim.default] if count == 1 else [float(x) for x in np.linspace(0, 1, count)]
