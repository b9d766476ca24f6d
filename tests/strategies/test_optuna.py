"""The adapters of Optuna's samplers against studies driven by hand and against the sequences themselves."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
import pytest
from scipy.stats import qmc

from searchmerge.strategies.gp import GP
from searchmerge.strategies.qmc import QMC
from searchmerge.testing import drive, sphere
from searchmerge.types import Dim, Genotype, UserError

DIMS = (Dim("a", 0.2), Dim("b", 0.9, choices=3), Dim("c", 0.5))


def by_hand(sampler: optuna.samplers.BaseSampler, scores: dict[int, float], count: int) -> list[Genotype]:
    """What a study asks for on ``DIMS``; some trials score otherwise than the sphere."""
    study = optuna.create_study(sampler=sampler, direction="maximize")
    study.enqueue_trial({"a": 0.2, "b": 2, "c": 0.5})
    points: list[Genotype] = []

    def objective(trial: optuna.Trial) -> float:
        a = trial.suggest_float("a", 0, 1)
        b = (trial.suggest_categorical("b", [0, 1, 2]) + 0.5) / 3
        points.append((a, b, trial.suggest_float("c", 0, 1)))
        return scores.get(trial.number, sphere(points[-1]))

    study.optimize(objective, n_trials=count)
    return points


def test_the_points_of_gp_are_optunas() -> None:
    expected = by_hand(optuna.samplers.GPSampler(seed=4, n_startup_trials=5), {}, 12)
    assert drive(GP(DIMS, seed=4, startup=5), sphere, 12) == expected


def test_a_failure_is_the_worst_score_so_far_to_gp() -> None:
    """Also where a worse one comes later: then it counts as that."""
    seen: list[float] = []

    def failing(genotype: Genotype) -> float:
        seen.append(-np.inf if len(seen) == 2 else sphere(genotype))
        return seen[-1]

    found = drive(GP(DIMS, seed=4, startup=5), failing, 6)
    # The first point that the process decides on sees five scores.
    worst = min(score for score in seen[:5] if np.isfinite(score))
    expected = by_hand(optuna.samplers.GPSampler(seed=4, n_startup_trials=5), {2: worst}, 6)
    assert found == expected


@pytest.mark.parametrize(("name", "engine"), [("sobol", qmc.Sobol), ("halton", qmc.Halton)])
@pytest.mark.filterwarnings("ignore")
def test_the_points_of_qmc_are_the_default_and_the_sequence(name: str, engine: Any) -> None:
    expected = engine(3, scramble=True, seed=6).random(32)
    found = drive(QMC(DIMS, seed=6, sequence=name), sphere, 33)
    assert found[0] == (0.2, 2.5 / 3, 0.5)
    # Coordinates stand in the order of their names there, which is also theirs here.
    np.testing.assert_allclose(np.array(found[1:])[:, [0, 2]], expected[:, [0, 2]], rtol=0, atol=1e-12)
    assert [genotype[1] for genotype in found[1:]] == [(int(3 * x) + 0.5) / 3 for x in expected[:, 1]]


def test_the_points_of_qmc_fill_the_cube() -> None:
    """Of 64 Sobol points, one lies in each 64th of any coordinate, and a quarter in each half of each two."""
    dims = tuple(Dim(f"x{i}", 0.5) for i in range(5))
    points: npt.NDArray[np.float64] = np.array(drive(QMC(dims, seed=2), sphere, 65)[1:])
    for column in points.T:
        assert sorted((64 * column).astype(int)) == list(range(64))
    for i in range(5):
        for j in range(i):
            quarters = 2 * (points[:, i] > 0.5) + (points[:, j] > 0.5)
            assert np.bincount(quarters).tolist() == [16] * 4


def test_qmc_takes_no_notice_of_scores() -> None:
    assert drive(QMC(DIMS, seed=6), sphere, 30) == drive(QMC(DIMS, seed=6), lambda _: -np.inf, 30)


@pytest.mark.parametrize("make", [GP, QMC])
def test_no_line_is_logged_and_nobodys_settings_change(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Not even where scores are infinite, or all categories have been tried."""
    verbosity, numbers = optuna.logging.get_verbosity(), iter(range(100))
    optuna.logging.enable_propagation()
    try:
        with warnings.catch_warnings(), caplog.at_level(logging.NOTSET):
            warnings.simplefilter("error")
            strategy = make((Dim("a", 0.5, choices=2),), seed=0)
            drive(strategy, lambda _: -np.inf if next(numbers) % 2 else 1.0, 20)
    finally:
        optuna.logging.disable_propagation()
    assert not caplog.records
    assert optuna.logging.get_verbosity() == verbosity


@pytest.mark.parametrize(("make", "options"), [(GP, {"startup": 0}), (QMC, {"sequence": "lattice"})])
def test_bad_options_are_named(make: Any, options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        make(DIMS, seed=0, **options)
