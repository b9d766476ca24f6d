"""Tasks and metrics: the live model on the dev set; it knows nothing of merging."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from searchmerge.objective.aggregate import aggregate
from searchmerge.objective.metrics import METRICS, Metric, Values
from searchmerge.objective.precision import computing
from searchmerge.objective.sharing import one_body
from searchmerge.objective.task import Partial, Task
from searchmerge.types import Evaluation, Outcomes

__all__ = ["METRICS", "Metric", "Objective", "Split"]

Split: TypeAlias = Literal["dev", "test", "ood"]
"""Which examples: those that choose, those that judge, and those that judge from other domains."""

Models: TypeAlias = Mapping[str, nn.Module]
"""The live models by the head that they have."""

_GOLDEN = (math.sqrt(5) - 1) / 2
"""Multiples of it, but for whole numbers, are spread evenly however many there are."""


class Objective:
    """What merged models are judged by: called with them, it gives their evaluation.

    Args:
        tasks: the tasks, at least one.
        precision: the float type of the forward passes.
        device: where the models and the tasks' batches are.
        combine: how the tasks' metrics become one score: ``mean``, ``worst``, ``relative`` or ``pareto``.
        owners: the metric of each task's own expert, for ``relative``.

    Attributes:
        tasks: as given.
        fingerprint: SHA-256 of all that a score depends on, the models apart: labelled token sequences, their
            batches, weights, metrics and precision. Outcomes may be reused where it is the same.
        forwarded: batches that went through a model so far where there was a floor.

    Raises:
        UserError: as of :func:`searchmerge.objective.aggregate.aggregate`.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        precision: torch.dtype,
        device: torch.device,
        combine: str = "mean",
        owners: Mapping[str, float] | None = None,
    ) -> None:
        self.tasks = tuple(tasks)
        self._precision, self._device = precision, device
        self.aggregate = aggregate(combine, self.tasks, owners or {})
        self.forwarded = 0
        self._together = [list(tasks) for _, tasks in groupby(sorted(self.tasks, key=_asked), key=_asked)]
        # What the batches' answers have fallen short of so far; it decides their order and nothing else.
        self._harm = {task.name: [0.0] * len(task.costs) for task in self.tasks}
        widths = [[list(batch["input_ids"].shape) for batch in task.batches.batches] for task in self.tasks]
        content = [[task.digest for task in self.tasks], widths, str(precision)]
        content += [] if combine == "mean" else [combine, sorted((owners or {}).items())]
        self.fingerprint = hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def __call__(self, models: Models, penalty: float = 0.0) -> Evaluation:
        """Evaluate the live models, one a head.

        Args:
            models: by head.
            penalty: what is taken off the score.

        Raises:
            FloatingPointError: a model gives infinity or no number.
            UserError: a model and a task do not fit together.
        """
        with computing(models.values(), self._precision, self._device):
            return self.score_of(self._outcomes(models), penalty)

    def _outcomes(self, models: Models) -> dict[str, Outcomes]:
        outcomes: dict[str, Outcomes] = {}
        for tasks in self._together:
            heads = {task.head: models[task.head] for task in tasks}
            for task in tasks:
                task.check(models[task.head])
            with one_body(list(heads.values())):
                answers = dict(zip(heads, tasks[0].answers(*heads.values()), strict=True))
            outcomes |= {task.name: task.outcomes(answers[task.head]) for task in tasks}
        return {task.name: outcomes[task.name] for task in self.tasks}

    def above(self, models: Models, floor: float, penalty: float = 0.0) -> Evaluation | None:
        """Evaluate the live models, unless their score does not exceed the floor: then None.

        The forward passes end as soon as the floor could not be exceeded any more even if every example left
        were right. What exceeds it has the score that a call without a floor gives.

        Raises:
            FloatingPointError, UserError: as for a call.
        """
        if floor == -math.inf:
            return self(models, penalty)
        with computing(models.values(), self._precision, self._device):
            return self._above(models, floor, penalty)

    def seconds(self, models: Models, limit: float) -> float:
        """Estimate how long a call takes from some of the batches, spread over all lengths.

        What the answers are does not count, so the weights may be any, but where tokens are written.

        Args:
            models: live models by head.
            limit: seconds after which no further batch is answered; one of each task is in any case.
        """
        return sum(self._seconds(tasks, models, limit / len(self._together)) for tasks in self._together)

    def _seconds(self, tasks: Sequence[Task], models: Models, limit: float) -> float:
        """The same of tasks that ask about the same texts."""
        task, heads = tasks[0], list(dict.fromkeys(models[each.head] for each in tasks))
        costs = task.costs
        first, *others = sorted(range(len(costs)), key=lambda number: number * _GOLDEN % 1)
        with computing(heads, self._precision, self._device):
            warming = self._timed(task, heads, first)
        if warming > limit:
            return warming * sum(costs) / costs[first]
        with computing(heads, self._precision, self._device):
            # The weights are converted at the first batch, in every evaluation.
            cold, taken = (self._timed(task, heads, first) for _ in range(2))
            conversion, tokens = max(cold - taken, 0.0), costs[first]
            for number in others:
                if taken > limit:
                    break
                taken, tokens = taken + self._timed(task, heads, number), tokens + costs[number]
        return conversion + taken * sum(costs) / tokens

    @staticmethod
    def _timed(task: Task, models: Sequence[nn.Module], number: int) -> float:
        start = time.perf_counter()
        with one_body(models):
            for model in models:
                model.eval()
                answers = task.answer(model, task.batches.batches[number])
        answers.sum().item()  # waits for the device
        return time.perf_counter() - start

    def ensemble(self, members: Iterable[Models]) -> Evaluation:
        """Evaluate the mean of several models' answers, of tasks that have such a thing: logits.

        Args:
            members: live models by head, one mapping a member; each is asked before the next one is made.

        Raises:
            FloatingPointError, UserError: as for a call.
        """
        sums: dict[str, list[Tensor]] = {}
        for models in members:
            with computing(models.values(), self._precision, self._device):
                for task in self.tasks:
                    task.check(models[task.head])
                    answers = [each.float() for each in task.answers(models[task.head])[0]]
                    known = sums.get(task.name)
                    sums[task.name] = (
                        [one + other for one, other in zip(known, answers, strict=True)] if known else answers
                    )
        return self.score_of({task.name: task.outcomes(sums[task.name]) for task in self.tasks})

    @property
    def averages(self) -> bool:
        """Whether there are ensembles."""
        return all(task.averages for task in self.tasks)

    def _above(self, models: Models, floor: float, penalty: float) -> Evaluation | None:
        partial = {task.name: task.start() for task in self.tasks}
        for number, task in self._order():
            self._harm[task.name][number] += task.step(models[task.head], number, partial[task.name])
            self.forwarded += 1
            if self._bound(partial) - penalty <= floor:
                return None
        return self.score_of({name: each.outcomes for name, each in partial.items()}, penalty)

    def _order(self) -> list[tuple[int, Task]]:
        """All batches, those first in which errors have cost most a token: they are soonest to decide."""
        return sorted(
            ((number, task) for task in self.tasks for number in range(len(task.costs))),
            key=lambda place: (-self._cost(*place), place[0]),
        )

    def _cost(self, number: int, task: Task) -> float:
        return task.weight / task.examples * self._harm[task.name][number] / task.costs[number]

    def _bound(self, partial: Mapping[str, Partial]) -> float:
        """The highest score there can still be."""
        bounds = {task.name: np.asarray(task.bound(partial[task.name])) for task in self.tasks}
        return float(self.aggregate(bounds))

    def score_of(self, outcomes: Mapping[str, Outcomes], penalty: float = 0.0) -> Evaluation:
        """Evaluate outcomes that were recorded: the same numbers as when they came from the models."""
        metrics = {task.name: task.value(outcomes[task.name]) for task in self.tasks}
        combined: Values = self.aggregate({name: np.asarray(value) for name, value in metrics.items()})
        return Evaluation(score=float(combined) - penalty, metrics=metrics, outcomes=dict(outcomes))


def _asked(task: Task) -> str:
    return task.inputs
