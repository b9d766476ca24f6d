"""The tree-structured Parzen estimator of Optuna."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from searchmerge.strategies._bins import bin_of, centre_of
from searchmerge.strategies._options import flag, whole
from searchmerge.types import Candidate, Dim

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.samplers import TPESampler


class TPE:
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

        self._dims = tuple(dims)
        self._distributions = {dim.name: _distribution(dim) for dim in dims}
        sampler = TPESampler(
            seed=seed,
            n_startup_trials=whole("startup", startup, least=1),
            multivariate=flag("multivariate", multivariate),
            constant_liar=False,
        )
        self._study = _quiet_study(sampler)
        defaults = {d.name: d.default if d.choices is None else bin_of(d, d.default) for d in dims}
        self._study.enqueue_trial(defaults)
        self._trial: Trial | None = None

    def ask(self) -> Sequence[Candidate]:
        """Give the next point."""
        self._trial = self._study.ask(self._distributions)
        values = [(dim, self._trial.params[dim.name]) for dim in self._dims]
        return [Candidate(tuple(v if dim.choices is None else centre_of(dim, v) for dim, v in values))]

    def tell(self, scores: Sequence[float]) -> None:
        """Take the point's score.

        Raises:
            ValueError: not exactly one score.
        """
        (score,) = scores
        assert self._trial is not None
        # TPE uses scores only to rank them, so minus infinity may stay what it is: the worst. Told as
        # failed, the point would be ignored, and its neighbourhood tried again.
        self._study.tell(self._trial, float(score))


def _distribution(dim: Dim) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return FloatDistribution(0, 1) if dim.choices is None else CategoricalDistribution(range(dim.choices))


def _quiet_study(sampler: TPESampler) -> Study:
    """Make a study in memory without the line that Optuna logs for it."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(sampler=sampler, direction="maximize")
    finally:
        optuna.logging.set_verbosity(verbosity)
