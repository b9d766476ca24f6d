"""The baselines of the field on the demo's tasks, over several trainings of the experts.

    python -m benchmarks.baselines searchmerge-demo --out runs/baselines [--seeds 5]

Seed 0 are the demo's own experts; for the others all four are fine-tuned anew, with another order of the
texts, another dropout and other first heads. What is there is used again. Nothing is searched.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.intervals import mean_and_half_width
from searchmerge.bench import Bench
from searchmerge.config import load
from searchmerge.demo import texts
from searchmerge.demo.classifying import CLASSIFIER
from searchmerge.demo.experts import train
from searchmerge.demo.training import Recipe
from searchmerge.files import write_json
from searchmerge.judge import judge
from searchmerge.report.table import LABELS


def main() -> None:
    """Train what is missing, judge, print the table and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("demo", type=Path, help="the folder that `searchmerge demo` left")
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--seeds", type=int, default=5)
    arguments = options.parse_args()
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(arguments.seeds):
        result = judged(arguments.demo, arguments.out, seed)
        for name, entry in result["baselines"].items():
            kind = "each expert alone" if name.startswith("expert ") else LABELS.get(name, name)
            if kind != "each expert alone":
                scores = {split: entry[split]["score"] for split in ("dev", "test")}
                found.setdefault(kind, []).append(scores)
    report(found)


def judged(demo: Path, out: Path, seed: int) -> dict[str, Any]:
    """The baselines of one training, as in a result file."""
    experts = {}
    for task in texts.CASES["tasks"]:
        folder = demo / "tasks" / "experts" / task.name if seed == 0 else out / f"seed-{seed}" / task.name
        data = demo / "tasks" / "data" / f"{task.name}.train.jsonl"
        train(CLASSIFIER, demo / "tasks" / "base", data, folder, lambda *_: None, Recipe(seed=seed))
        experts[task.name] = str(folder.absolute())
    settings = [f"models.experts={json.dumps(experts)}"]
    result = judge(Bench(load(demo / "tasks.yaml", settings), say=print))
    normalised = load(demo / "tasks.yaml", [*settings, "statistics.normalise=true", "baselines=[fisher]"])
    result["baselines"]["Fisher, normalised"] = judge(Bench(normalised))["baselines"]["fisher"]
    write_json(out / f"baselines-{seed}.json", result)
    return result


def report(found: dict[str, list[dict[str, float]]]) -> None:
    """Print a Markdown table, means over the trainings with 95% t intervals, and the JSON line."""
    print("\n| | dev | test |\n|---|---|---|")
    figures = {}
    for name, scores in found.items():
        cells = []
        for split in ("dev", "test"):
            mean, half = mean_and_half_width([each[split] for each in scores])
            figures[f"{name} {split}"] = round(mean, 4)
            cells.append(f"{mean:.3f} ± {half:.3f}" if len(scores) > 1 else f"{mean:.3f}")
        print(f"| {name} | {' | '.join(cells)} |")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
