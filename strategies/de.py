"""Differential evolution."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite, nextafter
from typing import NamedTuple

import numpy as np

from searchmerge.strategies._adaptation import Settings
from searchmerge.strategies._control import controlled
from searchmerge.strategies._crossing import crossing
from searchmerge.strategies._options import flag, one_of, real
from searchmerge.strategies._rules import chosen, mutant
from searchmerge.types import Candidate, Dims, Founders, Genotype, UserError

LEAST = 4
"""Members that a reduction leaves, enough for every rule (Tanabe & Fukunaga 2014)."""


class _Birth(NamedTuple):
    slot: int
    settings: Settings
    genotype: Genotype
    trial: int


class DifferentialEvolution:
    """Differential evolution with binomial crossover, over coordinates or over whole models.

    The whole loop::

        members = the default merge and random points, or the founders
        evaluate all members
        repeat, for each member i:
            mutant = the rule's weighted sum of member i, good members and random donors
            child  = each coordinate (unit of parameters) the mutant's with probability cr, else member i's
            a child that scores better than member i, its parent, takes the parent's place
        with a reduction: the worst members leave

    R. Storn, K. Price: Differential Evolution. J. Global Optimization 11, 1997. S. Das, P. N. Suganthan:
    Differential Evolution: A Survey of the State-of-the-Art. IEEE Trans. Evolutionary Computation 15(1),
    2011. Over whole models: G. Du et al.: Knowledge Fusion by Evolving Weights of Language Models (Evolver),
    arXiv:2406.12208. The defaults differ, that for coordinates first. L-SHADE (R. Tanabe, A. S. Fukunaga:
    Improving the Search Performance of SHADE Using Linear Population Size Reduction. CEC 2014) is the rule
    ``current-to-pbest/1``, the adaptation ``lshade``, ``reduction: linear`` and an archive of 2.6, but for
    the share of members that count as best and the reflection at the bounds.

    Args:
        dims: coordinates, or founders.
        seed: of the strategy's own generator.
        budget: evaluations; needed for the schedule of ``evolver-code`` and for a finale.
        rule: of :data:`RULES`; by default ``best/1``, and ``evolver`` (with two founders ``evolver-code``).
        population: members, 12 by default; whole models are as many as there are founders.
        f: weight of a difference, in ``[0, 2]``; where an adaptation learns it, the start.
        cr: probability that a coordinate or unit comes from the mutant, in ``[0, 1]``; as ``f``.
        adaptation: ``fixed``, ``dither``, ``jde``, ``jade``, ``shade``, ``lshade``, ``sade``, or
            ``search:STRATEGY``.
        update: ``generation``, all children before the first takes its place, or ``sequential``.
        selection: ``ties``, a child as good as its parent takes its place too, or ``strict``.
        reduction: ``none``, or ``linear``: after each turn the worst leave, so many that four are there when
            the budget is spent. For coordinates alone.
        archive: how many replaced members may stand in for the donor that is subtracted, as a multiple of
            the members that there are; 0 for none. For coordinates alone.
        floors: whether a child that cannot beat its parent any more may be stopped; it changes no decision.

    Raises:
        UserError: an option is out of its range, or the population too small for the rule.
    """

    breeds = True

    def __init__(
        self,
        dims: Dims,
        *,
        seed: int,
        budget: int | None = None,
        rule: str | None = None,
        population: int | None = None,
        f: float = 0.5,
        cr: float = 0.5,
        adaptation: str = "fixed",
        update: str | None = None,
        selection: str | None = None,
        reduction: str = "none",
        archive: float = 0.0,
        floors: bool = True,
    ) -> None:
        founders = dims if isinstance(dims, Founders) else None
        self._rng = np.random.default_rng(seed)
        self._crossing = crossing(dims, population, self._rng)
        self._size = len(self._crossing.members)
        name = chosen(rule or ("best/1" if founders is None else None), self._size)
        start = Settings(name, real("f", f, low=0, high=2), real("cr", cr, low=0, high=1))
        self._adaptation = controlled(adaptation, start, self._size, self._rng, seed)
        self._sequential = _sequential(update, founders, adaptation)
        selection = selection or ("ties" if founders is None else "strict")
        self._ties = one_of("selection", selection, ("strict", "ties")) == "ties"
        self._floors = flag("floors", floors)
        self._reduction = _reduction(reduction, founders, budget)
        self._archive = _archive(archive, founders)
        self._together = founders is not None and founders.together
        self._last = _last(founders, budget)
        self._budget, self._first = budget, self._size
        self._scores = [-inf] * self._size
        self._births: list[_Birth] = []
        self._asked = self._turns = self._born = self._pending = 0
        self._told = False

    def ask(self) -> Sequence[Candidate]:
        """Give the founders, then the next generation or child; at the end the finale, where wanted."""
        if not self._told:
            batch = [Candidate(genotype) for genotype in self._crossing.founders()]
        elif self._last is not None and self._asked >= self._last:
            batch = [Candidate(tuple(self._crossing.members))] if self._asked == self._last else []
            self._births = []
        else:
            slots = [self._born] if self._sequential else range(self._size)
            left = self._size if self._last is None else self._last - self._asked
            self._births = [self._bear(slot, n) for n, slot in enumerate(slots[:left])]
            batch = [Candidate(birth.genotype, self._floor(birth.slot)) for birth in self._births]
        self._pending = len(batch)
        self._asked += self._pending
        return batch

    def tell(self, scores: Sequence[float]) -> None:
        """Let each child that is good enough take its parent's place; any child replaces a failure.

        Raises:
            ValueError: not one score a candidate.
        """
        if len(scores) != self._pending:
            raise ValueError(f"{self._pending} candidates were asked, {len(scores)} scores told")
        if not self._told:
            self._scores = list(scores) * self._size if self._together else list(scores)
            self._told = True
            return
        for birth, score in zip(self._births, scores, strict=False):  # a finale is nobody's birth
            self._select(birth, score)

    def _bear(self, slot: int, n: int) -> _Birth:
        settings = self._adaptation.draw(slot)
        rule, f, cr = settings
        crossing, archived = self._crossing, len(self._crossing.archive)
        terms = mutant(
            rule, slot, self._scores, f, self._rng, random_donor=self._random_donor(), archived=archived
        )
        return _Birth(slot, settings, crossing.child(slot, terms, cr, self._rng), self._asked + n + 1)

    def _select(self, birth: _Birth, score: float) -> None:
        before = self._scores[birth.slot]
        if score > before or (self._ties and score == before):
            if self._archive and score > before:
                self._crossing.archive.append(self._crossing.members[birth.slot])
            self._crossing.replace(birth.slot, birth.genotype, birth.trial)
            self._scores[birth.slot] = score
            if self._together:
                self._scores = [score] * self._size
        gain = score - before if isfinite(before) else 0.0
        self._adaptation.learn(birth.slot, birth.settings, max(gain, 0.0))
        self._born += 1
        if self._born == self._size:
            self._turn()

    def _turn(self) -> None:
        self._adaptation.turn()
        self._turns, self._born = self._turns + 1, 0
        if self._reduction and self._budget is not None:
            spent = min(self._asked / self._budget, 1.0)
            wanted = round(self._first + (LEAST - self._first) * spent)
            while self._size > max(wanted, LEAST):
                self._lose(min(reversed(range(self._size)), key=lambda k: self._scores[k]))
        archive = self._crossing.archive
        while len(archive) > round(self._archive * self._size):
            del archive[self._rng.integers(len(archive))]

    def _lose(self, slot: int) -> None:
        del self._crossing.members[slot], self._scores[slot]
        self._adaptation.leave(slot)
        self._size -= 1

    def _floor(self, slot: int) -> float:
        score = self._scores[slot]
        return -inf if not self._floors else nextafter(score, -inf) if self._ties else score

    def _random_donor(self) -> float:
        """The released Evolver's ``0.5 + 0.5 / (T - t)`` in turn t of T; 1 where all score the same."""
        if self._together:
            return 1.0
        if self._budget is None:
            return 0.5
        turns = max((self._budget - 1) // self._first, 1)
        return 0.5 + 0.5 / max(turns - self._turns, 1)


def _sequential(update: str | None, founders: Founders | None, adaptation: str) -> bool:
    update = update or ("generation" if founders is None else "sequential")
    sequential = one_of("update", update, ("sequential", "generation")) == "sequential"
    for reason, holds in (
        ("the fitness is that of the whole population merged", founders is not None and founders.together),
        (f"the adaptation is {adaptation}", adaptation.startswith("search:")),
    ):
        if holds and not sequential:
            raise UserError(
                expected=f"update: sequential, since {reason}", got=update, cure="set strategy.update to it"
            )
    return sequential


def _reduction(name: str, founders: Founders | None, budget: int | None) -> bool:
    linear = one_of("reduction", name, ("none", "linear")) == "linear"
    if linear and founders is not None:
        raise _for_coordinates("reduction", "none", name)
    if linear and budget is None:
        raise UserError(
            expected="budget.evaluations: the population is reduced as it is spent",
            got="none",
            cure="add it, or leave strategy.reduction out",
        )
    return linear


def _archive(size: float, founders: Founders | None) -> float:
    size = real("archive", size, low=0, high=100)
    if size and founders is not None:
        raise _for_coordinates("archive", "0", f"{size:g}")
    return size


def _for_coordinates(option: str, value: str, got: str) -> UserError:
    return UserError(
        expected=f"{option}: {value} for whole models, which are kept and merged as they are",
        got=got,
        cure=f"leave strategy.{option} out",
    )


def _last(founders: Founders | None, budget: int | None) -> int | None:
    """How many candidates come before the finale; None where there is none."""
    if founders is None or not founders.finale:
        return None
    if budget is None:
        raise UserError(
            expected="budget.evaluations: the last one is that of the merged population",
            got="none",
            cure="add it, or set space.fitness to merged",
        )
    if budget <= len(founders.names):
        raise UserError(
            expected=f"budget.evaluations of {len(founders.names) + 1} or more: founders and their merge",
            got=str(budget),
            cure="raise it",
        )
    return budget - 1
