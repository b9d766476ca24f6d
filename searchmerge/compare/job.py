"""The job of `searchmerge compare`: run the field, judge its winners, leave the comparison's files."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from searchmerge import plugins
from searchmerge.baselines import require
from searchmerge.bench import Bench
from searchmerge.compare.comparison import compare
from searchmerge.compare.contest import Contest, Entry, Finished, run
from searchmerge.compare.field import FloatArray, Run
from searchmerge.compare.selection import Reference
from searchmerge.config import Config
from searchmerge.files import output_folder, write_json
from searchmerge.judge import Standing, judge, standing
from searchmerge.leaks import leaks
from searchmerge.objective import Split
from searchmerge.optimize import versions
from searchmerge.report import comparison as report
from searchmerge.types import Trial, UserError, digest

REFERENCE = "the default merge"
"""What gains are counted from: trial 0 of every run of a space."""


def head_to_head(
    config: Config,
    contest: Contest,
    out: Path,
    *,
    name: str,
    resume: bool,
    watch: Callable[[Entry, Trial, Trial], None],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Run a comparison to its end and leave its files in ``out``.

    Args:
        config: models, objective, budget.
        contest: the field.
        out: ``comparison.json``, ``report.html``, ``figures/``, ``tables/`` and a folder a run go there.
        name: what the report calls it.
        resume: go on with the comparison that is there; more strategies, spaces and seeds may join it.
        watch: sees every trial of every run, and the best of that run so far.
        say: told what takes long, a line at a time.

    Returns:
        The content of ``comparison.json``.

    Raises:
        UserError: the input is at fault; whatever was evaluated stays in the journals.
    """
    started = time.perf_counter()
    _comparable(config)
    if not resume and (out / "comparison.json").exists():
        raise UserError(
            expected="an output folder without a comparison",
            got=f"{out} holds one",
            cure="add --resume to go on with it, or choose another --out",
        )
    bench = Bench(config, say)
    require(bench)
    about: dict[str, Any] = {"name": name, "leaks": [leak.record for leak in leaks(config, "training")]}
    benches = contest.benches(bench)
    bench = next(iter(benches.values()))
    output_folder(out)
    results = _Results(bench, contest)
    ends = {entry.seed: entry for entry in contest.entries}.values()
    for finished in run(benches, out, resume=resume, watch=watch):
        results.take(finished)
        if finished.entry in ends:  # an unfinished comparison has a report too
            write_json(out / "comparison.json", about | results.record() | _spent(started))
    say("judging the winners and the baselines")
    about["leaks"] += [leak.record for leak in leaks(config, "test")]
    results.judge()
    content = about | results.record() | {"baselines": judge(bench)["baselines"]} | _spent(started)
    write_json(out / "comparison.json", content)
    report.write(out)
    return content


def _spent(started: float) -> dict[str, float]:
    return {"seconds": round(time.perf_counter() - started, 1)}


def _comparable(config: Config) -> None:
    """Refuse what a comparison cannot be about."""
    if config.before:
        raise UserError(
            expected="runs of one search each",
            got="a config with earlier searches under before",
            cure="remove before, or run that config with optimize",
        )
    if config.objective.aggregate == "pareto":
        raise UserError(
            expected="one score a merge, by which strategies can be compared",
            got="objective.aggregate: pareto, which leaves a front",
            cure="take aggregate: mean, worst or relative",
        )
    if config.objective.subset is not None:
        raise UserError(
            expected="scores of the whole dev, which can be compared",
            got="objective.subset",
            cure="leave objective.subset out",
        )


class _Both(TypedDict):
    dev: Standing
    test: Standing | None


class _Results:
    """What the runs so far have shown.

    Args:
        bench: of any run.
        contest: the field.
    """

    def __init__(self, bench: Bench, contest: Contest) -> None:
        self._bench, self._contest = bench, contest
        self._runs: list[Finished] = []
        self._standings: dict[tuple[Split, bytes], Standing] = {}
        self._judged = False

    def take(self, finished: Finished) -> None:
        """Add a run."""
        self._runs.append(finished)

    def judge(self) -> None:
        """From now on, say what winners and references score on test too."""
        self._judged = self._bench.has_test

    def record(self) -> dict[str, Any]:
        """The content of ``comparison.json`` so far."""
        bench, contest = self._bench, self._contest
        tasks = bench.objective("dev").tasks
        defaults = {run.entry.space: self._standings_of(run.trials[0]) for run in self._runs}
        return {
            "config": bench.config.model_dump(mode="json", exclude_none=True),
            "spaces": {name: part.model_dump() for name, part in contest.spaces.items()},
            "strategies": {name: part.model_dump() for name, part in contest.strategies.items()},
            "seeds": contest.seeds,
            "budget": bench.config.budget.model_dump(exclude_none=True),
            "runs": [self._of(run) for run in self._runs],
            "references": {space: {"name": REFERENCE, **each} for space, each in defaults.items()},
            "statistics": self._statistics(defaults),
            "experts": list(bench.sources.experts),
            "tasks": [task.name for task in tasks],
            "lower": [task.name for task in tasks if task.metric.lower],
            "versions": versions(),
        }

    def _of(self, finished: Finished) -> dict[str, Any]:
        best, entry = finished.best, finished.entry
        return {
            "space": entry.space,
            "strategy": entry.strategy,
            "seed": entry.seed,
            "folder": entry.folder.as_posix(),
            **finished.counts,
            "stopped": finished.reason,
            "best": {"trial": best.number, **self._standings_of(best)},
            "recipe": plugins.load("spaces", best.recipe["space"]).pruned(best.recipe),
        }

    def _statistics(self, defaults: Mapping[str, _Both]) -> dict[str, Any]:
        references = {
            space: Reference(REFERENCE, each["dev"]["score"], each["test"]["score"])
            for space, each in defaults.items()
            if each["test"]
        }
        runs = [self._figures(run) for run in self._runs]
        return compare(runs, references or None).record

    def _figures(self, finished: Finished) -> Run:
        entry, test = finished.entry, self._standings_of(finished.best)["test"]
        scores, seconds = by_evaluation(finished.trials)
        return Run(entry.strategy, entry.seed, scores, seconds, test["score"] if test else None, entry.space)

    def _standings_of(self, trial: Trial) -> _Both:
        return {
            "dev": self._standing("dev", trial),
            "test": self._standing("test", trial) if self._judged else None,
        }

    def _standing(self, split: Split, trial: Trial) -> Standing:
        place = split, digest(trial.recipe)
        if place not in self._standings:
            objective = self._bench.objective(split)
            if split == "dev" and trial.evaluation:
                evaluation = objective.score_of(trial.evaluation.outcomes)  # no penalty taken off
            else:
                evaluation = self._bench.evaluate(trial.recipe, split)
            self._standings[place] = standing(objective, evaluation)
        return self._standings[place]


def by_evaluation(trials: Sequence[Trial]) -> tuple[FloatArray, FloatArray]:
    """The best score and the seconds of each whole evaluation that a run has spent, both ``[evaluations]``.

    Several trials on parts of dev make up one, whose score is minus infinity: only the whole of dev counts.
    """
    fresh = [trial for trial in trials if trial.repeats is None]
    spent = np.cumsum([trial.cost for trial in fresh])
    places = np.ceil(spent - 1e-6).astype(int) - 1
    scores, seconds = np.full(places[-1] + 1, -np.inf), np.zeros(places[-1] + 1)
    np.maximum.at(scores, places, [trial.score if trial.share == 1 else -np.inf for trial in fresh])
    np.add.at(seconds, places, [trial.seconds for trial in fresh])
    return scores, seconds
