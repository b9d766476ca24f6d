"""Which batch to read next, where a candidate may be stopped: the one that is expected to decide soonest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from searchmerge.objective.asking import Round
from searchmerge.objective.task import Task, shortfalls
from searchmerge.types import Outcomes

_UNKNOWN = 0.25
"""What an example of a batch that nobody has read yet is expected to fall short."""


class Promise:
    """Learns from every candidate what each batch takes off a score.

    A batch is expected to take off what it did on average so far, times how much more, or less, than was
    expected this candidate has lost in the batches of the same task that it has read: one that has lost a
    job is stopped by the texts of that job. All this decides the order of the batches and nothing else.

    Args:
        tasks: of the objective.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = tasks
        self._rounds = [Round((task,), number) for task in tasks for number in range(len(task.costs))]
        sizes = [size for task in tasks for size in task.batches.sizes or (task.examples,)]
        self._of = np.repeat(np.arange(len(tasks)), [len(task.costs) for task in tasks])
        a_shortfall = np.array([task.weight / task.examples for task in tasks])
        self._worth = a_shortfall[self._of] / [each.cost for each in self._rounds]
        self._lost, self._times = _UNKNOWN * np.array(sizes), np.ones(len(sizes))
        self._place = {(each.tasks[0].name, each.number): at for at, each in enumerate(self._rounds)}
        self._begin()

    def rounds(self) -> Iterator[Round]:
        """All batches of a new candidate, the next one chosen by what was noted of it until then."""
        self._begin()
        left = np.ones(len(self._rounds), dtype=bool)
        while left.any():
            value = self._expected * self._more_than_expected[self._of] * self._worth
            at = int(np.where(left, value, -1.0).argmax())
            left[at] = False
            yield self._rounds[at]

    def note(self, task: Task, number: int, lost: float) -> None:
        """Take what the candidate fell short in a batch of a task, in the task's own measure."""
        at = self._place[task.name, number]
        self._seen[:, self._of[at]] += lost, self._expected[at]
        self._learn(at, lost)

    def learn(self, outcomes: Mapping[str, Outcomes]) -> None:
        """Take the outcomes of a candidate that was read to the end, in any order."""
        for task in self._tasks:
            if len(task.costs) == 1:
                continue  # there is no order to learn; a function may give more outcomes than examples
            lost = shortfalls(task.gold, outcomes[task.name])
            for number in range(len(task.costs)):
                self._learn(self._place[task.name, number], float(lost[task.batches.examples(number)].sum()))

    def _begin(self) -> None:
        self._expected = self._lost / self._times
        self._seen = np.ones((2, len(self._tasks)))  # lost and expected; one more of each steadies the ratio

    @property
    def _more_than_expected(self) -> npt.NDArray[np.float64]:
        return np.asarray(self._seen[0] / self._seen[1])

    def _learn(self, at: int, lost: float) -> None:
        self._lost[at] += lost
        self._times[at] += 1
