"""Compass search against a loop written out in plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchmerge.strategies.pattern import Pattern
from searchmerge.testing import SPACES, drive, sphere
from searchmerge.types import Dim, Genotype, UserError, default_genotype


def steps(genotype: Genotype) -> float:
    """The sphere in steps of 0.02: polls that are as good as the point they start from are common."""
    return round(50 * sphere(genotype)) / 50


def values(dim: Dim, x: float, step: float) -> list[float]:
    """Where a coordinate is polled."""
    if dim.choices is None:
        return [y for y in (min(1.0, x + step), max(0.0, x - step)) if y != x]
    own = min(int(dim.choices * x), dim.choices - 1)
    return [(k + 0.5) / dim.choices for k in range(dim.choices) if k != own]


def naive(
    dims: tuple[Dim, ...], seed: int, step: float, together: bool, score: Callable[[Genotype], float]
) -> Iterator[Genotype]:
    """Every point; only the random numbers are drawn as the class does."""
    rng = np.random.default_rng(seed)
    here: Genotype = default_genotype(dims)
    while True:
        yield here
        best, width, failed = score(here), step, False
        while width >= 1e-3:
            order = [k for k in range(len(dims)) if not (failed and dims[k].choices)]
            if not order:
                break
            moved = False
            for k in reversed(rng.permutation(order).tolist()):
                tried = [(*here[:k], y, *here[k + 1 :]) for y in values(dims[k], here[k], width)]
                found = []
                for point in tried:
                    yield point
                    found.append(score(point))
                    if found[-1] > best and not together:
                        break
                if found and max(found) > best:
                    best, here, moved = max(found), tried[found.index(max(found))], True
            failed = not moved
            width = width if moved else width / 2
        drawn = zip(dims, rng.random(len(dims)).tolist(), strict=True)
        here = tuple(x if d.choices is None else (int(d.choices * x) + 0.5) / d.choices for d, x in drawn)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(("seed", "step"), [(0, 0.25), (3, 0.7)])
def test_every_point_is_the_naive_loops(name: str, together: bool, seed: int, step: float) -> None:
    found = drive(Pattern(SPACES[name], seed=seed, step=step, together=together), steps, 700)
    points = naive(SPACES[name], seed, step, together, steps)
    assert found == [next(points) for _ in range(700)]


def test_the_top_of_a_hill_is_found_to_the_smallest_step() -> None:
    dims = tuple(Dim(f"x{i}", 0.1) for i in range(3))
    best = max(drive(Pattern(dims, seed=0), sphere, 120), key=sphere)
    assert all(abs(x - 0.62) <= 1e-3 for x in best)


@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from(sorted(SPACES)))
@settings(max_examples=20, deadline=None)
def test_floors_change_no_decision(seed: int, together: bool, name: str) -> None:
    """A poll that does not exceed the score of where the search is may be stopped, ties included."""

    def asked(*, obeyed: bool) -> tuple[list[Genotype], int]:
        strategy, stopped = Pattern(SPACES[name], seed=seed, together=together), 0
        found: list[Genotype] = []
        while len(found) < 200:
            batch = strategy.ask()
            found += [candidate.genotype for candidate in batch]
            pairs = [(steps(candidate.genotype), candidate.floor) for candidate in batch]
            stopped += sum(score <= floor for score, floor in pairs)
            strategy.tell([-math.inf if obeyed and score <= floor else score for score, floor in pairs])
        return found, stopped

    obeying, stopped = asked(obeyed=True)
    assert obeying == asked(obeyed=False)[0]
    assert stopped > 50


def test_any_score_is_better_than_a_failure() -> None:
    strategy = Pattern((Dim("a", 0.5),), seed=0)
    strategy.ask()
    strategy.tell([-math.inf])
    (up,) = strategy.ask()
    assert (up.genotype, up.floor) == ((0.75,), -math.inf)
    strategy.tell([-1e9])
    assert strategy.ask()[0].genotype == (1.0,)


def test_it_asks_for_a_coordinates_points_together() -> None:
    strategy = Pattern((Dim("a", 0.5), Dim("b", 0.5, choices=4)), seed=0, together=True)
    strategy.ask()
    strategy.tell([0.0])
    sizes = []
    for _ in range(2):
        batch = strategy.ask()
        sizes.append(len(batch))
        strategy.tell([-1.0] * len(batch))
    assert sorted(sizes) == [2, 3]


@pytest.mark.parametrize("options", [{"step": 0}, {"step": 2}, {"together": 1}])
def test_bad_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        Pattern((Dim("a", 0.5),), seed=0, **options)
