"""Successive halving: many points on a part of dev, the best of them on more, few on the whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from searchmerge.strategies._options import whole
from searchmerge.types import Candidate, Dim, default_genotype

FEW = 27
"""Points that a turn begins with where no budget says how many can be."""


class Halving:
    """Successive halving of random points through growing parts of dev.

    The whole loop::

        points = the default merge and random points
        for each rung, on eta times as much of dev as the one before, the last one on the whole:
            evaluate the points
            points = the best of them, one in eta

    Every rung costs the same. K. Jamieson, A. Talwalkar: Non-stochastic Best Arm Identification and
    Hyperparameter Optimization. AISTATS 2016; a share of dev is the resource, a point's score on it the loss.

    Args:
        dims: the coordinates.
        seed: of the strategy's own generator.
        budget: evaluations of the whole dev, spent in one turn of the loop; without one, turn follows turn.
        eta: how many times fewer points each rung has.
        rungs: how many there are; the first one is on ``eta^(1 - rungs)`` of dev.

    Raises:
        UserError: an option is out of its range.
    """

    def __init__(
        self,
        dims: Sequence[Dim],
        *,
        seed: int,
        budget: int | None = None,
        eta: int = 3,
        rungs: int = 3,
    ) -> None:
        self._eta, self._rungs = whole("eta", eta, least=2), whole("rungs", rungs, least=1)
        self._dims, self._rng = tuple(dims), np.random.default_rng(seed)
        most = self._eta ** (
            self._rungs - 1
        )  # evaluations on the first part that cost as much as a whole one
        # The default merge of the whole dev comes first in every run.
        self._width = max(most, FEW if budget is None else (budget - 1) * most // self._rungs)
        self._rung = 0
        self._points = [default_genotype(dims), *self._random(self._width - 1)]

    def ask(self) -> Sequence[Candidate]:
        """Give a rung."""
        share = float(self._eta) ** (self._rung + 1 - self._rungs)
        return [Candidate(point, share=share) for point in self._points]

    def tell(self, scores: Sequence[float]) -> None:
        """Keep the best of the rung; after the last one begin anew.

        Raises:
            ValueError: not one score a point.
        """
        if len(scores) != len(self._points):
            raise ValueError(f"{len(self._points)} candidates were asked, {len(scores)} scores told")
        self._rung = (self._rung + 1) % self._rungs
        if self._rung == 0:
            self._points = self._random(self._width)
            return
        order = sorted(range(len(scores)), key=lambda place: -scores[place])  # of equals the first
        kept = order[: max(1, len(order) // self._eta)]
        self._points = [self._points[place] for place in sorted(kept)]

    def _random(self, count: int) -> list[tuple[float, ...]]:
        return [tuple(point) for point in self._rng.random((count, len(self._dims))).tolist()]
