"""The parameter control of differential evolution by name; F and Cr may be searched by another strategy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from searchmerge.plugins import make_strategy
from searchmerge.strategies._adaptation import ADAPTATIONS, Adaptation, Settings
from searchmerge.strategies._options import one_of
from searchmerge.strategies._rules import fitting
from searchmerge.types import Candidate, Dim


def controlled(name: str, start: Settings, size: int, rng: np.random.Generator, seed: int) -> Adaptation:
    """Give the adaptation of that name.

    Args:
        name: one of :data:`ADAPTATIONS`, or ``search:STRATEGY``.
        start: the user's settings.
        size: number of members.
        rng: what adaptations draw from.
        seed: of a strategy that searches.

    Raises:
        UserError: there is none of that name.
    """
    kind, _, strategy = str(name).partition(":")
    if kind == "search" and strategy:
        return Searched(strategy, start, seed)
    one_of("adaptation", name, (*ADAPTATIONS, "search:STRATEGY"))
    return ADAPTATIONS[name](start, fitting(size), size, rng)


class Searched:
    """An adaptation that asks a strategy for F and Cr and tells it what each child gained on its parent.

    Du et al. 2024 (arXiv:2406.12208) tune the two by hand. Children are learned from in the order they were
    drawn in, one by one.

    Args:
        strategy: its name, with a variant or without.
        start: the rule, and where the search of F and Cr, each from 0 to 1, begins.
        seed: of the strategy.

    Raises:
        UserError: there is no such strategy.
    """

    def __init__(self, strategy: str, start: Settings, seed: int) -> None:
        dims = (Dim("f", min(start.f, 1.0)), Dim("cr", start.cr))
        self._rule = start.rule
        self._strategy = make_strategy(strategy, {}, dims=dims, seed=seed, budget=None)
        self._asked: Sequence[Candidate] = []
        self._gains: list[float] = []
        self._finished = False

    def draw(self, i: int) -> Settings:
        """Take the strategy's next point; when it has finished, its last one for good."""
        if not self._finished and len(self._gains) == len(self._asked):
            if self._gains:
                self._strategy.tell(self._gains)
            batch = self._strategy.ask()
            self._finished = not batch
            self._asked, self._gains = batch or self._asked, []
        f, cr = self._asked[-1 if self._finished else len(self._gains)].genotype
        return Settings(self._rule, f, cr)

    def learn(self, i: int, settings: Settings, gain: float) -> None:
        """Keep what the point was worth."""
        self._gains.append(gain)

    def turn(self) -> None:
        """Do nothing."""

    def leave(self, i: int) -> None:
        """Do nothing."""
