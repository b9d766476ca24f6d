"""What the adapters of Optuna's samplers have in common."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from searchmerge.strategies._bins import bin_of, centre_of
from searchmerge.types import Candidate, Dim, Race

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler


class Sampled:
    """A sampler of Optuna that maximises, one point at a time, the default merge first.

    Args:
        dims: the coordinates; one with choices becomes a category.
        sampler: with a seed of its own, so that it draws from no global generator.
    """

    def __init__(self, dims: Sequence[Dim], sampler: BaseSampler) -> None:
        self._dims, self._sampler = tuple(dims), sampler
        self._distributions = {dim.name: _distribution(dim) for dim in dims}
        self._defaults = {d.name: d.default if d.choices is None else bin_of(d, d.default) for d in dims}
        self._study: Study | None = None
        self._trial: Trial | None = None
        self._asked = 0

    def ask(self) -> Sequence[Candidate]:
        """Give the next point."""
        params = self._defaults
        if self._study is not None:
            with quiet():
                self._trial = self._study.ask(self._distributions)
            params = self._trial.params
        self._asked += 1
        genotype = tuple(_coordinate(dim, params[dim.name]) for dim in self._dims)
        return [Candidate(genotype, race=self._race())]

    def tell(self, scores: Sequence[float | tuple[float, ...]]) -> None:
        """Take the point's score, or its values, as many as the first point has.

        Raises:
            ValueError: not exactly one score, or another number of values.
        """
        from optuna.trial import TrialState

        (score,) = scores
        values = score if isinstance(score, tuple) else (float(score),)
        with quiet():
            if self._study is None or self._trial is None:
                self._study, self._trial = self._begun(len(values))
            # Minus infinity stays what it is, the worst of all. Told as failed, the point would be ignored,
            # and its neighbourhood tried again.
            self._study.tell(self._trial, values, state=TrialState.COMPLETE)

    def _race(self) -> Race | None:
        """The race of the point that is asked for, which is trial ``_asked``; None for none."""
        return None

    def _begun(self, objectives: int) -> tuple[Study, Trial]:
        """Make the study, which has to know how many objectives there are, and ask it for the default."""
        import optuna  # here, because the import is slow

        study = optuna.create_study(sampler=self._sampler, directions=["maximize"] * objectives)
        study.enqueue_trial(self._defaults)
        return study, study.ask(self._distributions)


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
