"""Merging weights, layers, and one after the other: the table PS / DFS / PS+DFS over seeds.

    python -m benchmarks.dataflow configs/paths.yaml --out runs/dataflow [--seeds 5]

The config names one search before its own, which is over paths. PS is the earlier search alone with the
evaluations of both; DFS the paths alone, likewise, starting at the expert that is best on dev; PS+DFS what
the config says. All runs share one workshop. A run that is there is gone on with, so the command may be
stopped and repeated.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.intervals import mean_and_half_width
from searchmerge.baselines import baselines
from searchmerge.bench import Bench
from searchmerge.config import Budget, load
from searchmerge.files import write_json
from searchmerge.judge import gained, standing
from searchmerge.optimize import run_search
from searchmerge.types import Evaluation, Recipe

REFERENCES = ("best expert", "average", "ties")
"""What the winners stand beside, where the config has it."""


def main() -> None:
    """Run what is missing, print the table and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("config", type=Path)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--seeds", type=int, default=5)
    arguments = options.parse_args()
    bench = Bench(load(arguments.config))
    _ = bench.workshop  # one for all runs
    best = max(bench.sources.experts, key=lambda name: bench.evaluate(bench.alone(name)).score)
    winners = [
        (name, seed, recipe)
        for seed in range(arguments.seeds)
        for name, recipe in searched(bench, seed, best, arguments.out).items()
    ]
    rows = judged(bench, winners)
    write_json(arguments.out / "dataflow.json", {"rest of DFS": best, "rows": rows})
    report(rows)


def searched(bench: Bench, seed: int, best: str, out: Path) -> dict[str, Recipe]:
    """The winners of the three searches with one seed."""
    (stage,) = bench.config.before
    evaluations = (stage.budget.evaluations or 0) + (bench.config.budget.evaluations or 0)
    whole = Budget(evaluations=evaluations)
    space = bench.config.space
    alone = type(space)(kind=space.kind, **{**space.options, "rest": best, "sources": None})
    ps = bench.twin(seed=seed, space=stage.space, strategy=stage.strategy, budget=whole, before=())
    dfs = bench.twin(seed=seed, space=alone, budget=whole, before=())
    both = bench.twin(seed=seed)
    found = {"PS": run(ps, out / f"ps-{seed}"), "DFS": run(dfs, out / f"dfs-{seed}")}
    both.found(stage.name, run(both.before(stage), out / f"both-{seed}" / stage.name))
    return found | {"PS+DFS": run(both, out / f"both-{seed}")}


def run(bench: Bench, folder: Path) -> Recipe:
    """The winning recipe of one search."""
    best, reason, counts = run_search(bench, folder, resume=True, watch=lambda *_: None)
    print(f"{folder.name}: trial {best.number}, dev {best.score:.4f}, {reason}, {counts}", flush=True)
    return best.recipe


def judged(bench: Bench, winners: list[tuple[str, int, Recipe]]) -> list[dict[str, Any]]:
    """Dev and test of the references and of every run's winner."""
    dev, test = bench.objective("dev"), bench.objective("test")
    rows: list[dict[str, Any]] = []
    average: Evaluation | None = None
    for rival in baselines(bench):
        if rival.name in REFERENCES:
            (on_dev,), (on_test,) = rival.on("dev"), rival.on("test")
            average = on_test if rival.name == "average" else average
            rows.append({"name": rival.name, "dev": standing(dev, on_dev), "test": standing(test, on_test)})
    assert average is not None
    for name, seed, recipe in winners:
        on_dev, on_test = bench.evaluate(recipe), bench.evaluate(recipe, "test")
        row = {"name": name, "seed": seed, "dev": standing(dev, on_dev), "test": standing(test, on_test)}
        rows.append({**row, "gain": gained(test, on_test, average), "recipe": recipe})
    return rows


def report(rows: list[dict[str, Any]]) -> None:
    """Print a Markdown table, a row a kind of search, and the JSON line."""
    print("\n| | dev | test | gain over the average, test |\n|---|---|---|---|")
    figures: dict[str, float] = {}
    for row in (row for row in rows if "seed" not in row):
        dev, test = row["dev"], row["test"]
        print(f"| {row['name']} | {_within(dev)} | {_within(test)} | |")
    for name in dict.fromkeys(row["name"] for row in rows if "seed" in row):
        runs = [row for row in rows if row["name"] == name]
        columns = {
            "dev": [row["dev"]["score"] for row in runs],
            "test": [row["test"]["score"] for row in runs],
            "gain": [row["gain"]["mean"] for row in runs],
        }
        means = {column: mean_and_half_width(values) for column, values in columns.items()}
        print(f"| {name} | " + " | ".join(f"{mean:.3f} ± {half:.3f}" for mean, half in means.values()) + " |")
        figures |= {f"{name}_{column}": mean for column, (mean, _) in means.items()}
        figures |= {f"{name}_{column}_half_width": half for column, (_, half) in means.items()}
    print(json.dumps({name: round(value, 5) for name, value in figures.items()}))


def _within(standing: dict[str, float]) -> str:
    return f"{standing['score']:.3f} [{standing['low']:.3f}, {standing['high']:.3f}]"


if __name__ == "__main__":
    main()
