"""What floors save: forward passes of candidates that are stopped since they cannot win any more.

    python -m benchmarks.rejection searchmerge-demo/tasks.yaml [--evaluations 200] [--cases evolver-code de]

Each case is searched twice on the config's models and tasks, its dev texts in batches by difficulty: once as
always, and once reading every candidate to the end. The journals must be the same, the seconds apart;
otherwise the exit code is 1. Tokens are counted with their padding: those read over those of the same
batches read to the end, and over those of batches that are made for speed alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

import torch

from searchmerge.bench import Bench
from searchmerge.config import Budget, Config, Part, load
from searchmerge.fitness import Fitness
from searchmerge.journal import Journal
from searchmerge.objective import Objective
from searchmerge.optimize import header
from searchmerge.search import search
from searchmerge.types import Evaluation, Recipe

CASES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any] | None]] = {
    "evolver-code": ({"kind": "de", "rule": "evolver-code"}, {"kind": "population"}),
    "evolver": ({"kind": "de", "rule": "evolver"}, {"kind": "population"}),
    "de": ({"kind": "de"}, None),
}
"""Strategy and space of each; of None the config's own space."""


class Counting(Fitness):
    """Evaluates as always, and counts who was read to the end since there was no floor.

    Attributes:
        without_floor: how many.
    """

    without_floor = 0

    def __call__(self, recipe: Recipe, floor: float, share: float) -> Evaluation | None:
        """Evaluate."""
        self.without_floor += floor == -inf
        return super().__call__(recipe, floor, share)


class Whole(Counting):
    """Reads everybody to the end, and tells the search what it would have been told."""

    def __call__(self, recipe: Recipe, floor: float, share: float) -> Evaluation | None:
        """Evaluate; None where the score does not exceed the floor."""
        evaluation = super().__call__(recipe, -inf, share)
        return evaluation if evaluation is not None and evaluation.score > floor else None


def main() -> int:
    """Measure, print the table and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("config", type=Path)
    options.add_argument("--evaluations", type=int, default=200)
    options.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    figures: dict[str, float] = {}
    for case in arguments.cases:
        found = measured(load(arguments.config), case, arguments.evaluations)
        for name, value in found.items():
            print(f"{case:<14} {name:<28} {value:>9.3f}", flush=True)
        figures |= {f"{case}_{name}": round(value, 4) for name, value in found.items()}
    print(json.dumps(figures))
    return 0 if all(value for name, value in figures.items() if name.endswith("same_journal")) else 1


def measured(config: Config, case: str, evaluations: int) -> dict[str, float]:
    """The figures of a case."""
    stopping, whole = (run(config, case, evaluations, kind) for kind in (Counting, Whole))
    tokens = padded(stopping["dev"])
    read = stopping["dev"].forwarded + stopping["without_floor"] * tokens
    evaluated = whole["without_floor"]
    plain = padded(Bench(config).objective("dev"))
    return {
        "evaluations": evaluated,
        "rejected": sum(line["state"] == "rejected" for line in stopping["lines"]),
        "tokens_ratio": read / (evaluated * tokens),
        "tokens_by_length_ratio": read / (evaluated * plain),
        "seconds": stopping["seconds"],
        "seconds_ratio": stopping["seconds"] / whole["seconds"],
        "same_journal": float(stopping["lines"] == whole["lines"]),
    }


def run(config: Config, case: str, evaluations: int, kind: type[Counting]) -> dict[str, Any]:
    """Search without a trace."""
    strategy, space = CASES[case]
    objective = config.objective.model_copy(update={"batches": "difficulty"})
    budget = Budget(evaluations=evaluations)
    bench = Bench(config.model_copy(update={"objective": objective, "budget": budget})).searched_by(
        Part.model_validate(strategy), 0, Part.model_validate(space) if space else None
    )
    fitness = kind(bench)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        with Journal(path, header(bench)) as journal:
            trials = list(search(bench.space, bench.strategy(), fitness, journal, budget))
        lines = [{**json.loads(line), "seconds": 0} for line in path.read_text().splitlines()[1:]]
    return {
        "dev": bench.objective("dev"),
        "without_floor": fitness.without_floor,
        "lines": lines,
        "seconds": sum(trial.seconds for trial in trials),
    }


def padded(dev: Objective) -> int:
    """Tokens of all batches."""
    costs: Sequence[int] = [cost for task in dev.tasks for cost in task.costs]
    return sum(costs)


if __name__ == "__main__":
    sys.exit(main())
