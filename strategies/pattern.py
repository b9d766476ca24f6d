"""Compass search: one coordinate at a time, a step up or a step down."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from searchmerge.strategies._bins import bin_of, centre_of
from searchmerge.strategies._options import flag, real
from searchmerge.types import Candidate, Dim, Genotype, default_genotype

SMALLEST_STEP = 1e-3
"""Below it the search starts again elsewhere."""


class Pattern:
    """Compass search, the plainest of the direct searches.

    The whole loop::

        here = the default merge; step = the first one
        poll, coordinate by coordinate in a random order: here a step up and a step down (with choices: here
            with each other bin)
            a poll that scores better is the new here
        a round of all coordinates in which none was better halves the step
        a step below a thousandth: start again at a random point with the first step

    T. G. Kolda, R. M. Lewis, V. Torczon: Optimization by Direct Search: New Perspectives on Some Classical
    and Modern Methods. SIAM Review 45(3), 2003, section 1.1. A step ends at the bounds. Each poll carries the
    score of ``here`` as its floor, so that hopeless ones stop early.

    Args:
        dims: the coordinates.
        seed: of the order and of where it starts again.
        budget: not used.
        step: the first one, as a part of a coordinate's range.
        together: ask for all polls of a coordinate at once and take the best, in place of one at a time
            until one is better.

    Raises:
        UserError: an option is out of its range.
    """

    def __init__(
        self,
        dims: Sequence[Dim],
        *,
        seed: int,
        budget: int | None = None,
        step: float = 0.25,
        together: bool = False,
    ) -> None:
        self._dims = tuple(dims)
        self._rng = np.random.default_rng(seed)
        self._first = self._step = real("step", step, low=SMALLEST_STEP, high=1)
        self._together = flag("together", together)
        self._here: Genotype = default_genotype(dims)
        self._score: float | None = None  # None until the point where a search starts has been told
        self._coordinates: list[int] = []
        self._polls: list[Genotype] = []
        self._better = True  # the first round of a search takes the first step
        self._asked: list[Genotype] = []

    def ask(self) -> Sequence[Candidate]:
        """Give the point where a search starts, or the next polls."""
        if self._score is not None and not self._polls:
            self._next_polls()
        if self._score is None:
            self._asked = [self._here]
            return [Candidate(self._here)]
        count = len(self._polls) if self._together else 1
        self._asked, self._polls = self._polls[:count], self._polls[count:]
        return [Candidate(point, self._score) for point in self._asked]

    def tell(self, scores: Sequence[float]) -> None:
        """Go to the best of the points if it is better than where the search is.

        Raises:
            ValueError: not one score a point.
        """
        if len(scores) != len(self._asked):
            raise ValueError(f"{len(self._asked)} candidates were asked, {len(scores)} scores told")
        best = int(np.argmax(scores))
        if self._score is None:
            self._score = float(scores[best])
        elif scores[best] > self._score:
            self._here, self._score = self._asked[best], float(scores[best])
            self._better, self._polls = True, []

    def _next_polls(self) -> None:
        """Take the next coordinate that has a point to poll; when a round is over, begin another."""
        while not self._polls:
            if self._coordinates:
                self._polls = self._around(self._coordinates.pop())
            elif not self._begin_round():
                self._start_again()
                return

    def _around(self, k: int) -> list[Genotype]:
        dim, here = self._dims[k], self._here[k]
        if dim.choices is None:
            values = [min(here + self._step, 1.0), max(here - self._step, 0.0)]
        else:
            values = [centre_of(dim, n) for n in range(dim.choices) if n != bin_of(dim, here)]
        return [(*self._here[:k], value, *self._here[k + 1 :]) for value in values if value != here]

    def _begin_round(self) -> bool:
        """Begin a round, unless there is nothing left to poll."""
        if not self._better:
            self._step /= 2
        # After a round in vain, other choices are not polled again: no smaller step leads to them.
        polled = [k for k, dim in enumerate(self._dims) if self._better or dim.choices is None]
        if not polled or self._step < SMALLEST_STEP:
            return False
        self._better = False
        self._coordinates = self._rng.permutation(polled).tolist()
        return True

    def _start_again(self) -> None:
        point = zip(self._dims, self._rng.random(len(self._dims)).tolist(), strict=True)
        self._here = tuple(x if d.choices is None else centre_of(d, bin_of(d, x)) for d, x in point)
        self._score, self._step = None, self._first
        self._coordinates, self._better = [], True
