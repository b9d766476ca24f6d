"""The adapter of pycma against pycma itself."""

from __future__ import annotations

import cma
import numpy as np
import pytest

from searchmerge.strategies.cmaes import CMAES, LEAST_IN_BINS
from searchmerge.testing import drive, sphere
from searchmerge.types import Dim, Genotype, UserError

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


def test_a_choice_is_still_tried_at_the_end() -> None:
    dims = (Dim("a", 0.5, choices=5), Dim("x", 0.5))
    asked = drive(CMAES(dims, seed=0), lambda g: -((g[0] - 0.5) ** 2) - (g[1] - 0.3) ** 2, 300)[-100:]
    assert np.std([genotype[0] for genotype in asked]) > 0.7 * LEAST_IN_BINS / 5
    assert len({min(int(5 * genotype[0]), 4) for genotype in asked}) > 1


def test_population_and_diagonal_are_options() -> None:
    assert len(CMAES(DIMS, seed=0, population=9).ask()) == 9
    full, diagonal = (drive(CMAES(DIMS, seed=0, diagonal=word), sphere, 80) for word in (False, True))
    assert full != diagonal


@pytest.mark.parametrize("options", [{"sigma0": 0}, {"sigma0": "x"}, {"population": 1}, {"diagonal": 1}])
def test_bad_options_are_named(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        CMAES(DIMS, seed=0, **options)  # type: ignore[arg-type]
