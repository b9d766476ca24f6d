"""Tasks and metrics: the live model on the dev set; it knows nothing of merging."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from searchmerge import config
from searchmerge.objective.batching import BATCH_TOKENS
from searchmerge.objective.classification import Classification, load
from searchmerge.objective.metrics import METRICS, Metric, Values
from searchmerge.objective.precision import resolve
from searchmerge.types import MERGED, Evaluation, Outcomes, UserError

__all__ = ["METRICS", "Labels", "Metric", "Objective", "Split", "build"]

Split: TypeAlias = Literal["dev", "test", "ood"]
"""Which examples: those that choose, those that judge, and those that judge from other domains."""

Labels: TypeAlias = Mapping[str, Mapping[str, int]]
"""A head's name to its label2id; the head of a task that names none is ``MERGED``."""


class Objective:
    """What merged models are judged by: called with them, it gives their evaluation.

    Args:
        tasks: the tasks, at least one.
        precision: the float type of the forward passes.
        device: where the models and the tasks' batches are.

    Attributes:
        tasks: as given.
        fingerprint: SHA-256 of all that a score depends on, the models apart: labelled token sequences, their
            batches, weights, metrics and precision. Outcomes may be reused where it is the same.
        forwarded: batches that went through a model so far where there was a floor.
    """

    def __init__(
        self, tasks: Sequence[Classification], *, precision: torch.dtype, device: torch.device
    ) -> None:
        self.tasks = tuple(tasks)
        self._precision, self._device = precision, device
        self.forwarded = 0
        # Errors so far in each batch; they decide the order of the batches and nothing else.
        self._harm = {task.name: [0] * len(task.batches.batches) for task in self.tasks}
        widths = [[list(batch["input_ids"].shape) for batch in task.batches.batches] for task in self.tasks]
        content = json.dumps([[task.digest for task in self.tasks], widths, str(precision)])
        self.fingerprint = hashlib.sha256(content.encode()).hexdigest()

    def __call__(self, models: Mapping[str, nn.Module]) -> Evaluation:
        """Evaluate the live models, one a head.

        Raises:
            FloatingPointError: a model gives infinity or no number.
            UserError: a model and a task do not fit together.
        """
        with torch.inference_mode(), self._autocast():
            return self.score_of({task.name: task.predict(models[task.head]) for task in self.tasks})

    def above(self, models: Mapping[str, nn.Module], floor: float) -> Evaluation | None:
        """Evaluate the live models, unless their score does not exceed the floor: then None.

        The forward passes end as soon as the floor could not be exceeded any more even if every example left
        were right. What exceeds it has the score that a call without a floor gives.

        Raises:
            FloatingPointError, UserError: as for a call.
        """
        if floor == -math.inf:
            return self(models)
        with torch.inference_mode(), self._autocast():
            return self._above(models, floor)

    def ensemble(self, members: Iterable[Mapping[str, nn.Module]]) -> Evaluation:
        """Evaluate the mean of several models' logits.

        Args:
            members: live models by head, one mapping a member; each is asked before the next one is made.

        Raises:
            FloatingPointError, UserError: as for a call.
        """
        sums: dict[str, Tensor] = {}
        with torch.inference_mode(), self._autocast():
            for models in members:
                for task in self.tasks:
                    logits = task.logits(models[task.head]).float()
                    sums[task.name] = sums[task.name] + logits if task.name in sums else logits
        return self.score_of({task.name: task.largest(sums[task.name]) for task in self.tasks})

    def _autocast(self) -> torch.autocast:
        # One for all batches: within it, each weight is converted once.
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == torch.bfloat16)

    def _above(self, models: Mapping[str, nn.Module], floor: float) -> Evaluation | None:
        outcomes = {task.name: task.perfect() for task in self.tasks}
        left = {task.name: len(task.batches.batches) for task in self.tasks}
        for number, task in self._order():
            wrong = task.predict_batch(models[task.head], number, outcomes[task.name])
            self._harm[task.name][number] += wrong
            self.forwarded += 1
            left[task.name] -= 1
            if self._bound(outcomes, left) <= floor:
                return None
        return self.score_of(outcomes)

    def _order(self) -> list[tuple[int, Classification]]:
        """All batches, those first in which errors have cost most a token: they are soonest to decide."""
        return sorted(
            ((number, task) for task in self.tasks for number in range(len(task.batches.batches))),
            key=lambda place: (-self._cost(*place), place[0]),
        )

    def _cost(self, number: int, task: Classification) -> float:
        share = task.weight / task.gold.size
        return share * self._harm[task.name][number] / task.batches.batches[number]["input_ids"].numel()

    def _bound(self, outcomes: Mapping[str, Outcomes], left: Mapping[str, int]) -> float:
        """The highest score there can still be: what is not yet predicted stands in the outcomes as right."""
        metrics = {
            task.name: task.metric.of(task.confusion(outcomes[task.name]))
            if task.metric.monotone(task.n_labels) or not left[task.name]
            else np.asarray(task.metric.high)
            for task in self.tasks
        }
        return float(self.aggregate(metrics))

    def score_of(self, outcomes: Mapping[str, Outcomes]) -> Evaluation:
        """Evaluate outcomes that were recorded: the same numbers as when they came from the models."""
        metrics = {task.name: task.metric.of(task.confusion(outcomes[task.name])) for task in self.tasks}
        return Evaluation(
            score=float(self.aggregate(metrics)),
            metrics={name: float(value) for name, value in metrics.items()},
            outcomes=dict(outcomes),
        )

    def aggregate(self, metrics: Mapping[str, Values]) -> Values:
        """Give the weighted mean over the tasks: values ``[...]`` by the tasks' names to ``[...]``."""
        weights = [task.weight for task in self.tasks]
        mean = np.average([metrics[task.name] for task in self.tasks], axis=0, weights=weights)
        return np.asarray(mean, dtype=np.float64)


def build(
    section: config.Objective,
    split: Split,
    *,
    tokenizer: Any,
    labels: Labels,
    device: torch.device,
) -> Objective:
    """Read one split of every task that has a part in it, and nothing of the other splits.

    Tasks that are marked as out of domain make up the split ``ood``, by their test texts, and no other.

    Args:
        section: ``objective`` of the config.
        split: which split.
        tokenizer: the models' tokenizer, of transformers.
        labels: the labels of each head that a task names.
        device: where the models are.

    Raises:
        UserError: a task lacks the split or names a head that is not there; its data are at fault.
    """
    tasks = [
        load(
            task,
            _source(task, split),
            tokenizer=tokenizer,
            label2id=_label2id(task, labels),
            batch_tokens=section.batch_tokens or BATCH_TOKENS[device.type],
            device=device,
        )
        for task in section.tasks
        if task.ood == (split == "ood")
    ]
    if not tasks:
        raise UserError(
            expected="a task out of domain for the split ood",
            got=f"only {', '.join(task.name for task in section.tasks)}",
            cure="mark a task with ood: true, or take another split",
        )
    return Objective(tasks, precision=resolve(section.precision, device), device=device)


def _source(task: config.Task, split: Split) -> config.Source:
    source = task.dev if split == "dev" else task.test
    if source is None:
        raise UserError(
            expected=f"a {split} split of the task {task.name}", got="none", cure=f"add {split}: to the task"
        )
    return source


def _label2id(task: config.Task, labels: Labels) -> Mapping[str, int]:
    head = task.head or MERGED
    if head not in labels:
        raise UserError(
            expected=f"one of the heads {', '.join(labels)} for the task {task.name}",
            got=head,
            cure="correct head: in the task",
        )
    return labels[head]
