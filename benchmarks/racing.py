"""What racing saves and what it changes: TPE and CMA-ES with and without it.

    python -m benchmarks.racing searchmerge-demo/tasks.yaml --out runs/racing [--seeds 5] [--evaluations 120]
        [--strategies tpe,cmaes] [--level 0.1] [--check]

All runs share one workshop and have as many evaluations; a run that is done is not done again. What is
read are the tokens that went through a model, padding included, as a part of those of as many whole
evaluations. With --check every candidate that lost its race is evaluated in full when its run is over: who
would have scored more than the rival has lost wrongly.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from searchmerge.bench import Bench
from searchmerge.config import Part, load
from searchmerge.files import write_json
from searchmerge.objective.asking import Answers, Models, Round
from searchmerge.optimize import run_search
from searchmerge.types import Trial

Figures = dict[str, Any]
"""Of one run: strategy, level (0 without races), seed, and what was found."""

FINISHED = "figures.json"


def main() -> None:
    """Run what is missing, print the table and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("config", type=Path)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--strategies", default="tpe,cmaes")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--evaluations", type=int, default=120)
    options.add_argument("--level", type=float, default=0.1)
    options.add_argument("--check", action="store_true")
    arguments = options.parse_args()
    bench = Bench(load(arguments.config, [f"budget.evaluations={arguments.evaluations}"]))
    _ = bench.workshop
    runs = [
        run(bench, strategy, level, seed, arguments.out, check=arguments.check)
        for seed in range(arguments.seeds)
        for strategy in arguments.strategies.split(",")
        for level in (0.0, arguments.level)
    ]
    print(table(runs))
    print(json.dumps(summary(runs)))


def run(bench: Bench, strategy: str, level: float, seed: int, out: Path, *, check: bool) -> Figures:
    """One run, or what is known of it."""
    folder = out / f"{strategy}-{level:g}-{seed}"
    if (folder / FINISHED).exists():
        done: Figures = json.loads((folder / FINISHED).read_text(encoding="utf-8"))
        return done
    shutil.rmtree(folder, ignore_errors=True)  # what a run that was cut short had read is not known
    part = Part(kind=strategy, racing=level) if level else Part(kind=strategy)
    twin = bench.searched_by(part, seed)
    trials: list[Trial] = []
    with counted() as tokens:
        best, _, counts = run_search(twin, folder, resume=False, watch=lambda each, _: trials.append(each))
    whole = sum(each.cost for each in twin.objective("dev").asking.rounds)
    lost = [trial for trial in trials if trial.lost_to is not None]
    found: Figures = {
        "strategy": strategy,
        "level": level,
        "seed": seed,
        "read": sum(tokens) / (counts["evaluations"] * whole),
        "seconds": sum(trial.seconds for trial in trials),
        "lost": len(lost),
        "rejected": counts["rejected"],
        "dev": best.score,
        "test": twin.evaluate(best.recipe, "test").score if twin.has_test else None,
        "wrong": wrongly(twin, trials, lost) if check else None,
    }
    write_json(folder / FINISHED, found)
    print(f"{folder.name}: {found}", flush=True)
    return found


@contextmanager
def counted() -> Iterator[list[int]]:
    """The tokens of every batch that goes through a model within the block, those read ahead too."""
    tokens: list[int] = []
    plain = Round.answers

    def answers(asked: Round, models: Models) -> Answers:
        tokens.append(asked.cost)
        return plain(asked, models)

    with patch.object(Round, "answers", answers):
        yield tokens


def wrongly(bench: Bench, trials: Sequence[Trial], lost: Sequence[Trial]) -> int:
    """How many of those that lost score more than their rivals on the whole of dev, penalties apart."""
    dev = bench.objective("dev")
    wrong = 0
    for trial in lost:
        assert trial.lost_to is not None
        rival = trials[trial.lost_to]
        rival = rival if rival.repeats is None else trials[rival.repeats]
        assert rival.evaluation is not None
        wrong += bench.evaluate(trial.recipe).score > dev.score_of(rival.evaluation.outcomes).score
    return wrong


def table(runs: Sequence[Figures]) -> str:
    """A Markdown table, a row a strategy with and without races: means over the seeds."""
    lines = [
        "| strategy | read | seconds | stopped | in a race | wrongly | dev | test |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for strategy, level, group in groups(runs):
        name = f"{strategy}, racing at {level:g}" if level else strategy
        wrong, test = mean(group, "wrong"), mean(group, "test")
        lines.append(
            f"| {name} | {mean(group, 'read'):.3f} | {mean(group, 'seconds'):.0f} | "
            f"{mean(group, 'rejected'):.1f} | {mean(group, 'lost'):.1f} | {said(wrong, '.1f')} | "
            f"{mean(group, 'dev'):.4f} | {said(test, '.4f')} |"
        )
    return "\n".join(lines)


def summary(runs: Sequence[Figures]) -> dict[str, float]:
    """What racing reads of what is read without, and by how much dev and test of the winners differ."""
    found: dict[str, float] = {}
    by_name = {(strategy, bool(level)): group for strategy, level, group in groups(runs)}
    for strategy, raced in by_name:
        if raced:
            with_races, without = by_name[strategy, True], by_name[strategy, False]
            found[f"{strategy}_read_ratio"] = mean(with_races, "read") / mean(without, "read")
            found[f"{strategy}_seconds_ratio"] = mean(with_races, "seconds") / mean(without, "seconds")
            for split in ("dev", "test"):
                found[f"{strategy}_{split}_difference"] = mean(with_races, split) - mean(without, split)
    return {name: round(value, 4) for name, value in found.items() if np.isfinite(value)}


def groups(runs: Sequence[Figures]) -> Iterator[tuple[str, float, list[Figures]]]:
    """Runs that differ in their seed alone, by strategy and level."""
    for strategy, level in dict.fromkeys((each["strategy"], each["level"]) for each in runs):
        yield strategy, level, [e for e in runs if (e["strategy"], e["level"]) == (strategy, level)]


def mean(runs: Sequence[Figures], key: str) -> float:
    """The mean of a figure; not a number where some run has none."""
    return float(np.mean([np.nan if each[key] is None else each[key] for each in runs]))


def said(value: float, form: str) -> str:
    """A number, or a dash for none."""
    return "–" if np.isnan(value) else format(value, form)


if __name__ == "__main__":
    main()
