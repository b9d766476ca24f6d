"""Scores with their intervals: what the report says of the winner and of every baseline."""

from __future__ import annotations

from typing import Any, TypedDict

from searchmerge.baselines import baselines
from searchmerge.bench import Bench
from searchmerge.objective import Objective
from searchmerge.objective.bootstrap import gain, interval, task_intervals
from searchmerge.types import Evaluation, Recipe, Trial


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


def standing(objective: Objective, evaluation: Evaluation) -> Standing:
    """Score, metrics and intervals of an evaluation."""
    low, high = interval(objective, evaluation.outcomes)
    bounds = task_intervals(objective, evaluation.outcomes)
    tasks: dict[str, TaskStanding] = {
        task: {"value": value, "low": bounds[task][0], "high": bounds[task][1]}
        for task, value in evaluation.metrics.items()
    }
    return {"score": evaluation.score, "low": low, "high": high, "tasks": tasks}


def gained(objective: Objective, winner: Evaluation, other: Evaluation) -> Gain:
    """The paired gain of ``winner`` over ``other``."""
    mean, low, high = gain(objective, winner.outcomes, other.outcomes)
    return {"mean": mean, "low": low, "high": high}


def judge(bench: Bench, best: Trial | None = None) -> dict[str, Any]:
    """Dev and test standing of each baseline and, after a search, of the winner and its gain over them.

    The test split is read here and not before; nothing is chosen by it.
    """
    dev = bench.objective("dev")
    found = list(baselines(bench))
    result: dict[str, Any] = {
        "baselines": {name: {"dev": standing(dev, score), "test": None} for name, _, score in found},
        "tasks": [task.name for task in dev.tasks],
    }
    if best is not None and best.evaluation is not None:
        result["best"] = {"trial": best.number, "dev": standing(dev, best.evaluation), "test": None}
        result["gain"] = None
    if bench.has_test:
        recipes = {name: recipe for name, recipe, _ in found}
        _judge_on_test(bench, best.recipe if best else None, recipes, result)
    return result


def _judge_on_test(
    bench: Bench, winner: Recipe | None, rivals: dict[str, Recipe], result: dict[str, Any]
) -> None:
    test = bench.objective("test")
    known: dict[str, Evaluation] = {}

    def scored(recipe: Recipe) -> Evaluation:
        key = str(recipe)
        if key not in known:  # the best expert is one of the experts
            known[key] = bench.evaluate(recipe, "test")
        return known[key]

    for name, recipe in rivals.items():
        result["baselines"][name]["test"] = standing(test, scored(recipe))
    if winner is None:
        return
    result["best"]["test"] = standing(test, scored(winner))
    for name, recipe in rivals.items():
        result["baselines"][name]["gain"] = gained(test, scored(winner), scored(recipe))
    if "average" in rivals:
        gain = result["baselines"]["average"]["gain"]
        result["gain"] = {"over": "average", "test": gain, "seen": gain["low"] > 0}
