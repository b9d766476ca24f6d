"""The adapter of pycma against pycma itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cma
import numpy as np
import pytest

from searchmerge.strategies.cmaes import CMAES
from searchmerge.testing import drive, sphere
from searchmerge.types import Candidate, Dim, Genotype, UserError

DIMS = tuple(Dim(f"x{i}", 0.2 + 0.1 * i) for i in range(4))


def test_the_points_are_pycmas() -> None:
    rng = np.random.default_rng(9)
    options = {
        "bounds": [0, 1],
        "seed": np.nan,
        "randn": lambda *shape: rng.standard_normal(shape),
        "verbose": -9,
        "verb_log": 0,
    }
    run = cma.CMAEvolutionStrategy([dim.default for dim in DIMS], 0.15, options)
    expected: list[Genotype] = []
    for _ in range(10):
        points = run.ask()
        expected += [tuple(point) for point in points]
        run.tell(points, [-sphere(tuple(point)) for point in points])
    found = drive(CMAES(DIMS, seed=9), sphere, len(expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_failures_rank_last_whatever_the_scores() -> None:
    def told(failure: float) -> list[Genotype]:
        numbers = iter(range(1000))
        return drive(
            CMAES(DIMS, seed=1), lambda g: failure if next(numbers) % 3 == 0 else 100 + sphere(g), 64
        )

    assert told(-np.inf) == told(-1e12) == told(np.nan)


def test_it_starts_anew_with_twice_the_population() -> None:
    sizes: list[int] = []
    strategy = CMAES(DIMS, seed=0)
    while len(set(sizes)) < 2 and len(sizes) < 500:
        batch = strategy.ask()
        sizes.append(len(batch))
        strategy.tell([sphere(candidate.genotype) for candidate in batch])
    assert sizes[-1] == 2 * sizes[0]


def plainly(seed: int, evaluations: int) -> tuple[list[Genotype], list[int]]:
    """BIPOP-CMA-ES as pycma's ``fmin`` has it, from pycma's class: the points, and each run's population."""
    rng = np.random.default_rng(seed)
    points: list[Genotype] = []
    sizes: list[int] = []
    small: list[int] = []
    large: list[int] = []
    mean, first, sigma, limit = np.array([dim.default for dim in DIMS]), 8, 0.15, np.inf
    size, kind = first, small
    while True:
        options = {
            "bounds": [0, 1],
            "seed": np.nan,
            "randn": lambda *shape: rng.standard_normal(shape),
            "verbose": -9,
            "verb_log": 0,
            "popsize": size,
            "maxiter": limit,
        }
        run, spent = cma.CMAEvolutionStrategy(mean, sigma, options), 0
        sizes.append(size)
        while not (spent and run.stop()):
            asked = run.ask()
            spent += len(asked)
            points += [tuple(point) for point in asked]
            if len(points) >= evaluations:
                return points[:evaluations], sizes
            run.tell(asked, [-sphere(tuple(point)) for point in asked])
        kind.append(spent)
        mean = rng.random(4)
        if sum(small) < sum(large):
            kind, u = small, rng.random()
            size = int(first * (2 ** len(large)) ** (u * u))
            sigma, limit = 0.15 * 10 ** (-2 * rng.random()), 0.5 * sum(large) / size
        else:
            kind, size, sigma, limit = large, first * 2 ** (len(large) + 1), 0.15, np.inf
    raise AssertionError


def test_bipop_is_the_loop_of_pycmas_fmin() -> None:
    expected, sizes = plainly(5, 9000)
    assert len(sizes) > 6
    assert 16 in sizes
    assert 32 in sizes
    assert any(size not in (8, 16, 32, 64) for size in sizes)
    found = drive(CMAES(DIMS, seed=5, restarts="bipop"), sphere, 9000)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_separable_cma_learns_many_axes_faster() -> None:
    dims = tuple(Dim(f"x{i:02}", 0.4) for i in range(30))

    def ellipsoid(genotype: Genotype) -> float:
        return float(-sum(10 ** (4 * i / 29) * (x - 0.6) ** 2 for i, x in enumerate(genotype)))

    full, separable = (
        max(map(ellipsoid, drive(CMAES(dims, seed=0, diagonal=word), ellipsoid, 3000)))
        for word in (False, True)
    )
    assert separable > full / 100


def test_its_rates_are_about_those_of_ros_and_hansen() -> None:
    """They take (n + 2) / 3 times the rates of the full matrix; pycma's own are near it, as the docs say."""
    for n, said in ((12, 4.0), (60, 21.6)):
        rates = cma.CMAEvolutionStrategy([0.5] * n, 0.1, {"verbose": -9}).sp
        ratio = (rates.c1_sep + rates.cmu_sep) / (rates.c1 + rates.cmu)
        assert ratio == pytest.approx(said, abs=0.05)
        assert 0.8 < ratio / ((n + 2) / 3) < 1.25


def test_a_choice_is_still_tried_at_the_end() -> None:
    dims = (Dim("a", 0.5, choices=5), Dim("x", 0.5))
    asked = drive(CMAES(dims, seed=0), lambda g: -((g[0] - 0.5) ** 2) - (g[1] - 0.3) ** 2, 300)[-100:]
    assert len({genotype[0] for genotype in asked}) > 1


def test_population_and_diagonal_are_options() -> None:
    assert len(CMAES(DIMS, seed=0, population=9).ask()) == 9
    full, diagonal = (drive(CMAES(DIMS, seed=0, diagonal=word), sphere, 80) for word in (False, True))
    assert full != diagonal


# Racing.


def raced(
    strategy: CMAES, objective: Callable[[Genotype], float], evaluations: int, *, stop: bool
) -> tuple[list[Candidate], int]:
    """What it asks for, and how many of these were stopped at their floor, where that is done."""
    asked: list[Candidate] = []
    stopped = 0
    while len(asked) < evaluations:
        (candidate,) = strategy.ask()
        asked.append(candidate)
        score = objective(candidate.genotype)
        hopeless = stop and score <= candidate.floor
        stopped += hopeless
        strategy.tell([-np.inf if hopeless else score])
    return asked, stopped


def tied(genotype: Genotype) -> float:
    return round(24 * sphere(genotype)) / 24


def slope(genotype: Genotype) -> float:
    """A landscape on which restarts come late."""
    return float(sum(x * (k + 1) for k, x in enumerate(genotype)) + 0.1 * np.sin(30 * genotype[0]))


def test_where_points_race_they_are_those_of_pycma_without_negative_weights() -> None:
    rng = np.random.default_rng(9)
    options = {
        "bounds": [0, 1],
        "seed": np.nan,
        "randn": lambda *shape: rng.standard_normal(shape),
        "CMA_active": False,
        "verbose": -9,
        "verb_log": 0,
    }
    run = cma.CMAEvolutionStrategy([dim.default for dim in DIMS], 0.15, options)
    expected: list[Genotype] = []
    for _ in range(12):
        points = run.ask()
        expected += [tuple(point) for point in points]
        run.tell(points, [-sphere(tuple(point)) for point in points])
    found = drive(CMAES(DIMS, seed=9, racing=True), sphere, len(expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert found != drive(CMAES(DIMS, seed=9), sphere, len(expected))


def test_a_point_races_against_the_last_one_that_would_be_a_parent() -> None:
    """Of eight points four are parents: the fourth best so far, failures apart, of equals the first."""
    strategy = CMAES(DIMS, seed=0, racing=0.3)
    first = [0.1, 0.5, -np.inf, 0.3, 0.3, 0.2, 0.4, 0.6]
    second = [0.9, 0.8, 0.7, 0.6, 0.1, 0.95, 0.65, 0.65]
    rivals: list[int | None] = []
    floors: list[float] = []
    seeds: set[int] = set()
    for score in first + second:
        (candidate,) = strategy.ask()
        rivals.append(candidate.race.rival if candidate.race else None)
        floors.append(candidate.floor)
        if candidate.race:
            assert (candidate.race.test, candidate.race.level) == ("bound", 0.3)
            seeds.add(candidate.race.seed)
        strategy.tell([score])
    assert strategy.races
    assert rivals == [None] * 5 + [1, 6, 5] + [None] * 4 + [12, 12, 11, 11]
    below = [-np.inf if rival is None else (first + second)[rival - 1] for rival in rivals]
    assert floors == [-np.inf if x == -np.inf else np.nextafter(x, -np.inf) for x in below]
    assert len(seeds) == 7


@pytest.mark.parametrize(
    "options", [{}, {"diagonal": True}, {"restarts": "bipop"}, {"population": 15}], ids=str
)
@pytest.mark.parametrize("seed", range(3))
def test_its_floors_change_nothing(options: dict[str, Any], seed: int) -> None:
    """Not even where many score the same, nor where a run has converged and another begins."""
    for objective, evaluations in ((tied, 300), (sphere, 900)):
        stopped, plain = (
            raced(CMAES(DIMS, seed=seed, racing=True, **options), objective, evaluations, stop=stop)
            for stop in (True, False)
        )
        assert [each.genotype for each in stopped[0]] == [each.genotype for each in plain[0]]
        assert [each.race for each in stopped[0]] == [each.race for each in plain[0]]
        assert stopped[1] > 20


def test_who_is_no_parent_has_no_influence() -> None:
    """Whatever is told of points below their floor."""
    strategy = CMAES(DIMS, seed=3, racing=True)
    tossed = np.random.default_rng(0)
    plain, _ = raced(CMAES(DIMS, seed=3, racing=True), slope, 300, stop=False)
    for k, expected in enumerate(plain):
        (candidate,) = strategy.ask()
        assert candidate.genotype == expected.genotype, k
        score = slope(candidate.genotype)
        low = score <= candidate.floor
        strategy.tell([candidate.floor - tossed.random() if low else score])


def test_without_racing_a_generation_is_asked_at_once_and_nobody_races() -> None:
    strategy = CMAES(DIMS, seed=0)
    batch = strategy.ask()
    assert (len(batch), strategy.races) == (8, False)
    assert all(each.race is None and each.floor == -np.inf for each in batch)


@pytest.mark.parametrize(
    "options",
    [
        {"sigma0": 0},
        {"sigma0": "x"},
        {"restarts": "x"},
        {"population": 1},
        {"diagonal": 1},
        {"racing": 1},
        {"racing": "true"},
    ],
)
def test_bad_options_are_named(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        CMAES(DIMS, seed=0, **options)  # type: ignore[arg-type]
