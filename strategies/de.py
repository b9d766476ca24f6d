"""Differential evolution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from searchmerge.strategies._options import one_of, real, whole
from searchmerge.types import Candidate, Dim, default_genotype

Vector = npt.NDArray[np.float64]

DONORS = {"rand/1": 3, "best/1": 2, "current-to-best/1": 2}
"""How many members beside the parent and the best each rule takes."""


class DifferentialEvolution:
    """Differential evolution with binomial crossover, a generation at a time.

    The whole loop::

        members = the default merge, and random points
        repeat:
            for each member i:
                donors = members drawn at random, unlike i and unlike each other
                mutant = the rule's combination of member i, the best member and the donors
                child  = for each coordinate the mutant's with probability cr, else member i's
                child  = child, reflected at the bounds of the unit cube
            each child that scores at least as well as its own parent takes the parent's place

    R. Storn, K. Price: Differential Evolution. J. Global Optimization 11, 1997 (the loop, the rules rand/1 and
    best/1). S. Das, P. N. Suganthan: Differential Evolution: A Survey of the State-of-the-Art. IEEE
    Trans. Evolutionary Computation 15(1), 2011 (current-to-best/1, and the names of the rules).

    Args:
        dims: the coordinates; one with choices stays a real number, the space bins it.
        seed: of the strategy's own generator.
        budget: not used, a generation is always as large as the population.
        population: members; at least one more than the rule's donors.
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
        self._children = self._rng.random((size, len(dims)))
        self._children[0] = default_genotype(dims)
        self._members = self._children
        self._scores = np.full(size, -np.inf)
        self._started = False

    def ask(self) -> Sequence[Candidate]:
        """Give the next generation: the first members, then one child a member."""
        if self._started:
            best = self._members[np.argmax(self._scores)]
            self._children = np.stack([self._child(i, best) for i in range(len(self._members))])
        return [Candidate(tuple(child.tolist())) for child in self._children]

    def tell(self, scores: Sequence[float]) -> None:
        """Let each child that is at least as good take its parent's place; so does any child of a failure.

        Raises:
            ValueError: not one score a child.
        """
        if len(scores) != len(self._children):
            raise ValueError(f"{len(self._children)} candidates were asked, {len(scores)} scores told")
        # Storn & Price 1997, section "Selection"; ties go to the child (Das & Suganthan 2011, eq. 8), so
        # that the population drifts across a plateau instead of freezing on it.
        survives = np.asarray(scores) >= self._scores
        self._members = np.where(survives[:, None], self._children, self._members)
        self._scores = np.where(survives, scores, self._scores)
        self._started = True

    def _child(self, i: int, best: Vector) -> Vector:
        donors = self._members[self._draw(i)]
        mutant = mutate(self._rule, self._members[i], best, donors, self._f)
        return reflect(self._cross(self._members[i], mutant))

    def _draw(self, i: int) -> npt.NDArray[np.int64]:
        others = np.delete(np.arange(len(self._members)), i)
        return self._rng.choice(others, size=DONORS[self._rule], replace=False)

    def _cross(self, member: Vector, mutant: Vector) -> Vector:
        # Binomial crossover; one coordinate at random is always the mutant's (Storn & Price 1997, eq. 4).
        taken = self._rng.random(len(member)) < self._cr
        taken[self._rng.integers(len(member))] = True
        return np.where(taken, mutant, member)


def mutate(rule: str, member: Vector, best: Vector, donors: Vector, f: float) -> Vector:
    """Combine a member, the best member (shape ``[n]`` each) and the rule's donors, shape ``[donors, n]``.

    Das & Suganthan 2011, section II-B: rand/1 is their eq. 3, best/1 and current-to-best/1 are their eq. 5.
    """
    if rule == "rand/1":
        return donors[0] + f * (donors[1] - donors[2])
    start = best if rule == "best/1" else member + f * (best - member)
    return start + f * (donors[0] - donors[1])


def reflect(point: Vector) -> Vector:
    """Bring a point into the unit cube by reflection at the bounds; inside the cube nothing changes."""
    folded = np.mod(point, 2.0)
    return np.where(folded > 1.0, 2.0 - folded, folded)
