"""Tasks and metrics: the live model on the dev set; it knows nothing of merging."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from searchmerge.objective import racing
from searchmerge.objective.aggregate import aggregate, slopes
from searchmerge.objective.asking import Asking, Models, Round
from searchmerge.objective.batching import Batches
from searchmerge.objective.difficulty import groups
from searchmerge.objective.metrics import METRICS, Metric, Values
from searchmerge.objective.promise import Promise
from searchmerge.objective.task import Partial, Task
from searchmerge.types import Evaluation, Lost, Outcomes, Race

__all__ = ["METRICS", "Metric", "Objective", "Split"]

Split: TypeAlias = Literal["dev", "test", "ood"]
"""Which examples: those that choose, those that judge, and those that judge from other domains."""


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
        asking: puts them to models.
        fingerprint: SHA-256 of all that a score depends on, the models apart: labelled token sequences, their
            batches, weights, metrics and precision. Outcomes may be reused where it is the same.
        forwarded: tokens, padding included, that went through a model so far where there was a floor or a
            race.

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
        self.aggregate = aggregate(combine, self.tasks, owners or {})
        self._combine, self._slopes = combine, slopes(combine, self.tasks, owners or {})
        self.forwarded = 0
        self.asking = Asking(self.tasks, precision, device)
        self._promise = Promise(self.tasks)
        widths = [_widths(task.batches) for task in self.tasks]
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
        outcomes = self._outcomes(self._answers(models))
        self._promise.learn(outcomes)
        return self.score_of(outcomes, penalty)

    def _answers(self, models: Models, rounds: Sequence[Round] | None = None) -> dict[str, list[Tensor]]:
        """The answers to every batch by task, or to those of some rounds."""
        answers: dict[str, list[Tensor]] = {}
        with self.asking.of(models, self.asking.rounds if rounds is None else rounds) as coming:
            for asked, given in coming:
                for task in asked.tasks:
                    answers.setdefault(task.name, []).append(given[task.head])
        return answers

    def _outcomes(self, answers: Mapping[str, Sequence[Tensor]]) -> dict[str, Outcomes]:
        return {task.name: task.outcomes(answers[task.name]) for task in self.tasks}

    def above(self, models: Models, floor: float, penalty: float = 0.0) -> Evaluation | None:
        """Evaluate the live models, unless their score does not exceed the floor: then None.

        The forward passes end as soon as the floor could not be exceeded any more even if every example left
        were right. What exceeds it has the score that a call without a floor gives.

        Raises:
            FloatingPointError, UserError: as for a call.
        """
        if floor == -math.inf:
            return self(models, penalty)
        rounds = self._promise.rounds()
        outcomes = self._until(models, rounds, lambda seen: self._bound(seen) - penalty <= floor)
        return None if outcomes is None else self.score_of(outcomes, penalty)

    def raced(
        self, models: Models, race: Race, rival: Evaluation, floor: float = -math.inf, penalty: float = 0.0
    ) -> Evaluation | Lost | None:
        """As :meth:`above`, and the forward passes end too where the models lose a race.

        The batches come in an order that the race alone decides, so what is stopped depends on nothing that
        was evaluated before but the rival.

        Args:
            models: by head.
            race: the test, its level and the seed of the order.
            rival: what to race against, with its outcomes.
            floor: as of :meth:`above`.
            penalty: what is taken off the score.

        Raises:
            FloatingPointError: as for a call.
            UserError: as for a call, or the score is no mean over the examples.
        """
        # By how much the penalties differ: that of the rival is what its score lacks.
        handicap = penalty - (self.score_of(rival.outcomes).score - rival.score)
        right = {task.name: task.gold for task in self.tasks}
        heat = racing.Heat(race, self._values(rival.outcomes), self._values(right), handicap)

        def stop(partial: Mapping[str, Partial]) -> bool:
            if floor > -math.inf and self._bound(partial) - penalty <= floor:
                return True
            values = self._values({name: each.outcomes for name, each in partial.items()})
            return heat.lost(values, np.concatenate([partial[task.name].seen for task in self.tasks]))

        outcomes = self._until(models, racing.order(self.asking.rounds, race.seed), stop)
        if outcomes is None:
            return Lost() if heat.over else None
        return self.score_of(outcomes, penalty)

    def _until(
        self, models: Models, rounds: Iterable[Round], stop: Callable[[Mapping[str, Partial]], bool]
    ) -> dict[str, Outcomes] | None:
        """The outcomes of all tasks; None if ``stop``, asked after each round, says so before."""
        partial = {task.name: task.start() for task in self.tasks}
        with self.asking.of(models, rounds) as coming:
            for asked, answers in coming:
                for task in asked.tasks:
                    short = task.note(answers[task.head], asked.number, partial[task.name])
                    self._promise.note(task, asked.number, short)
                self.forwarded += asked.cost
                if stop(partial):
                    return None
        return {name: each.outcomes for name, each in partial.items()}

    def _values(self, outcomes: Mapping[str, Outcomes]) -> Values:
        """What each example's outcome is worth, one task after another: their mean is the score."""
        if self._slopes is None:
            raise racing.no_mean(f"aggregate: {self._combine}")
        total = sum(task.examples for task in self.tasks)
        values = [
            racing.valued(task.metric, task.name)(task.gold, outcomes[task.name])
            * (self._slopes[task.name] * total / task.examples)
            for task in self.tasks
        ]
        return np.concatenate(values)

    def ensemble(self, members: Iterable[Models]) -> Evaluation:
        """Evaluate the mean of several models' answers, of tasks that have such a thing: logits.

        Args:
            members: live models by head, one mapping a member; each is asked before the next one is made.

        Raises:
            FloatingPointError, UserError: as for a call.
        """
        sums: dict[str, list[Tensor]] = {}
        for models in members:
            for name, answers in self._answers(models).items():
                new = [each.float() for each in answers]
                old = sums.get(name)
                sums[name] = [one + other for one, other in zip(old, new, strict=True)] if old else new
        return self.score_of(self._outcomes(sums))

    @property
    def averages(self) -> bool:
        """Whether there are ensembles."""
        return all(task.averages for task in self.tasks)

    def difficulties(self, models: Models) -> dict[str, Sequence[int]]:
        """The examples of each task that has batches in groups by how hard they are for live models.

        The hardest are group 0; one group is all of a task to which the models' answers are not finite.
        """
        rounds = [each for each in self.asking.rounds if each.tasks[0].batches.batches]
        found: dict[str, Sequence[int]] = {}
        for name, answers in self._answers(models, rounds).items():
            task = next(task for task in self.tasks if task.name == name)
            try:
                found[name] = groups(task.difficulty(answers)).tolist()
            except FloatingPointError:
                found[name] = [0] * task.examples
        return found

    def _bound(self, partial: Mapping[str, Partial]) -> float:
        """The highest score there can still be."""
        bounds = {task.name: np.asarray(task.bound(partial[task.name])) for task in self.tasks}
        return float(self.aggregate(bounds))

    def score_of(self, outcomes: Mapping[str, Outcomes], penalty: float = 0.0) -> Evaluation:
        """Evaluate outcomes that were recorded: the same numbers as when they came from the models."""
        metrics = {task.name: task.value(outcomes[task.name]) for task in self.tasks}
        combined: Values = self.aggregate({name: np.asarray(value) for name, value in metrics.items()})
        return Evaluation(score=float(combined) - penalty, metrics=metrics, outcomes=dict(outcomes))


def _widths(batches: Batches) -> Any:
    """What a score's last digits depend on beside the texts: how the batches were made."""
    # How hard an example is may depend on the machine, and a run be gone on with on another one.
    return "by difficulty" if batches.grouped else [list(each["input_ids"].shape) for each in batches.batches]
