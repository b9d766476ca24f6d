"""How far a score could be off because the examples are a sample: percentile bootstrap intervals.

Efron (1979), "Bootstrap methods: another look at the jackknife". Examples are drawn again within each task. A
metric depends only on how often each combination of truth and prediction occurs, and in a resample these
counts are multinomial with the observed frequencies: so the counts are drawn, not the examples, which is the
same distribution at a fraction of the work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from searchmerge.objective.metrics import Confusion, Values
from searchmerge.types import Outcomes

if TYPE_CHECKING:
    from searchmerge.objective import Objective
    from searchmerge.objective.classification import Classification

_ENTRIES = 2**22
"""Entries of the confusion matrices that are held at once."""


class Interval(NamedTuple):
    """The range in which a score lies with the confidence that was asked for."""

    low: float
    high: float


class Gain(NamedTuple):
    """By how much one model scores above another: as observed, and the interval of that difference."""

    difference: float
    low: float
    high: float


def interval(
    objective: Objective,
    *outcomes: Mapping[str, Outcomes],
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Give the interval of the aggregated score of recorded outcomes.

    Args:
        objective: what the outcomes were recorded with.
        outcomes: the outcome of each example, by the task's name; of several models the scores' mean counts.
        seed: of the resampling.
        resamples: how often the examples are drawn again.
        level: the confidence, in ``(0, 1)``.
    """
    metrics = _mean(_resampled(objective, outcomes, resamples, seed))
    return _percentiles(objective.aggregate(metrics), level)


def task_intervals(
    objective: Objective,
    *outcomes: Mapping[str, Outcomes],
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Give the interval of each task's metric, by the task's name; arguments as :func:`interval`."""
    metrics = _mean(_resampled(objective, outcomes, resamples, seed))
    return {name: _percentiles(values, level) for name, values in metrics.items()}


def gain(
    objective: Objective,
    ours: Mapping[str, Outcomes],
    *theirs: Mapping[str, Outcomes],
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> Gain:
    """Compare two models on the same examples: the score of ``ours`` minus (the mean of) that of ``theirs``.

    The resampling is paired (both are scored on the same resample), so what makes examples hard for both
    cancels out. Where the interval holds 0, the gain is within noise. Arguments as :func:`interval`.
    """
    high, *low = _resampled(objective, [ours, *theirs], resamples, seed)
    differences = objective.aggregate(high) - objective.aggregate(_mean(low))
    scores = [objective.score_of(each).score for each in theirs]
    observed = objective.score_of(ours).score - sum(scores) / len(scores)
    return Gain(observed, *_percentiles(differences, level))


def sag(
    objective: Objective,
    between: Mapping[str, Outcomes],
    ends: tuple[Mapping[str, Outcomes], Mapping[str, Outcomes]],
    t: float,
    *,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
) -> Gain:
    """By how much a model scores below the straight line between two others.

    Args:
        objective: what the outcomes were recorded with.
        between: the model's outcomes.
        ends: those of the other two.
        t: where it stands on the line, 0 at the first end and 1 at the second.
        seed: as for :func:`interval`, like the rest.
        resamples: how often the examples are drawn again, for all three alike.
        level: the confidence.
    """
    first, last = ends
    drawn = _resampled(objective, [first, between, last], resamples, seed)
    at = [objective.aggregate(metrics) for metrics in drawn]
    low, middle, high = (objective.score_of(model).score for model in (first, between, last))
    observed = (1 - t) * low + t * high - middle
    return Gain(observed, *_percentiles((1 - t) * at[0] + t * at[2] - at[1], level))


def _mean(models: Sequence[Mapping[str, Values]]) -> dict[str, Values]:
    return {task: np.mean([metrics[task] for metrics in models], axis=0) for task in models[0]}


def _percentiles(values: Values, level: float) -> Interval:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _resampled(
    objective: Objective, models: Sequence[Mapping[str, Outcomes]], resamples: int, seed: int
) -> list[dict[str, Values]]:
    """Give for each model the metric ``[resamples]`` of each task, all models on the same resamples."""
    rng = np.random.default_rng(seed)
    results: list[dict[str, Values]] = [{} for _ in models]
    for task in objective.tasks:
        values = _resampled_task(task, [outcomes[task.name] for outcomes in models], resamples, rng)
        for result, value in zip(results, values, strict=True):
            result[task.name] = value
    return results


def _resampled_task(
    task: Classification, outcomes: list[Outcomes], resamples: int, rng: np.random.Generator
) -> list[Values]:
    # The cell of the confusion matrix that each example falls in, one row a model.
    cells = np.stack([task.gold * task.n_labels + outcome for outcome in outcomes])
    joint, counts = np.unique(cells, axis=1, return_counts=True)
    drawn = rng.multinomial(counts.sum(), counts / counts.sum(), size=resamples)  # [resamples, joint]
    blocks = np.array_split(drawn, max(1, min(resamples, resamples * task.n_labels**2 // _ENTRIES)))
    return [
        np.concatenate([task.metric.of(_confusions(block, of_model, task.n_labels)) for block in blocks])
        for of_model in joint
    ]


def _confusions(counts: npt.NDArray[np.int64], cells: npt.NDArray[np.int64], n_labels: int) -> Confusion:
    """Add up counts ``[resamples, joint]`` that fall in the same cell ``[joint]`` of a model's matrix."""
    order = np.argsort(cells, kind="stable")
    found, starts = np.unique(cells[order], return_index=True)
    matrices = np.zeros((len(counts), n_labels**2), dtype=np.int64)
    matrices[:, found] = np.add.reduceat(counts[:, order], starts, axis=1)
    return matrices.reshape(-1, n_labels, n_labels)
