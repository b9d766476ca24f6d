"""Comparisons as their job leaves them, without one: planted curves, their journals, and what follows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from searchmerge.compare import Reference, Run, compare
from searchmerge.files import write_json
from searchmerge.types import Evaluation, Recipe, Trial
from tests.report.runs import EXPERTS, recipe, run_folder

SPACE = "task-arithmetic"


def standing(score: float, tasks: Sequence[str] = EXPERTS) -> dict[str, Any]:
    around = {"low": score - 0.02, "high": score + 0.02}
    return {"score": score, **around, "tasks": {task: {"value": score, **around} for task in tasks}}


def path(number: int, depth: int = 4) -> Recipe:
    """Layers of two models in turn; the first one is a model as it is."""
    steps: list[list[Any]] = [
        [EXPERTS[number and (number + place) % 2], place] for place in range(depth - number % 2)
    ]
    return {"space": "paths", "rest": EXPERTS[0], "stacks": {"encoder.layer": steps}, "stages": {}}


def comparison(
    strategies: Sequence[str] = ("de", "random"),
    *,
    seeds: int = 5,
    spaces: Sequence[str] = (SPACE,),
    budget: int = 12,
    tested: bool = True,
    kind: str = "coefficients",
    leave_out: int = 0,
    folder: Path | None = None,
) -> dict[str, Any]:
    """The content of ``comparison.json``, and its folder where one is given.

    Strategies rise from the default merge with noise, the later ones slower; the last runs may be left out.
    """
    generator = np.random.default_rng(0)
    runs, entries = [], []
    for space in spaces:
        for place, strategy in enumerate(strategies):
            for seed in range(seeds):
                rise = 1 - np.exp(-np.arange(budget) * generator.uniform(2, 6) / budget / (1 + place / 4))
                scores = 0.5 + rise * (0.3 - 0.01 * place) + generator.normal(0, 0.02, budget)
                scores[0] = 0.5
                seconds = np.round(generator.uniform(1, 2, budget), 4)
                best = int(scores.argmax())
                test = float(scores[best] - generator.uniform(0, 0.02)) if tested else None
                runs.append(Run(strategy, seed, scores, seconds, test, space))
                made = [
                    Trial(
                        number,
                        (number / 100,),
                        path(number) if kind == "paths" else recipe(seed=number),
                        Evaluation(float(score), dict.fromkeys(EXPERTS, float(score))),
                        seconds=float(second),
                    )
                    for number, (score, second) in enumerate(zip(scores, seconds, strict=True))
                ]
                name = f"space-{spaces.index(space)}/strategy-{place}-{seed}"
                if folder:
                    (folder / name).mkdir(parents=True)
                    run_folder(folder / name, made)
                entries.append(
                    {
                        "space": space,
                        "strategy": strategy,
                        "seed": seed,
                        "folder": name,
                        "evaluations": budget,
                        "repeats": seed,
                        "rejected": 1,
                        "failures": 0,
                        "stopped": f"{budget} evaluations are spent",
                        "best": {
                            "trial": best,
                            "dev": standing(float(scores[best])),
                            "test": None if test is None else standing(test),
                        },
                        "recipe": made[best].recipe,
                    }
                )
    if leave_out:
        runs, entries = runs[:-leave_out], entries[:-leave_out]
    references = {space: Reference("the default merge", 0.5, 0.49) for space in spaces} if tested else None
    whole = len({run.strategy for run in runs if run.seed == 0}) == len(strategies)
    content = {
        "name": "tasks",
        "config": {"models": {"experts": dict.fromkeys(EXPERTS, "org/model")}, "seed": 0},
        "spaces": {space: {"kind": kind} for space in spaces},
        "strategies": {strategy: {"kind": "de"} for strategy in strategies},
        "seeds": seeds,
        "budget": {"evaluations": budget},
        "runs": entries,
        "references": {
            space: {
                "name": "the default merge",
                "dev": standing(0.5),
                "test": standing(0.49) if tested else None,
            }
            for space in spaces
        },
        "statistics": compare(runs, references).record if whole else None,
        "experts": list(EXPERTS),
        "tasks": list(EXPERTS),
        "lower": [],
        "leaks": [],
        "seconds": 123.4,
        "versions": {"searchmerge": "0.1.0", "numpy": "2.4.1"},
    }
    if whole and tested and not leave_out:  # these are judged last
        content["baselines"] = {
            name: {"dev": standing(score), "test": standing(score - 0.01)}
            for name, score in (("average", 0.5), ("expert <b>", 0.4))
        }
    if folder:
        write_json(folder / "comparison.json", content)
    return content
