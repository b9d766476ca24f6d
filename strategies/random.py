"""Uniform random search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from searchmerge.types import Candidate, Dim

BATCH = 8
"""Points asked at once; the points are the same for any batch size."""


class Random:
    """Points drawn evenly from the unit cube; scores change nothing.

    J. Bergstra, Y. Bengio: Random Search for Hyper-Parameter Optimization. JMLR 13, 2012.

    Args:
        dims: the coordinates.
        seed: of the strategy's own generator.
        budget: not used.
    """

    def __init__(
        self,
        dims: Sequence[Dim],
        *,
        seed: int,
        budget: int | None = None,
    ) -> None:
        self._shape = (BATCH, len(dims))
        self._rng = np.random.default_rng(seed)

    def ask(self) -> Sequence[Candidate]:
        """Give the next points."""
        return [Candidate(tuple(point)) for point in self._rng.random(self._shape).tolist()]

    def tell(self, scores: Sequence[float]) -> None:
        """Take the scores, and forget them.

        Raises:
            ValueError: not one score a point.
        """
        if len(scores) != BATCH:
            raise ValueError(f"{BATCH} candidates were asked, {len(scores)} scores told")
