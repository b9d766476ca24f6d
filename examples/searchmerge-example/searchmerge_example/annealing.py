"""Simulated annealing: a walk that takes losses while it is hot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from searchmerge.types import Candidate, Dim, UserError, default_genotype


class Annealing:
    """Simulated annealing, one point at a time, from the default merge.

    S. Kirkpatrick, C. Gelatt, M. Vecchi: Optimization by Simulated Annealing. Science 220, 1983. A step that
    gains is taken, one that loses ``d`` with probability ``exp(-d / t)``. The temperature ``t`` falls to a
    thousandth over the budget, and with its square root the length of the steps.

    Args:
        dims: the coordinates; one with choices is drawn anew now and then, or it would stay in its bin.
        seed: of the strategy's own generator.
        budget: evaluations to plan with; 200 if None.
        temperature: at the start, as a difference of scores.
        step: at the start, the standard deviation of a coordinate's change.

    Raises:
        UserError: an option is not a number above 0.
    """

    def __init__(
        self,
        dims: Sequence[Dim],
        *,
        seed: int,
        budget: int | None = None,
        temperature: float = 0.02,
        step: float = 0.2,
    ) -> None:
        self._temperature, self._step = _above_0("temperature", temperature), _above_0("step", step)
        self._rng = np.random.default_rng(seed)
        self._choice = np.array([dim.choices is not None for dim in dims])
        self._turns, self._turn = budget or 200, 0
        self._here = self._asked = np.array(default_genotype(dims))
        self._score = -np.inf

    def ask(self) -> Sequence[Candidate]:
        """Give a neighbour of the point that the walk is at."""
        size = self._here.size
        moved = self._here + self._step * self._cold() ** 0.5 * self._rng.standard_normal(size)
        moved = np.abs(np.mod(moved + 1, 2) - 1)  # reflected at 0 and 1
        anew = self._choice & (self._rng.random(size) < max(0.3, 1 / size))
        self._asked = np.where(anew, self._rng.random(size), np.where(self._choice, self._here, moved))
        return [Candidate(tuple(self._asked.tolist()))]

    def tell(self, scores: Sequence[float]) -> None:
        """Go there, or stay.

        Raises:
            ValueError: not exactly one score.
        """
        (score,) = scores
        draw = self._rng.random()  # always one, so that the points do not hang on how close a call it was
        better = score >= self._score
        if better or draw < np.exp((score - self._score) / (self._temperature * self._cold())):
            self._here, self._score = self._asked, score
        self._turn += 1

    def _cold(self) -> float:
        """The share of the first temperature that is left, 1/1000 from the budget's end on."""
        return float(0.001 ** min(self._turn / self._turns, 1))


def _above_0(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < np.inf:
        raise UserError(
            expected=f"{name}: a number above 0", got=repr(value), cure=f"correct strategy.{name}"
        )
    return float(value)
