"""Scores with their intervals: what the report says of the winner and of every baseline."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypedDict

from searchmerge.baselines import Rival, baselines
from searchmerge.bench import Bench
from searchmerge.objective import Objective, Split
from searchmerge.objective.bootstrap import gain, interval, task_intervals
from searchmerge.types import Evaluation, Recipe, Trial

EVERY = 10.0
"""Seconds between two words on how far the judging is."""


class TaskStanding(TypedDict):
    """A task's metric and its 95% bootstrap interval."""

    value: float
    low: float
    high: float


class Standing(TypedDict):
    """A model's score on one split, its 95% bootstrap interval, and those of each task."""

    score: float
    low: float
    high: float
    tasks: dict[str, TaskStanding]


class Gain(TypedDict):
    """By how much one model beats another on the same examples, and the 95% interval of that."""

    mean: float
    low: float
    high: float


def standing(objective: Objective, *evaluations: Evaluation) -> Standing:
    """Score, metrics and intervals of an evaluation, or of the mean of several."""
    outcomes = [evaluation.outcomes for evaluation in evaluations]
    low, high = interval(objective, *outcomes)
    bounds = task_intervals(objective, *outcomes)
    count = len(evaluations)
    tasks: dict[str, TaskStanding] = {
        task: {
            "value": sum(evaluation.metrics[task] for evaluation in evaluations) / count,
            "low": bounds[task][0],
            "high": bounds[task][1],
        }
        for task in evaluations[0].metrics
    }
    score = sum(evaluation.score for evaluation in evaluations) / count
    return {"score": score, "low": low, "high": high, "tasks": tasks}


def gained(objective: Objective, winner: Evaluation, *others: Evaluation) -> Gain:
    """The paired gain of ``winner`` over another model, or over the mean of several."""
    mean, low, high = gain(objective, winner.outcomes, *(other.outcomes for other in others))
    return {"mean": mean, "low": low, "high": high}


def judge(bench: Bench, best: Trial | None = None) -> dict[str, Any]:
    """Standings of each baseline and, after a search, of the winner and its gain over them.

    The test split, and tasks out of domain, are read here and not before; nothing is chosen by them.
    """
    dev = bench.objective("dev")
    # Whatever is chosen among them is chosen here, on dev.
    rivals = list(_said(bench, "choosing baselines on dev", baselines(bench)))
    found = _judged(bench, "dev", rivals)
    result: dict[str, Any] = {
        "baselines": {name: {"dev": standing(dev, *each), "test": None} for name, each in found.items()},
        "tasks": [task.name for task in dev.tasks],
        "lower": [task.name for task in dev.tasks if task.metric.lower],
    }
    if best is not None and best.evaluation is not None:
        result["best"] = {"trial": best.number, "dev": standing(dev, best.evaluation), "test": None}
        result["gain"] = None
    recipe = best.recipe if best else None
    if bench.has_test:
        _judge_on(bench, "test", recipe, rivals, result)
        if best is not None and "average" in result["baselines"]:
            gain = result["baselines"]["average"]["gain"]
            result["gain"] = {"over": "average", "test": gain, "seen": gain["low"] > 0}
    if bench.has_ood:
        _judge_on(bench, "ood", recipe, rivals, result)
    return result


def _judged(bench: Bench, split: Split, rivals: Sequence[Rival]) -> dict[str, Sequence[Evaluation]]:
    doing = f"judging {len(rivals)} baselines on {split}"
    return {rival.name: rival.on(split) for rival in _said(bench, doing, rivals)}


def _said(bench: Bench, doing: str, rivals: Iterable[Rival]) -> Iterator[Rival]:
    """Say now and then how far that is."""
    said = time.monotonic()
    for number, rival in enumerate(rivals, start=1):
        if time.monotonic() - said > EVERY:
            bench.say(f"{doing}: {rival.name}, number {number}")
            said = time.monotonic()
        yield rival


def _judge_on(
    bench: Bench, split: Split, winner: Recipe | None, rivals: Sequence[Rival], result: dict[str, Any]
) -> None:
    objective = bench.objective(split)
    found = _judged(bench, split, rivals)
    for name, evaluations in found.items():
        result["baselines"][name][split] = standing(objective, *evaluations)
    if winner is None:
        return
    ours = bench.evaluate(winner, split)
    result["best"][split] = standing(objective, ours)
    if split == "test":
        for name, evaluations in found.items():
            result["baselines"][name]["gain"] = gained(objective, ours, *evaluations)
