"""The tasks' batches put to live models, one forward pass for all tasks that ask about the same texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

import torch
from torch import Tensor, nn

from searchmerge.objective.ahead import Ahead, lanes_for
from searchmerge.objective.precision import computing
from searchmerge.objective.sharing import one_body
from searchmerge.objective.task import Task

Models: TypeAlias = Mapping[str, nn.Module]
"""The live models by the head that they have."""

Answers: TypeAlias = Mapping[str, Tensor]
"""The answers to one batch, ``[examples, ...]``, by the head that gave them."""


@dataclass(frozen=True)
class Round:
    """A batch.

    Args:
        tasks: those that ask about it.
        number: the batch's, in each of these tasks.
    """

    tasks: Sequence[Task]
    number: int

    @property
    def cost(self) -> int:
        """What it costs, in tokens."""
        return self.tasks[0].costs[self.number]

    def answers(self, models: Models) -> Answers:
        """Ask each head once."""
        task, heads = self.tasks[0], dict.fromkeys(task.head for task in self.tasks)
        return {head: task.answer(models[head], task.asked[self.number]) for head in heads}


class Asking:
    """Asks live models.

    Args:
        tasks: what is asked.
        precision: the float type of the forward passes.
        device: where the models and the batches are.

    Attributes:
        rounds: all there is to ask.
    """

    def __init__(self, tasks: Sequence[Task], precision: torch.dtype, device: torch.device) -> None:
        self._tasks, self._precision, self._device = tasks, precision, device
        together = [tuple(each) for _, each in groupby(sorted(tasks, key=_inputs), key=_inputs)]
        self.rounds = [Round(each, number) for each in together for number in range(len(each[0].asked))]

    @contextmanager
    def of(self, models: Models, rounds: Iterable[Round]) -> Iterator[Iterator[tuple[Round, Answers]]]:
        """Within the block, the rounds come in turn, each with the models' answers.

        Raises:
            UserError: a model and a task do not fit together.
        """
        for task in self._tasks:
            task.check(models[task.head])
            models[task.head].eval()
        sharing = {
            task.head: models[task.head] for each in self.rounds if len(each.tasks) > 1 for task in each.tasks
        }
        with (
            computing(models.values(), self._precision, self._device),
            one_body(list(sharing.values())),
            Ahead(lambda each: each.answers(models), rounds, self._device.type, self.lanes(models)) as coming,
        ):
            yield coming

    def lanes(self, models: Models) -> int:
        """How many rounds the models are asked at once: more than one on a CPU, where that cannot do harm."""
        apart = all(task.side_by_side for each in self.rounds for task in each.tasks)
        known = all(type(model).__module__.startswith("transformers.") for model in models.values())
        return lanes_for(len(self.rounds)) if self._device.type == "cpu" and apart and known else 1


def _inputs(task: Task) -> str:
    return task.inputs
