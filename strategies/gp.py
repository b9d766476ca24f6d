"""Bayesian optimization with the Gaussian process of Optuna."""

from __future__ import annotations

from collections.abc import Sequence

from searchmerge.strategies._options import whole
from searchmerge.strategies._optuna import Sampled, quiet
from searchmerge.types import Dim


class GP(Sampled):
    """Optuna's Gaussian process with expected improvement, one point at a time.

    J. Snoek, H. Larochelle, R. P. Adams: Practical Bayesian Optimization of Machine Learning Algorithms.
    NeurIPS 2012; what is maximised is the logarithm of the expected improvement (S. Ament et al.: Unexpected
    Improvements to Expected Improvement for Bayesian Optimization. NeurIPS 2023).

    Args:
        dims: the coordinates; one with choices becomes a category.
        seed: of the sampler's own generators.
        budget: not used.
        startup: points before the process starts, the default merge and then random ones.

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
    ) -> None:
        from optuna.samplers import GPSampler  # here, because the import is slow

        startup = whole("startup", startup, least=1)
        with quiet():
            sampler = GPSampler(seed=seed, n_startup_trials=startup)
        # Each fit takes minus infinity for the worst finite score so far.
        super().__init__(dims, sampler)
