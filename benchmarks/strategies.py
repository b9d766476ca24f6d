"""Every strategy on the demo's config with one budget: dev and test of the winners over seeds.

    python -m benchmarks.strategies searchmerge-demo/tasks.yaml --out runs/strategies \
        [--strategies de,cmaes,tpe,gp,nevergrad,pattern,grid,qmc,random] [--seeds 3] [--budget 120]

All runs share one workshop. A run that is there is gone on with, so the command may be stopped and repeated.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from searchmerge.baselines import baselines
from searchmerge.bench import Bench
from searchmerge.config import Part, load
from searchmerge.files import write_json
from searchmerge.judge import gained, standing
from searchmerge.optimize import run_search
from searchmerge.types import Evaluation, Trial

TUNED = "tuned task arithmetic"


def main() -> None:
    """Run what is missing, print the table and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("config", type=Path)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--strategies", default="de,cmaes,tpe,gp,nevergrad,pattern,grid,qmc,random")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--budget", type=int)
    arguments = options.parse_args()
    overrides = [f"budget.evaluations={arguments.budget}"] if arguments.budget else []
    bench = Bench(load(arguments.config, overrides))
    winners = {
        (strategy, seed): searched(bench, strategy, seed, arguments.out)
        for strategy in arguments.strategies.split(",")
        for seed in range(arguments.seeds)
    }
    rows = judged(bench, winners)
    write_json(arguments.out / "strategies.json", {"rows": rows})
    report(rows)


def searched(bench: Bench, strategy: str, seed: int, out: Path) -> Trial:
    """The best trial of one run."""
    folder = out / f"{strategy}-{seed}".replace(":", "-")
    twin = bench.searched_by(Part(kind=strategy), seed)
    best, reason, counts = run_search(twin, folder, resume=True, watch=lambda *_: None)
    print(f"{strategy} {seed}: dev {best.score:.4f}, {reason}, {counts}", flush=True)
    return best


def judged(bench: Bench, winners: dict[tuple[str, int], Trial]) -> list[dict[str, Any]]:
    """Dev and test of the tuned single coefficient, the plain average, and every run's winner."""
    test = bench.objective("test")
    rows: list[dict[str, Any]] = []
    references: dict[str, Evaluation] = {}
    dev = bench.objective("dev")
    for rival in baselines(bench):
        found = rival.on("test")
        references[rival.name] = found[0]
        score = standing(dev, *rival.on("dev"))["score"]
        rows.append({"name": rival.name, "dev": score, "test": standing(test, *found)})
    for (strategy, seed), trial in winners.items():
        winner = bench.evaluate(trial.recipe, "test")
        row = {"name": strategy, "seed": seed, "dev": trial.score, "test": standing(test, winner)}
        row["gain"] = gained(test, winner, references[TUNED])
        rows.append(row)
    return rows


def report(rows: list[dict[str, Any]]) -> None:
    """Print a Markdown table, a row a strategy, and the JSON line."""
    print("\n| | dev | test | gain over the tuned coefficient, test |\n|---|---|---|---|")
    figures: dict[str, float] = {}
    for row in rows:
        if "seed" not in row:
            print(f"| {row['name']} | {row['dev']:.3f} | {row['test']['score']:.3f} | |")
    for name in dict.fromkeys(row["name"] for row in rows if "seed" in row):
        runs = [row for row in rows if row["name"] == name and "seed" in row]
        dev = mean_and_half_width([row["dev"] for row in runs])
        test = mean_and_half_width([row["test"]["score"] for row in runs])
        gain = mean_and_half_width([row["gain"]["mean"] for row in runs])
        print(f"| `{name}` | {_said(dev)} | {_said(test)} | {_said(gain, sign='+')} |")
        figures |= {f"{name}_dev": dev[0], f"{name}_test": test[0], f"{name}_gain": gain[0]}
        figures[f"{name}_gain_half_width"] = gain[1]
    print(json.dumps({name: round(value, 5) for name, value in figures.items()}))


def mean_and_half_width(values: list[float]) -> tuple[float, float]:
    """Mean over the seeds and half the width of its 95% t interval (not a number for one seed)."""
    if len(values) < 2:
        return values[0], float("nan")
    return float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


def _said(figure: tuple[float, float], sign: str = "") -> str:
    return f"{figure[0]:{sign}.3f} ± {figure[1]:.3f}"


if __name__ == "__main__":
    main()
