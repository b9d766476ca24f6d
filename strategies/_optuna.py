"""What the adapters of Optuna's samplers have in common."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from searchmerge.strategies._bins import bin_of, centre_of
from searchmerge.types import Candidate, Dim

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler


class Sampled:
    """A sampler of Optuna that maximises, one point at a time, the default merge first.

    Args:
        dims: the coordinates; one with choices becomes a category.
        sampler: with a seed of its own, so that it draws from no global generator.
    """

    def __init__(self, dims: Sequence[Dim], sampler: BaseSampler) -> None:
        import optuna  # here, because the import is slow

        self._dims = tuple(dims)
        self._distributions = {dim.name: _distribution(dim) for dim in dims}
        with quiet():
            self._study = optuna.create_study(sampler=sampler, direction="maximize")
            defaults = {d.name: d.default if d.choices is None else bin_of(d, d.default) for d in dims}
            self._study.enqueue_trial(defaults)
        self._trial: Trial | None = None

    def ask(self) -> Sequence[Candidate]:
        """Give the next point."""
        with quiet():
            self._trial = self._study.ask(self._distributions)
        return [Candidate(tuple(_coordinate(dim, self._trial.params[dim.name]) for dim in self._dims))]

    def tell(self, scores: Sequence[float]) -> None:
        """Take the point's score.

        Raises:
            ValueError: not exactly one score.
        """
        (score,) = scores
        assert self._trial is not None
        # Minus infinity stays what it is, the worst of all. Told as failed, the point would be ignored, and
        # its neighbourhood tried again.
        with quiet():
            self._study.tell(self._trial, float(score))


def _distribution(dim: Dim) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return FloatDistribution(0, 1) if dim.choices is None else CategoricalDistribution(range(dim.choices))


def _coordinate(dim: Dim, value: Any) -> float:
    return float(value) if dim.choices is None else centre_of(dim, value)


@contextmanager
def quiet() -> Iterator[None]:
    """Show neither Optuna's log lines nor its warnings inside the block."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
