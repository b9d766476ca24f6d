"""The front of a run that kept its tasks apart: in rows and in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from searchmerge.pareto import front, signed
from searchmerge.report.run import Run
from searchmerge.report.table import number

Values = Mapping[str, float]
"""A metric a task, by the task's name."""

FEW = 12
"""Points that are shown without being asked for."""


@dataclass(frozen=True)
class Front:
    """What was found, in values on dev but for ``points``.

    Args:
        tasks: their names.
        lower: those whose metric is better when lower.
        points: as ``result.json`` has them, those with the highest weighted mean on dev first.
        winner: number of the trial that was exported.
        others: the other trials that have a score, repeats left out.
        experts: each expert alone, by its name.
        average: the plain average; None where it was not judged.
        volume: as ``result.json`` has it, None where it was not measured.
    """

    tasks: tuple[str, ...]
    lower: frozenset[str]
    points: tuple[Mapping[str, Any], ...]
    winner: int
    others: tuple[Values, ...]
    experts: Mapping[str, Values]
    average: Values | None
    volume: Mapping[str, Any] | None

    @property
    def tested(self) -> bool:
        """Whether any point was judged on test."""
        return any(point["test"] for point in self.points)

    @property
    def few(self) -> bool:
        """Whether the table of the points is short."""
        return len(self.points) <= FEW

    def spoken(self, task: str) -> str:
        """The task's name, an arrow beside it where lower is better."""
        return f"{task} ↓" if task in self.lower else task

    @property
    def said(self) -> str:
        """What there is, and how good."""
        return " ".join(_said(self))


def found(run: Run) -> Front | None:
    """The front of a run; None where it has not ended or its tasks were not kept apart."""
    result = run.result
    if not result or not result.get("front"):
        return None
    scores = {trial.number: trial for trial in run.trials if trial.evaluation}
    on_front = {point["trial"] for point in result["front"]}
    points = sorted(result["front"], key=lambda point: (-scores[point["trial"]].score, point["trial"]))
    alone = {name: _dev(scores) for name, scores in result["baselines"].items()}
    return Front(
        tasks=tuple(result["tasks"]),
        lower=frozenset(result["lower"]),
        points=tuple(points),
        winner=result["best"]["trial"],
        others=tuple(
            trial.evaluation.metrics
            for trial in scores.values()
            if trial.evaluation and trial.number not in on_front and trial.repeats is None
        ),
        experts={
            name.removeprefix("expert "): values
            for name, values in alone.items()
            if name.startswith("expert ")
        },
        average=alone.get("average"),
        volume=result.get("hypervolume"),
    )


def _dev(scores: Mapping[str, Any]) -> Values:
    return {task: standing["value"] for task, standing in scores["dev"]["tasks"].items()}


def _said(found: Front) -> Iterator[str]:
    count = len(found.points)
    are = "is" if count == 1 else "are"
    yield f"The search kept the tasks apart. On dev, {count} of its merges {are} on the front:"
    yield "no other is as good at every task and better at one."
    yield f"The winner of this page, trial {found.winner}, is the one with the highest weighted mean."
    if found.average is not None:
        rivals = [found.average, *(point["dev"] for point in found.points)]
        places = front([signed(values, found.tasks, found.lower) for values in rivals])
        yield "The plain average is beaten by one of them." * (0 not in places)
    if found.volume and found.volume["front"] is not None:
        least = ", ".join(f"{task} {number(found.volume['reference'][task])}" for task in found.tasks)
        average = found.volume["average"]
        beside = f", the plain average alone {average:.3g}" if average is not None else ""
        yield (
            f"Above what the worst expert reaches at each task ({least}) the front holds a volume of "
            f"{found.volume['front']:.3g}{beside}."
        )
