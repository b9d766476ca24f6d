"""What floors can save: forward passes of candidates that cannot win any more, by how batches are made.

    python -m benchmarks.rejection searchmerge-demo/tasks.yaml [--evaluations 85] [--space population]

A search is recorded in full: what every candidate answered, and the score that it had to exceed. Then it is
gone through again under other batches and orders. Each order learns from the errors so far; the last one
knows those to come. Tokens stand for time. For tasks of one weight that are scored by accuracy.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from searchmerge.bench import Bench
from searchmerge.config import Budget, Part, load
from searchmerge.fitness import Fitness
from searchmerge.journal import Journal
from searchmerge.objective.task import Task
from searchmerge.optimize import header
from searchmerge.search import search
from searchmerge.types import Evaluation, Recipe

TOKENS = (1024, 512, 256, 128)
ROUNDING = 1e-9

Texts = npt.NDArray[np.int64]
"""Texts of all tasks by their numbers."""


@dataclass(frozen=True)
class Candidate:
    """What there is to know of one.

    Args:
        floor: the score that it had to exceed.
        lost: what each text took off its score, ``[texts]``.
    """

    floor: float
    lost: npt.NDArray[np.float64]


class Recorded(Fitness):
    """Evaluates everybody in full, and tells the search what it would have been told.

    Attributes:
        candidates: in turn.
    """

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self.candidates: list[Candidate] = []
        self._tasks: Sequence[Task] = bench.objective("dev").tasks

    def __call__(self, recipe: Recipe, floor: float, share: float) -> Evaluation | None:
        """Keep what a candidate answered; None where its score does not exceed the floor."""
        evaluation = super().__call__(recipe, -inf, share)
        assert evaluation is not None
        lost = [
            (evaluation.outcomes[task.name] != task.gold) / task.examples / len(self._tasks)
            for task in self._tasks
        ]
        self.candidates.append(Candidate(floor, np.concatenate(lost)))
        return evaluation if evaluation.score > floor else None


def main() -> None:
    """Record, replay, print the table and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("config", type=Path)
    options.add_argument("--evaluations", type=int, default=85)
    options.add_argument("--space", default="population")
    arguments = options.parse_args()
    bench = Bench(load(arguments.config)).searched_by(Part(kind="de"), 0, Part(kind=arguments.space))
    figures = replayed(recorded(bench, arguments.evaluations), bench.objective("dev").tasks)
    for name, value in figures.items():
        print(f"{name:<32} {value:>8.3f}")
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


def recorded(bench: Bench, evaluations: int) -> list[Candidate]:
    """Search without a trace."""
    fitness = Recorded(bench)
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.jsonl", header(bench))
        for _ in search(bench.space, bench.strategy(), fitness, journal, Budget(evaluations=evaluations)):
            pass
    return fitness.candidates


def replayed(candidates: Sequence[Candidate], tasks: Sequence[Task]) -> dict[str, float]:
    """The share of all tokens that the search would have had to read, by how its batches are made."""
    lengths = np.concatenate([_lengths(task) for task in tasks])
    of = np.repeat(np.arange(len(tasks)), [task.examples for task in tasks])
    errors = sum(each.lost > 0 for each in candidates if each.floor == -inf) + np.zeros(len(of), dtype=int)
    figures: dict[str, float] = {
        "candidates": len(candidates),
        "rejected": sum(bool(1 - each.lost.sum() <= each.floor) for each in candidates),
    }
    for most in TOKENS:
        figures[f"by_length_{most}"] = read(candidates, packed(lengths, of, most), lengths)
    for most in TOKENS:
        by_both = packed(lengths, of * len(candidates) + errors, most)
        figures[f"by_founders_errors_{most}"] = read(candidates, by_both, lengths)
    singly = packed(lengths, of, 1)
    figures["single_texts"] = read(candidates, singly, lengths)
    figures["errors_known"] = read(candidates, singly, lengths, known=True)
    return figures


def packed(lengths: Texts, groups: Texts, most: int) -> list[Texts]:
    """Batches of texts of one group, longest first, of at most so many tokens; a longer text is alone."""
    batches: list[list[int]] = []
    for text in np.lexsort((-lengths, groups)):
        last = batches[-1] if batches else []
        fits = last and groups[last[0]] == groups[text] and lengths[last[0]] * (len(last) + 1) <= most
        if fits:
            last.append(int(text))
        else:
            batches.append([int(text)])
    return [np.array(batch) for batch in batches]


def read(
    candidates: Sequence[Candidate], batches: Sequence[Texts], lengths: Texts, *, known: bool = False
) -> float:
    """The share of the tokens that are read, padding included, those first whose errors cost most a token.

    Args:
        candidates: in turn.
        batches: what is read as one.
        lengths: of the texts.
        known: whether the errors are each candidate's own; else those of the ones before it.
    """
    costs = np.array([lengths[batch].max() * len(batch) for batch in batches])
    harm, tokens = np.zeros(len(batches)), 0
    for candidate in candidates:
        own = np.array([candidate.lost[batch].sum() for batch in batches])
        order = np.argsort(-(own if known else harm) / costs, kind="stable")
        undecided = 1 - np.cumsum(own[order]) > candidate.floor + ROUNDING
        seen = order[: undecided.sum() + 1]
        tokens += costs[seen].sum()
        harm[seen] += own[seen]
    return float(tokens / (len(candidates) * costs.sum()))


def _lengths(task: Task) -> Texts:
    """Tokens of each text, in the order of the data."""
    lengths = np.zeros(task.examples, dtype=np.int64)
    for number, batch in enumerate(task.batches.batches):
        real = batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
        lengths[task.batches.examples(number)] = real.sum(1).numpy()
    return lengths


if __name__ == "__main__":
    main()
