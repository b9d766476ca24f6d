"""Categories and reals together: whoever learns from scores finds more than chance does."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import pytest

from searchmerge.plugins import load, make_strategy
from searchmerge.strategies.random import Random
from searchmerge.testing import drive
from searchmerge.types import Dim, Genotype, Strategy

BUDGET, SEEDS = 250, 5
CHOICES = 5


def problem(seed: int) -> tuple[tuple[Dim, ...], Callable[[Genotype], float]]:
    """Four categories without an order, four reals, one optimum of value 0; a wrong category costs 1."""
    rng = np.random.default_rng(100 + seed)
    right, at = rng.integers(CHOICES, size=4), rng.uniform(0.1, 0.9, 4)
    dims = [
        dim
        for k in range(4)
        for dim in (Dim(f"c{k}", (rng.integers(CHOICES) + 0.5) / CHOICES, CHOICES), Dim(f"x{k}", 0.5))
    ]

    def score(genotype: Genotype) -> float:
        bins = [min(int(CHOICES * x), CHOICES - 1) for x in genotype[::2]]
        wrong = sum(a != b for a, b in zip(bins, right, strict=True))
        return float(-wrong - 4 * np.sum((np.array(genotype[1::2]) - at) ** 2))

    return tuple(dims), score


def loss(make: Callable[..., Strategy]) -> float:
    """The smallest loss of a run, median of the seeds."""
    losses = []
    for seed in range(SEEDS):
        dims, score = problem(seed)
        losses.append(-max(map(score, drive(make(dims, seed=seed, budget=BUDGET), score, BUDGET))))
    return median(losses)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cmaes", {}),
        ("de", {}),
        ("de", {"adaptation": "shade"}),
        ("nevergrad", {}),
        ("tpe", {}),
    ],
    ids=str,
)
def test_it_finds_much_more_than_chance(name: str, options: dict[str, Any]) -> None:
    found = loss(lambda dims, **others: make_strategy(name, options, dims=dims, **others))
    assert found < loss(Random) / 4


def test_a_grid_takes_every_combination_of_categories() -> None:
    dims, _ = problem(0)
    categories, reals = dims[::2], dims[1::2]
    # A grid of one value a real coordinate, which stands still.
    asked = drive(load("strategies", "grid")((*categories, *reals), seed=0, points=1), lambda _: 0.0, 1000)
    bins = {tuple(min(int(CHOICES * x), CHOICES - 1) for x in genotype[:4]) for genotype in asked}
    assert len(asked) == len(bins) == CHOICES**4
    assert {genotype[4:] for genotype in asked} == {(0.5,) * 4}
