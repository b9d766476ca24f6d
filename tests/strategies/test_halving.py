"""Successive halving against a loop that knows the whole tournament."""

from __future__ import annotations

import math

import pytest

from searchmerge.strategies.halving import Halving
from searchmerge.testing import sphere
from searchmerge.types import Dim, Genotype, UserError, default_genotype

DIMS = tuple(Dim(f"x{i}", 0.5) for i in range(4))


@pytest.mark.parametrize(("eta", "rungs"), [(2, 4), (3, 3), (4, 2), (3, 1)])
def test_each_rung_has_the_best_of_the_one_before_on_more_of_dev(eta: int, rungs: int) -> None:
    strategy = Halving(DIMS, seed=1, budget=60, eta=eta, rungs=rungs)
    alive: set[Genotype] = set()
    for rung in range(rungs):
        batch = strategy.ask()
        points = [candidate.genotype for candidate in batch]
        assert {candidate.share for candidate in batch} == {eta ** (rung + 1.0 - rungs)}
        if rung == 0:
            assert points[0] == default_genotype(DIMS)
            assert len(set(points)) == len(points)
        else:
            assert set(points) == alive
        scores = [sphere(point) for point in points]
        ranked = sorted(zip(scores, points, strict=True), reverse=True)
        alive = {point for _, point in ranked[: max(1, len(points) // eta)]}
        strategy.tell(scores)
    assert not alive & {candidate.genotype for candidate in strategy.ask()}, "another turn has other points"


@pytest.mark.parametrize("budget", [12, 60, 200, 1001])
@pytest.mark.parametrize("rungs", [1, 2, 3, 4])
def test_a_turn_spends_the_budget_a_rung_as_much_as_another(budget: int, rungs: int) -> None:
    strategy = Halving(DIMS, seed=0, budget=budget, eta=2, rungs=rungs)
    costs = []
    for _ in range(rungs):
        batch = strategy.ask()
        costs.append(sum(candidate.share for candidate in batch))
        strategy.tell([sphere(candidate.genotype) for candidate in batch])
    assert 1 + sum(costs) <= budget, "with the default merge"
    assert 1 + sum(costs) > budget - 2 * rungs
    assert max(costs) - min(costs) < 1


def test_failures_lose_and_the_first_of_equals_stays() -> None:
    strategy = Halving(DIMS, seed=0, budget=20, eta=2, rungs=2)
    points = [candidate.genotype for candidate in strategy.ask()]
    scores = [-math.inf if place % 3 else 0.5 for place in range(len(points))]
    strategy.tell(scores)
    kept = [candidate.genotype for candidate in strategy.ask()]
    good = [point for point, score in zip(points, scores, strict=True) if score == 0.5]
    assert kept[: len(good)] == good or set(good) <= set(kept)
    bad = [point for point, score in zip(points, scores, strict=True) if score != 0.5]
    assert set(kept) - set(good) == set(bad[: len(kept) - len(good)])


@pytest.mark.parametrize("options", [{"eta": 1}, {"rungs": 0}, {"eta": 2.5}])
def test_bad_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match="a whole number of at least"):
        Halving(DIMS, seed=0, **options)  # type: ignore[arg-type]
