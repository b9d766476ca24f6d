"""The tree-structured Parzen estimator of Optuna."""

from __future__ import annotations

from collections.abc import Sequence

from searchmerge.strategies._options import flag, whole
from searchmerge.strategies._optuna import Sampled, quiet
from searchmerge.types import Dim


class TPE(Sampled):
    """Optuna's tree-structured Parzen estimator, one point at a time.

    J. Bergstra, R. Bardenet, Y. Bengio, B. Kégl: Algorithms for Hyper-Parameter Optimization. NeurIPS 2011.

    Args:
        dims: the coordinates; one with choices becomes a category.
        seed: of the sampler's own generator.
        budget: not used.
        startup: points before the estimator starts, the default merge and then random ones.
        multivariate: model all coordinates together, not each alone.

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
    ) -> None:
        from optuna.samplers import TPESampler  # here, because the import is slow

        startup, multivariate = whole("startup", startup, least=1), flag("multivariate", multivariate)
        with quiet():
            sampler = TPESampler(
                seed=seed, n_startup_trials=startup, multivariate=multivariate, constant_liar=False
            )
        # The estimator only ranks scores, so that minus infinity may stay what it is.
        super().__init__(dims, sampler)
