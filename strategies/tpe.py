"""The tree-structured Parzen estimator of Optuna."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np

from searchmerge.strategies._options import flag, level, whole
from searchmerge.strategies._optuna import Sampled, quiet
from searchmerge.types import Dim, Race


class TPE(Sampled):
    """Optuna's tree-structured Parzen estimator, one point at a time.

    J. Bergstra, R. Bardenet, Y. Bengio, B. Kégl: Algorithms for Hyper-Parameter Optimization. NeurIPS 2011.

    Args:
        dims: the coordinates; one with choices becomes a category.
        seed: of the sampler's own generator, and of another one for the races.
        budget: not used.
        startup: points before the estimator starts, the default merge and then random ones.
        multivariate: model all coordinates together, not each alone.
        racing: whether points after those race against the best so far, by the Wilcoxon test as Optuna's
            pruner has it; or the test's level. A point that loses counts as a failure: the estimator puts it
            among the bad ones, as it does with a pruned trial.

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
        startup: int = 10,
        multivariate: bool = True,
        racing: bool | float = False,
    ) -> None:
        from optuna.samplers import TPESampler  # here, because the import is slow

        self._startup = whole("startup", startup, least=1)
        multivariate = flag("multivariate", multivariate)
        self._level = level(racing)
        self.races = self._level is not None
        self._orders = np.random.default_rng([seed, 1])  # the sampler's points are the same without races
        self._best, self._leader = -inf, 0
        with quiet():
            sampler = TPESampler(
                seed=seed, n_startup_trials=startup, multivariate=multivariate, constant_liar=False
            )
        # The estimator only ranks scores, so that minus infinity may stay what it is.
        super().__init__(dims, sampler)

    def tell(self, scores: Sequence[float | tuple[float, ...]]) -> None:
        """Take the point's score.

        Raises:
            ValueError: not exactly one score.
        """
        super().tell(scores)
        (score,) = scores
        if not isinstance(score, tuple) and score > self._best:
            self._best, self._leader = score, self._asked

    def _race(self) -> Race | None:
        if self._level is None or self._asked <= self._startup or not self._leader:
            return None
        return Race(self._leader, "wilcoxon", self._level, seed=int(self._orders.integers(2**32)))
