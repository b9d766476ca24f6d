"""From the metrics of the tasks to one score, higher is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from searchmerge.objective.metrics import Values
from searchmerge.objective.task import Task
from searchmerge.types import UserError

Metrics = Mapping[str, Values]
"""The metric of each task by its name, all ``[...]``."""

Aggregate = Callable[[Metrics], Values]
"""To scores ``[...]``."""


def aggregate(word: str, tasks: Sequence[Task], owners: Mapping[str, float]) -> Aggregate:
    """Give the aggregate of that name.

    A metric that is better when lower counts with a minus.

    Args:
        word: ``mean``, weighted; ``worst``, the least of the tasks; ``relative``, the weighted mean of each
            task's metric over that of its own expert (Jin et al. 2023 report its drop below 1), of a metric
            that is better when lower the inverse; ``pareto``, the mean, beside which the search is told each
            task.
        tasks: all that the metrics are of.
        owners: the metric of each task's own expert, for ``relative``.

    Raises:
        UserError: an expert's metric that nothing can be divided by.
    """
    signed: Mapping[str, Callable[[Values, Task], Values]] = MappingProxyType(
        {
            "mean": lambda values, task: -values if task.metric.lower else values,
            "worst": lambda values, task: -values if task.metric.lower else values,
            "pareto": lambda values, task: -values if task.metric.lower else values,
            "relative": lambda values, task: _relative(values, owners[task.name], task),
        }
    )
    if word == "relative":
        for task in tasks:
            _divisible(task, owners)
    weights = [task.weight for task in tasks]

    def combined(metrics: Metrics) -> Values:
        scores = np.array([signed[word](np.asarray(metrics[task.name]), task) for task in tasks])
        found = scores.min(axis=0) if word == "worst" else np.average(scores, axis=0, weights=weights)
        return np.asarray(found, dtype=np.float64)

    return combined


def slopes(word: str, tasks: Sequence[Task], owners: Mapping[str, float]) -> dict[str, float] | None:
    """What the score rises by with each task's metric; None where it is no weighted sum of them.

    Arguments as of :func:`aggregate`.
    """
    lower = any(task.metric.lower for task in tasks)
    if word not in ("mean", "relative") or (word == "relative" and lower):
        return None
    total = sum(task.weight for task in tasks)
    own = owners if word == "relative" else {}
    return {
        task.name: (-1 if task.metric.lower else 1) * task.weight / total / own.get(task.name, 1.0)
        for task in tasks
    }


def _relative(values: Values, own: float, task: Task) -> Values:
    with np.errstate(divide="ignore"):
        return np.asarray(own / values if task.metric.lower else values / own)


def _divisible(task: Task, owners: Mapping[str, float]) -> None:
    own = owners.get(task.name)
    if own is None or not own > 0 or not np.isfinite(own):
        raise UserError(
            expected=f"a {task.metric.name} above 0 of the own expert of the task {task.name}",
            got=str(own),
            cure="take aggregate: mean, or another metric",
        )
