"""NSGA-II of Optuna."""

from __future__ import annotations

from collections.abc import Sequence

from searchmerge.strategies._options import whole
from searchmerge.strategies._optuna import Sampled, quiet
from searchmerge.types import Dim


class NSGA2(Sampled):
    """Optuna's NSGA-II, one point at a time: of a score, or of several objectives.

    K. Deb, A. Pratap, S. Agarwal, T. Meyarivan: A fast and elitist multiobjective genetic algorithm: NSGA-II.
    IEEE Transactions on Evolutionary Computation 6, 2002. Real coordinates are crossed by BLX-alpha
    (L. Eshelman, J. Schaffer: Real-coded genetic algorithms and interval-schemata. FOGA 1993), since by
    Optuna's default, uniform crossover, no generation has a value that the one before had not, but for
    mutations.

    Args:
        dims: the coordinates; one with choices becomes a category.
        seed: of the sampler's own generators.
        budget: not used.
        population: points of a generation; the first generation, after the default merge, is random.

    Raises:
        UserError: the option is out of its range.
    """

    several = True

    def __init__(
        self,
        dims: Sequence[Dim],
        *,
        seed: int,
        budget: int | None = None,
        population: int = 10,
    ) -> None:
        from optuna.samplers import NSGAIISampler  # here, because the import is slow
        from optuna.samplers.nsgaii import BLXAlphaCrossover

        size = whole("population", population, least=2)
        with quiet():
            sampler = NSGAIISampler(seed=seed, population_size=size, crossover=BLXAlphaCrossover())
        super().__init__(dims, sampler)
