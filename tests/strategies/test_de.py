"""Differential evolution against a loop over every coordinate, written out in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.strategies.de import DONORS, DifferentialEvolution, mutate, reflect
from searchmerge.testing import drive, sphere
from searchmerge.types import Dim, Genotype, UserError, default_genotype

DIMS = tuple(Dim(f"x{i}", 0.1 * i) for i in range(5))


def naive(rule: str, seed: int, size: int, f: float, cr: float, generations: int) -> list[Genotype]:
    """The whole algorithm, a coordinate at a time; only the random numbers are drawn as the class does."""
    rng = np.random.default_rng(seed)
    n = len(DIMS)
    members = [[float(x) for x in row] for row in rng.random((size, n))]
    members[0] = list(default_genotype(DIMS))
    asked: list[Genotype] = [tuple(member) for member in members]
    scores = [sphere(tuple(member)) for member in members]
    for _ in range(generations):
        best = members[scores.index(max(scores))]
        children = []
        for i in range(size):
            others = [j for j in range(size) if j != i]
            drawn = [members[j] for j in rng.choice(others, size=DONORS[rule], replace=False)]
            taken = [bool(u < cr) for u in rng.random(n)]
            taken[int(rng.integers(n))] = True
            child = []
            for k in range(n):
                x = members[i][k]
                if taken[k]:
                    if rule == "rand/1":
                        x = drawn[0][k] + f * (drawn[1][k] - drawn[2][k])
                    elif rule == "best/1":
                        x = best[k] + f * (drawn[0][k] - drawn[1][k])
                    else:
                        x = x + f * (best[k] - x) + f * (drawn[0][k] - drawn[1][k])
                while not 0 <= x <= 1:
                    x = -x if x < 0 else 2 - x
                child.append(x)
            children.append(child)
        for i, child in enumerate(children):
            asked.append(tuple(child))
            if sphere(tuple(child)) >= scores[i]:
                members[i], scores[i] = child, sphere(tuple(child))
    return asked


@pytest.mark.parametrize("rule", DONORS)
@pytest.mark.parametrize(("f", "cr"), [(0.5, 0.5), (1.9, 0.9), (0.3, 0.0), (0.8, 1.0)])
def test_every_point_is_the_naive_loops(rule: str, f: float, cr: float) -> None:
    found = drive(
        DifferentialEvolution(DIMS, seed=5, population=7, rule=rule, f=f, cr=cr), sphere, evaluations=7 * 21
    )
    np.testing.assert_allclose(found, naive(rule, 5, 7, f, cr, generations=20), rtol=0, atol=1e-12)


@given(st.floats(-50, 50))
def test_reflection_stays_inside_and_leaves_the_inside_alone(x: float) -> None:
    found = float(reflect(np.array([x]))[0])
    assert 0 <= found <= 1
    if 0 <= x <= 1:
        assert found == x
    assert float(reflect(np.array([-x]))[0]) == pytest.approx(found, abs=1e-12)
    assert float(reflect(np.array([2 - x]))[0]) == pytest.approx(found, abs=1e-12)


@pytest.mark.parametrize("rule", DONORS)
def test_equal_members_give_themselves(rule: str) -> None:
    one = np.full(4, 0.3)
    np.testing.assert_allclose(mutate(rule, one, one, np.stack([one] * DONORS[rule]), 0.7), one)


def test_best_without_difference_is_the_best() -> None:
    rng = np.random.default_rng(0)
    member, best, donors = rng.random(4), rng.random(4), rng.random((2, 4))
    assert (mutate("best/1", member, best, donors, 0.0) == best).all()
    assert (mutate("current-to-best/1", member, best, donors, 0.0) == member).all()


def test_no_crossover_changes_one_coordinate() -> None:
    strategy = DifferentialEvolution(DIMS, seed=0, population=6, cr=0.0)
    parents = [candidate.genotype for candidate in strategy.ask()]
    strategy.tell([0.0] * 6)
    for parent, child in zip(parents, strategy.ask(), strict=True):
        assert sum(a != b for a, b in zip(parent, child.genotype, strict=True)) == 1


def test_a_child_as_good_takes_the_place_and_a_worse_one_does_not() -> None:
    strategy = DifferentialEvolution(DIMS, seed=0, population=6, f=0.0, cr=1.0)
    strategy.ask()
    strategy.tell([1.0, 0, 0, 0, 0, 0])
    first = strategy.ask()[0].genotype
    assert {candidate.genotype for candidate in strategy.ask()} == {default_genotype(DIMS)}
    strategy.tell([0.5] * 6)
    assert strategy.ask()[0].genotype == first == default_genotype(DIMS)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"rule": "rand/2"}, "rule"),
        ({"rule": "rand/1", "population": 3}, "population"),
        ({"rule": "best/1", "population": 2}, "population"),
        ({"population": 10.5}, "population"),
        ({"f": -0.1}, "f"),
        ({"f": "large"}, "f"),
        ({"cr": 1.5}, "cr"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], named: str) -> None:
    with pytest.raises(UserError, match=named):
        DifferentialEvolution(DIMS, seed=0, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", DONORS)
def test_the_smallest_population_of_a_rule_works(rule: str) -> None:
    size = DONORS[rule] + 1
    strategy = DifferentialEvolution(DIMS, seed=0, population=size, rule=rule)
    assert len(drive(strategy, sphere, 5 * size)) == 5 * size
