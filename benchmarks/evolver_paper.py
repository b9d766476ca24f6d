"""The Evolver paper's experiments on a config's experts: its table of methods, and its figure of F and Cr.

    python -m benchmarks.evolver_paper searchmerge-demo/tasks.yaml --out runs/evolver \
        [--seeds 5] [--turns 15] [--grid-seeds 1] [--figure docs/images/evolver-f-cr.png]

Du et al. 2024, "Knowledge Fusion by Evolving Weights of Language Models", arXiv:2406.12208; 15 turns over the
population are those of the released configs. Dev chooses; test is read when all runs have ended. All runs
share one workshop. A run that is there is gone on with, so the command may be stopped and repeated.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.intervals import mean_and_half_width
from searchmerge.baselines import baselines
from searchmerge.bench import Bench
from searchmerge.config import Budget, Part, load
from searchmerge.files import write_json
from searchmerge.objective import Split
from searchmerge.optimize import run_search
from searchmerge.types import Trial

METHODS: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Evolver": ({}, {"rule": "evolver"}),
    "Evolver, code's rule": ({}, {"rule": "evolver-code"}),
    "Simple_Evolver": ({"merge": "linear"}, {"rule": "evolver"}),
    "Simple_Evolver, code's rule": ({"merge": "linear"}, {"rule": "evolver-code"}),
    "Fisher_Evolver, code's rule": ({"merge": "fisher"}, {"rule": "evolver-code"}),
    "RegMean_Evolver, code's rule": ({"merge": "regmean"}, {"rule": "evolver-code"}),
    "TIES_Evolver": ({"merge": "ties"}, {"rule": "evolver"}),
    "TIES_Evolver, code's rule": ({"merge": "ties"}, {"rule": "evolver-code"}),
}
"""Options of the space and of the strategy, by the paper's name."""

SPLITS: tuple[Split, ...] = ("dev", "test")

STEPS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""F with Cr = 0.5, and Cr with F = 0.5."""


def main() -> None:
    """Run what is missing, print the table and the JSON line, draw the figure."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("config", type=Path)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--turns", type=int, default=15)
    options.add_argument("--grid-seeds", type=int, default=1)
    options.add_argument("--figure", type=Path)
    arguments = options.parse_args()
    bench = Bench(load(arguments.config, ["baselines=[experts,average,tuned,ties,fisher,regmean]"]))
    budget = Budget(evaluations=(arguments.turns + 1) * len(bench.sources.experts))
    bench.config = bench.config.model_copy(update={"budget": budget})

    def run(name: str, space: dict[str, Any], strategy: dict[str, Any], seed: int) -> Trial:
        folder = arguments.out / f"{name}-{seed}".replace(" ", "-").replace(",", "").replace("'", "")
        twin = bench.searched_by(
            Part(kind="de", **strategy), seed, Part.model_validate({"kind": "population", **space})
        )
        best, _, counts = run_search(twin, folder, resume=True, watch=lambda *_: None)
        print(f"{name} {seed}: dev {best.score:.4f}, trial {best.number}, {counts}", flush=True)
        return best

    winners = {
        (name, seed): run(name, space, strategy, seed)
        for seed in range(arguments.seeds)
        for name, (space, strategy) in METHODS.items()
    }
    grid = {
        (f, cr, seed): run(f"f{f:g}-cr{cr:g}", {}, {"rule": "evolver-code", "f": f, "cr": cr}, seed)
        for seed in range(arguments.grid_seeds)
        for f, cr in [*((f, 0.5) for f in STEPS), *((0.5, cr) for cr in STEPS)]
    }
    rows = judged(bench, winners)
    points = [
        {
            "f": f,
            "cr": cr,
            "seed": seed,
            "dev": trial.score,
            "test": bench.evaluate(trial.recipe, "test").score,
        }
        for (f, cr, seed), trial in grid.items()
    ]
    write_json(arguments.out / "evolver.json", {"rows": rows, "grid": points})
    report(rows)
    if arguments.figure and points:
        draw(points, arguments.figure)


def judged(bench: Bench, winners: Mapping[tuple[str, int], Trial]) -> list[dict[str, Any]]:
    """Dev and test scores of the baselines and of every run's winner."""
    found: dict[str, list[tuple[float, float]]] = {}
    for (name, _), trial in winners.items():
        score = bench.evaluate(trial.recipe, "test").score
        found.setdefault(name, []).append((trial.score, score))
    for rival in baselines(bench):
        dev, test = (np.mean([each.score for each in rival.on(split)]) for split in SPLITS)
        found[rival.name] = [(float(dev), float(test))]
    return [{"name": name, "dev": dev, "test": test} for name, (dev, test) in _columns(found).items()]


def _columns(
    found: Mapping[str, list[tuple[float, float]]],
) -> dict[str, tuple[list[float], list[float]]]:
    return {name: ([dev for dev, _ in pairs], [test for _, test in pairs]) for name, pairs in found.items()}


def report(rows: list[dict[str, Any]]) -> None:
    """Print a Markdown table, means over the seeds with 95% t intervals, and the JSON line."""
    print("\n| | dev | test |\n|---|---|---|")
    figures: dict[str, float] = {}
    for row in rows:
        dev, test = mean_and_half_width(row["dev"]), mean_and_half_width(row["test"])
        print(f"| {row['name']} | {_said(dev)} | {_said(test)} |")
        figures |= {f"{row['name']} dev": dev[0], f"{row['name']} test": test[0]}
    print(json.dumps({name: round(value, 5) for name, value in figures.items()}))


def _said(figure: tuple[float, float]) -> str:
    mean, half_width = figure
    return f"{mean:.3f}" if np.isnan(half_width) else f"{mean:.3f} ± {half_width:.3f}"


def draw(points: list[dict[str, Any]], path: Path) -> None:
    """F and Cr across, dev and test scores up, one panel each; the mean and the range over the seeds."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    for panel, name, fixed in zip(panels, ("f", "cr"), ("cr", "f"), strict=True):
        chosen = [point for point in points if point[fixed] == 0.5]
        for split, colour in (("dev", "#8a8f98"), ("test", "#1f5fbf")):
            columns = [[point[split] for point in chosen if point[name] == step] for step in STEPS]
            middle = [float(np.mean(column)) for column in columns]
            panel.fill_between(
                STEPS, list(map(min, columns)), list(map(max, columns)), color=colour, alpha=0.15
            )
            panel.plot(STEPS, middle, color=colour, marker="o", markersize=4, label=split)
        panel.set_xlabel({"f": "F (Cr = 0.5)", "cr": "Cr (F = 0.5)"}[name])
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("mean score")
    panels[0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)


if __name__ == "__main__":
    main()
