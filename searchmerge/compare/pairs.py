"""Each strategy against each other one, seed by seed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from searchmerge.compare.field import Field, FloatArray
from searchmerge.compare.resampling import LEVEL, Estimate, estimate, holm, sign_flips


@dataclass(frozen=True)
class Pair:
    """Two strategies at the end of the budget.

    Args:
        one: its name.
        other: the name of whom it is compared with.
        probability: of ``one`` ending above ``other``, a tie counting half, with its bootstrap interval over
            the seeds, which has no width where all seeds agree.
        exact: the interval of the same that holds with any number of seeds.
        difference: the mean of the score of ``one`` minus that of ``other``, with its bootstrap interval.
        p: of that difference, by exchanging both within seeds.
        corrected: the same, for all pairs at once.
    """

    one: str
    other: str
    probability: Estimate
    exact: tuple[float, float]
    difference: Estimate
    p: float
    corrected: float

    @property
    def told_apart(self) -> bool:
        """Whether one of them is better beyond chance."""
        return self.corrected <= LEVEL


def pairs(field: Field, table: FloatArray) -> tuple[Pair, ...]:
    """Compare all pairs.

    Args:
        field: whose runs they are.
        table: ``[blocks, strategies]``: the last scores.
    """
    both = list(combinations(range(len(field.strategies)), 2))
    apart = {(i, j): field.by_seed(table[:, i] - table[:, j]) for i, j in both}  # [seeds] each
    p = {each: sign_flips(differences) for each, differences in apart.items()}
    corrected = dict(zip(p, holm(list(p.values())), strict=True))
    found = []
    for i, j in both:
        wins = field.by_seed((1 + np.sign(table[:, i] - table[:, j])) / 2)
        names = field.strategies[i], field.strategies[j]
        difference = estimate(apart[i, j])
        found.append(Pair(*names, estimate(wins), exact(wins), difference, p[i, j], corrected[i, j]))
    return tuple(found)


def exact(wins: FloatArray) -> tuple[float, float]:
    """The interval of a mean of figures in [0, 1], ``[seeds]``, by counts alone.

    The mean is no less than the probability of a 1, and no more than that of not being 0. Of these two, the
    bounds of Clopper & Pearson (1934). Wider than need be where there are ties, never too narrow.
    """
    seeds, sure, lost = len(wins), (wins == 1).sum(), (wins == 0).sum()
    low = stats.beta.ppf(LEVEL / 2, sure, seeds - sure + 1) if sure else 0.0
    high = stats.beta.isf(LEVEL / 2, seeds - lost + 1, lost) if lost else 1.0
    return float(low), float(high)
