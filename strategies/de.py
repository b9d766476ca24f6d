"""Differential evolution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from searchmerge.strategies._options import one_of, real, whole
from searchmerge.types import Candidate, Dim, default_genotype

Vector = npt.NDArray[np.float64]

DONORS = {"rand/1": 3, "best/1": 2, "current-to-best/1": 2}
"""The rules, and how many donors each draws."""


class DifferentialEvolution:
    """Differential evolution with binomial crossover, a generation at a time.

    The whole loop::

        members = the default merge and random points
        evaluate all members
        repeat:
            for each member i:
                donors = members drawn at random, none of them i, no two the same
                mutant = the rule's combination of member i, the best member and the donors
                child  = each coordinate the mutant's with probability cr, else member i's
                child  = child reflected at the bounds of the unit cube
            evaluate all children
            each child that scores at least as well as its own parent takes the parent's place

    R. Storn, K. Price: Differential Evolution. J. Global Optimization 11, 1997. S. Das, P. N. Suganthan:
    Differential Evolution: A Survey of the State-of-the-Art. IEEE Trans. Evolutionary Computation 15(1),
    2011. The defaults are greedy and small, for budgets of one to a few hundred evaluations: a dozen members
    leave time for generations.

    Args:
        dims: the coordinates; one with choices stays a real number, the space bins it.
        seed: of the strategy's own generator.
        budget: not used, a generation is always as large as the population.
        population: members; more than the rule's donors.
        rule: ``rand/1``, ``best/1`` or ``current-to-best/1``.
        f: weight of a difference, in ``[0, 2]``.
        cr: probability that a coordinate comes from the mutant, in ``[0, 1]``.

    Raises:
        UserError: an option is out of its range, or the population too small for the rule.
    """

    def __init__(
        self,
        dims: Sequence[Dim],
        *,
        seed: int,
        budget: int | None = None,  # noqa: ARG002 (every strategy is offered it)
        population: int = 12,
        rule: str = "best/1",
        f: float = 0.5,
        cr: float = 0.5,
    ) -> None:
        self._rule = one_of("rule", rule, DONORS)
        size = whole("population", population, least=DONORS[rule] + 1)
        self._f = real("f", f, low=0, high=2)
        self._cr = real("cr", cr, low=0, high=1)
        self._rng = np.random.default_rng(seed)
        self._members = self._rng.random((size, len(dims)))
        self._members[0] = default_genotype(dims)
        self._scores = np.full(size, -np.inf)
        self._children = self._members
        self._started = False

    def ask(self) -> Sequence[Candidate]:
        """Give the next generation: the first members, then a child of each."""
        if self._started:
            self._children = np.stack([self._child(i) for i in range(len(self._members))])
        return [Candidate(tuple(child)) for child in self._children.tolist()]

    def tell(self, scores: Sequence[float]) -> None:
        """Let each child that is at least as good take its parent's place; any child replaces a failure.

        Raises:
            ValueError: not one score a child.
        """
        if len(scores) != len(self._children):
            raise ValueError(f"{len(self._children)} candidates were asked, {len(scores)} scores told")
        # Selection with ties to the child (Das & Suganthan 2011, section II), so that the members drift
        # across a plateau: scores counted on a few hundred examples have many.
        survives = np.asarray(scores) >= self._scores
        self._members = np.where(survives[:, None], self._children, self._members)
        self._scores = np.where(survives, scores, self._scores)
        self._started = True

    def _child(self, i: int) -> Vector:
        others = np.delete(np.arange(len(self._members)), i)
        donors = self._rng.choice(others, size=DONORS[self._rule], replace=False)
        best = self._members[np.argmax(self._scores)]
        mutant = mutate(self._rule, self._members[i], best, self._members[donors], self._f)
        # Binomial crossover (Storn & Price 1997, eq. 4); one coordinate is the mutant's for sure.
        crossed = self._rng.random(len(mutant)) < self._cr
        crossed[self._rng.integers(len(mutant))] = True
        return reflect(np.where(crossed, mutant, self._members[i]))


def mutate(rule: str, member: Vector, best: Vector, donors: Vector, f: float) -> Vector:
    """Combine a member, the best member (shape ``[n]`` each) and the rule's donors, shape ``[donors, n]``.

    rand/1 is eq. 2 of Storn & Price 1997; all three are in section II of Das & Suganthan 2011, where
    current-to-best is called target-to-best.
    """
    mutant: Vector
    if rule == "rand/1":
        mutant = donors[0] + f * (donors[1] - donors[2])
    elif rule == "best/1":
        mutant = best + f * (donors[0] - donors[1])
    else:
        mutant = member + f * (best - member) + f * (donors[0] - donors[1])
    return mutant


def reflect(point: Vector) -> Vector:
    """Bring a point into the unit cube by reflection at its bounds; inside, nothing changes."""
    folded = np.mod(point, 2.0)
    return np.where(folded > 1.0, 2.0 - folded, folded)
