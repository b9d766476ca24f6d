"""How far a score could be off because the examples are a sample: percentile bootstrap intervals.

Efron (1979), "Bootstrap methods: another look at the jackknife". Examples are drawn again within each task. A
metric depends only on how often each combination of truth and outcomes occurs, and in a resample these
counts are multinomial with the observed frequencies: so the counts are drawn, not the examples, which is the
same distribution at a fraction of the work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from searchmerge.objective.metrics import Array, Values
from searchmerge.types import Outcomes

if TYPE_CHECKING:
    from searchmerge.objective import Objective
    from searchmerge.objective.task import Task


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


def unseen(
    objective: Objective, outcomes: Mapping[str, Outcomes], *, seed: int = 0, level: float = 0.95
) -> float:
    """The difference of two scores that is within noise: half the width of a score's interval.

    Args:
        objective: what the outcomes were recorded with.
        outcomes: of one model.
        seed: of the resampling.
        level: the confidence.
    """
    low, high = interval(objective, outcomes, seed=seed, level=level)
    return (high - low) / 2


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
    task: Task, outcomes: list[Outcomes], resamples: int, rng: np.random.Generator
) -> list[Values]:
    gold = task.gold if len(task.gold) else outcomes[0]  # a function of the user's has no truth
    examples, counts = _alike([gold, *outcomes])
    drawn = rng.multinomial(counts.sum(), counts / counts.sum(), size=resamples)  # [resamples, alike]
    return [task.metric.of(gold[examples], of_model[examples], drawn) for of_model in outcomes]


def _alike(arrays: Sequence[Array]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """One of each group of examples equal in all arrays ``[examples, ...]``, and the group's size."""
    rows = [np.ascontiguousarray(each).reshape(len(each), -1).view(np.uint8) for each in arrays]
    content = np.concatenate(rows, axis=1)
    keys = content.view(np.dtype((np.void, content.shape[1])))[:, 0]
    _, examples, counts = np.unique(keys, return_index=True, return_counts=True)
    return examples, counts
