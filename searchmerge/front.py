"""The front of a run that keeps its tasks apart: what the strategy is told, and what is left at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from operator import attrgetter
from pathlib import Path
from typing import Any

from searchmerge import journal
from searchmerge.bench import Bench
from searchmerge.files import new_folder, write_json
from searchmerge.pareto import front, hypervolume, signed
from searchmerge.recipes import recipe_file
from searchmerge.search import Told
from searchmerge.types import Trial, UserError


def told(bench: Bench) -> Told:
    """What the strategy is told of a trial: its score, or under ``pareto`` one value a task."""
    return _values(bench) if bench.config.objective.aggregate == "pareto" else attrgetter("score")


def leave(bench: Bench, out: Path, searched: int) -> list[Trial]:
    """Write ``front/trial-N.json``, a recipe file a point of the front on dev.

    Args:
        bench: of the run.
        out: where its journal is.
        searched: how many of the journal's trials are the run's.

    Returns:
        The points, in the order of their trials; none where the tasks are not kept apart.
    """
    if bench.config.objective.aggregate != "pareto":
        return []
    _, trials = journal.read(out / "journal.jsonl")
    complete, values = (
        [trial for trial in trials[:searched] if trial.evaluation and trial.share == 1],
        _values(bench),
    )
    points = [complete[place] for place in front([values(trial) for trial in complete])]
    with new_folder(out / "front") as folder:
        for trial in points:
            parts = bench.sources, bench.config.models, bench.heads, trial.recipe, bench.statistics
            point = {"trial": trial.number, "of": len(points), "dev": _metrics(trial)}
            write_json(folder / f"trial-{trial.number}.json", {**recipe_file(*parts), "point": point})
    return points


def judged(bench: Bench, points: Sequence[Trial], baselines: Mapping[str, Any]) -> dict[str, Any]:
    """What ``result.json`` says of the points of the front: ``front`` and ``hypervolume``.

    Nothing, where there are none. The hypervolume needs standings of the experts.

    The test split is read here, and chooses nothing.

    Args:
        bench: of the run.
        points: of the front.
        baselines: their standings, as :func:`searchmerge.judge.judge` gives them.
    """
    if not points:
        return {}
    if bench.has_test:
        bench.say(f"judging {len(points)} points of the front on test")
    found = [
        {"trial": point.number, "dev": _metrics(point), "test": _on_test(bench, point)} for point in points
    ]
    experts = [scores["dev"] for name, scores in baselines.items() if name.startswith("expert ")]
    if not experts:
        return {"front": found}
    average = [baselines["average"]["dev"]] if "average" in baselines else []
    return {"front": found, "hypervolume": _hypervolume(bench, points, experts, average)}


def _hypervolume(
    bench: Bench, points: Sequence[Trial], experts: Sequence[Any], average: Sequence[Any]
) -> dict[str, Any]:
    """On dev, above the least that any expert reaches at each task; of the front, and of the average."""
    (tasks, lower), values = _tasks(bench), _values(bench)
    low = {task: max if task in lower else min for task in tasks}
    least = {task: low[task](scores["tasks"][task]["value"] for scores in experts) for task in tasks}

    def standing(scores: Mapping[str, Any]) -> tuple[float, ...]:
        return signed({task: scores["tasks"][task]["value"] for task in tasks}, tasks, lower)

    reference = signed(least, tasks, lower)
    return {
        "reference": least,
        "front": hypervolume([values(point) for point in points], reference),
        "average": hypervolume([standing(scores) for scores in average], reference) if average else None,
    }


def _on_test(bench: Bench, point: Trial) -> dict[str, float] | None:
    """The metric of each task; None without a test split, or where a point that passed dev fails there."""
    if not bench.has_test:
        return None
    try:
        return dict(bench.evaluate(point.recipe, "test").metrics)
    except UserError:
        raise
    except Exception:  # whatever a candidate raises is that candidate's failure
        return None


def _values(bench: Bench) -> Callable[[Trial], tuple[float, ...]]:
    """One value a task, higher is better; minus infinity where there is no score."""
    tasks, lower = _tasks(bench)

    def values(trial: Trial) -> tuple[float, ...]:
        return signed(trial.evaluation.metrics, tasks, lower) if trial.evaluation else (-inf,) * len(tasks)

    return values


def _metrics(trial: Trial) -> dict[str, float]:
    assert trial.evaluation is not None
    return dict(trial.evaluation.metrics)


def _tasks(bench: Bench) -> tuple[list[str], set[str]]:
    """Names of the tasks that choose, and of those whose metric is better when lower."""
    tasks = bench.objective("dev").tasks
    return [task.name for task in tasks], {task.name for task in tasks if task.metric.lower}
