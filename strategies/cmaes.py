"""The covariance matrix adaptation evolution strategy of pycma."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, nextafter
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from searchmerge.isolation import PrivateGlobals
from searchmerge.strategies._options import flag, level, one_of, real, whole
from searchmerge.types import Candidate, Dim, Genotype, Race, default_genotype

FIRST_IN_BINS = 1.5
"""First deviation of a choice, at least, in bins: three in four points leave the mean's, since categories
beyond the next may be the better ones."""

PARENTS_ALONE: Mapping[str, Any] = MappingProxyType({"CMA_active": False, "tolfun": 0, "tolstagnation": 0})
"""Options of pycma with which a generation's points that are no parents have no influence: no negative
weights, no ends of a run by the range of all scores or by their median."""


class CMAES:
    """pycma's CMA-ES in the unit cube, started at the default merge, a generation at a time.

    N. Hansen, A. Ostermeier: Completely Derandomized Self-Adaptation in Evolution Strategies. Evolutionary
    Computation 9(2), 2001. When pycma's own criteria say that a run has come to its end, another starts at
    a random point. With ``ipop`` its population is twice the last one's: A. Auger, N. Hansen: A Restart CMA
    Evolution Strategy With Increasing Population Size. CEC 2005. With ``bipop`` such runs take turns with
    runs of a small population and a small deviation, so that both have spent as many evaluations: N.
    Hansen: Benchmarking a BI-Population CMA-ES on the BBOB-2009 Function Testbed. GECCO 2009; details as in
    pycma's ``fmin``, which counts the first run as small, and whose small population is ``⌊p (q/p)^u²⌋``,
    the first one being p, the largest so far q, and u from 0 to 1.

    Args:
        dims: the coordinates; one with choices becomes an integer variable of pycma, whose deviation is kept
            so large that other choices are tried to the end (T. Marty et al.: LB+IC-CMA-ES. PPSN 2024).
        seed: of the strategy's own generator.
        budget: not used.
        restarts: ``ipop`` or ``bipop``.
        sigma0: first standard deviation of a coordinate, as a part of its range.
        population: points a generation; left out: pycma's ``4 + 3 ln n``, more where there are choices.
        diagonal: separable CMA-ES, which adapts the variances alone and learns faster where the dimensions
            are many (R. Ros, N. Hansen: A Simple Modification in CMA-ES Achieving Linear Time and Space
            Complexity. PPSN 2008), at pycma's rates for that.
        racing: whether points of a generation race against the last one that would be a parent, by a
            confidence bound; or the bound's level. Points are then asked one at a time. Once there are as
            many scores in a generation as it has parents, μ, each further point carries the μ-th best of
            them as its floor and as its rival: below that it is no parent, whatever its score. Nothing may
            then depend on who is no parent, see :data:`PARENTS_ALONE`. V. Heidrich-Meisner, C. Igel:
            Hoeffding and Bernstein Races for Selecting Policies in Evolutionary Direct Policy Search. ICML
            2009.

    Attributes:
        races: whether points race.

    Raises:
        UserError: an option is out of its range.
    """

    def __init__(
        self,
        dims: Sequence[Dim],
        *,
        seed: int,
        budget: int | None = None,
        restarts: str = "ipop",
        sigma0: float = 0.15,
        population: int | None = None,
        diagonal: bool = False,
        racing: bool | float = False,
    ) -> None:
        self._bipop = one_of("restarts", restarts, ("ipop", "bipop")) == "bipop"
        self._sigma0 = real("sigma0", sigma0, low=1e-6, high=1)
        self._diagonal = flag("diagonal", diagonal)
        self._level = level(racing)
        self.races = self._level is not None
        size = None if population is None else whole("population", population, least=2)
        # pycma's limits of the deviations raise in one dimension: it then gets a second, which says nothing.
        padding = [Dim("nothing", 0.5)] * (len(dims) == 1)
        self._dims = (*dims, *padding)
        self._searched = len(dims)
        self._integers = [i for i, dim in enumerate(self._dims) if dim.choices]
        # pycma's variables are a stretched cube: bin k of a choice reaches from k - 0.5 to k + 0.5.
        self._stretch = np.array([float(dim.choices or 1) for dim in self._dims])
        self._shift = np.array([0.5 if dim.choices else 0.0 for dim in self._dims])
        self._rng = np.random.default_rng(seed)
        # pycma draws its points from the generator it is given, but an index for a check of its own, and what
        # it needs for integer variables, from numpy's global one.
        self._globals = PrivateGlobals(seed)
        self._orders = np.random.default_rng([seed, 1])
        self._run = self._start(default_genotype(self._dims), self._sigma0, popsize=size)
        self._first = self._largest = self._run.popsize
        self._small = True
        self._spent = {True: 0, False: 0}
        self._points: list[npt.NDArray[np.float64]] = []  # of the generation
        self._scores: list[float] = []  # of those of its points that have been told
        self._pending = 0
        self._before = 1  # the number of the generation's first trial

    def ask(self) -> Sequence[Candidate]:
        """Give the next generation, or the next point of it where points race."""
        if not self._scores:
            if self._points and self._run.stop():
                self._run = self._again()
            with self._globals:
                self._points = self._run.ask()
        if self._level is None:
            batch = [Candidate(self._genotype(point)) for point in self._points]
        else:
            floor, race = self._last_parent(self._level)
            batch = [Candidate(self._genotype(self._points[len(self._scores)]), floor, race=race)]
        self._pending = len(batch)
        return batch

    def tell(self, scores: Sequence[float]) -> None:
        """Take scores; adapt to them when they are those of the whole generation.

        Raises:
            ValueError: not one score a point.
        """
        if len(scores) != self._pending:
            raise ValueError(f"{self._pending} candidates were asked, {len(scores)} scores told")
        self._scores += scores
        if len(self._scores) == len(self._points):
            with self._globals:
                self._run.tell(self._points, _losses(self._scores))
            self._before += len(self._scores)
            self._scores = []

    def _last_parent(self, level: float) -> tuple[float, Race | None]:
        """Floor and race of the next point: the worst of the generation's points that would be parents."""
        parents: int = self._run.sp.weights.mu
        ranked = sorted(
            (place for place, score in enumerate(self._scores) if np.isfinite(score)),
            key=lambda place: -self._scores[place],
        )
        if len(ranked) < parents:
            return -inf, None
        last = ranked[parents - 1]
        race = Race(self._before + last, "bound", level, seed=int(self._orders.integers(2**32)))
        # A point as good may be a parent in its place: pycma ranks equals in no certain order.
        return nextafter(self._scores[last], -inf), race

    def _again(self) -> Any:
        """Start the next run: a large one, or, if those have spent more, a small one."""
        self._spent[self._small] += self._run.countevals
        mean = self._rng.random(self._run.N)
        self._small = self._bipop and self._spent[True] < self._spent[False]
        if not self._small:
            self._largest *= 2
            return self._start(mean, self._sigma0, popsize=self._largest)
        u, v = self._rng.random(2).tolist()
        size = int(self._first * (self._largest / self._first) ** u**2)
        return self._start(mean, self._sigma0 * 0.01**v, popsize=size, maxiter=self._spent[False] / 2 / size)

    def _genotype(self, point: npt.NDArray[np.float64]) -> Genotype:
        x = np.array(point)
        x[self._integers] = np.round(x[self._integers])  # before version 4.3 pycma leaves this to the user
        cube = np.clip((x + self._shift) / self._stretch, 0, 1)
        return tuple(cube[: self._searched].tolist())

    def _start(self, mean: Sequence[float] | npt.NDArray[np.float64], sigma: float, **options: Any) -> Any:
        import cma  # here, because the import is slow

        start = np.asarray(mean) * self._stretch - self._shift
        options = {name: value for name, value in options.items() if value is not None} | {
            "bounds": [list(-self._shift), list(self._stretch - self._shift)],
            "integer_variables": self._integers,
            "seed": np.nan,  # pycma's way to say: leave the global generator alone
            "randn": lambda *shape: self._rng.standard_normal(shape),
            "CMA_diagonal": self._diagonal,
            **(PARENTS_ALONE if self.races else {}),
            "CMA_stds": np.where(self._shift, np.maximum(self._stretch, FIRST_IN_BINS / sigma), 1.0),
            "verbose": -9,
            "verb_log": 0,
        }
        with self._globals:
            return cma.CMAEvolutionStrategy(start, sigma, options)


def _losses(scores: Sequence[float]) -> list[float]:
    """Turn scores into losses; a failure loses to every other point of its generation.

    The ranks are all that CMA-ES learns from, so how much it loses by does not matter.
    """
    finite = [score for score in scores if np.isfinite(score)]
    failed = min(finite, default=0.0) - 1
    return [-(score if np.isfinite(score) else failed) for score in scores]
