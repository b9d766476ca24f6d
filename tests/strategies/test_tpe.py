"""The adapter of Optuna's TPE against a study driven by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import optuna
import pytest

from searchmerge.strategies.tpe import TPE
from searchmerge.testing import drive, sphere
from searchmerge.types import Dim, Genotype, Race, UserError

DIMS = (Dim("a", 0.2), Dim("b", 0.9, choices=3), Dim("c", 0.5))


@pytest.mark.parametrize("multivariate", [False, True])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_points_are_optunas(multivariate: bool) -> None:
    sampler = optuna.samplers.TPESampler(seed=4, n_startup_trials=5, multivariate=multivariate)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    study.enqueue_trial({"a": 0.2, "b": 2, "c": 0.5})
    expected = []

    def objective(trial: optuna.Trial) -> float:
        a, c = trial.suggest_float("a", 0, 1), 0.0
        b = (trial.suggest_categorical("b", [0, 1, 2]) + 0.5) / 3
        c = trial.suggest_float("c", 0, 1)
        expected.append((a, b, c))
        return sphere((a, b, c))

    study.optimize(objective, n_trials=25)
    assert drive(TPE(DIMS, seed=4, startup=5, multivariate=multivariate), sphere, 25) == expected


def test_the_first_point_is_the_default() -> None:
    ((first,),) = [[candidate.genotype for candidate in TPE(DIMS, seed=0).ask()]]
    assert first == (0.2, 2.5 / 3, 0.5)


def raced(
    strategy: TPE, scores: Callable[[int, Genotype], float], evaluations: int
) -> tuple[list[Genotype], list[Race | None]]:
    """What a strategy asks for where the scores of trials are known by their numbers."""
    asked: list[Genotype] = []
    races: list[Race | None] = []
    for number in range(1, evaluations + 1):
        (candidate,) = strategy.ask()
        assert candidate.floor == -math.inf
        asked.append(candidate.genotype)
        races.append(candidate.race)
        strategy.tell([scores(number, candidate.genotype)])
    return asked, races


def test_points_after_the_first_ones_race_against_the_best_so_far() -> None:
    scores = {1: 0.1, 2: -math.inf, 3: 0.5, 4: 0.5, 5: 0.4, 6: 0.2, 7: 0.9, 8: -math.inf, 9: 0.9}
    strategy = TPE(DIMS, seed=0, startup=5, racing=True)
    _, races = raced(strategy, lambda number, _: scores[number], 9)
    assert strategy.races
    assert races[:5] == [None] * 5
    assert [race and (race.rival, race.test, race.level) for race in races[5:]] == [
        (3, "wilcoxon", 0.1),
        (3, "wilcoxon", 0.1),
        (7, "wilcoxon", 0.1),
        (7, "wilcoxon", 0.1),
    ]
    assert len({race.seed for race in races[5:] if race}) == 4
    assert raced(TPE(DIMS, seed=0, startup=5, racing=True), lambda number, _: scores[number], 9)[1] == races
    assert raced(TPE(DIMS, seed=1, startup=5, racing=True), lambda number, _: scores[number], 9)[1] != races


def test_nobody_races_against_failures_or_where_it_is_off() -> None:
    assert raced(TPE(DIMS, seed=0, startup=2, racing=0.3), lambda *_: -math.inf, 6)[1] == [None] * 6
    strategy = TPE(DIMS, seed=0, startup=2)
    assert raced(strategy, lambda _, genotype: sphere(genotype), 6)[1] == [None] * 6
    assert not strategy.races


def test_the_level_is_an_option() -> None:
    _, races = raced(TPE(DIMS, seed=0, startup=1, racing=0.3), lambda _, genotype: sphere(genotype), 3)
    assert [race and race.level for race in races] == [None, 0.3, 0.3]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_points_that_lost_are_to_the_estimator_what_pruned_trials_are_to_optunas() -> None:
    """Half of the points lose; a study in which those are pruned asks for the same points."""
    lost = {number for number in range(1, 41) if number > 6 and number % 2}
    sampler = optuna.samplers.TPESampler(seed=4, n_startup_trials=5, multivariate=True)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    study.enqueue_trial({"a": 0.2, "b": 2, "c": 0.5})
    expected = []

    def objective(trial: optuna.Trial) -> float:
        a = trial.suggest_float("a", 0, 1)
        b = (trial.suggest_categorical("b", [0, 1, 2]) + 0.5) / 3
        c = trial.suggest_float("c", 0, 1)
        expected.append((a, b, c))
        if trial.number + 1 in lost:
            trial.report(sphere((a, b, c)), 3)
            raise optuna.TrialPruned
        return sphere((a, b, c))

    study.optimize(objective, n_trials=40)
    strategy = TPE(DIMS, seed=4, startup=5, racing=True)
    found, _ = raced(strategy, lambda n, genotype: -math.inf if n in lost else sphere(genotype), 40)
    assert found == expected


@pytest.mark.parametrize(
    "options",
    [
        {"startup": 0},
        {"multivariate": "yes"},
        {"racing": 1},
        {"racing": 0},
        {"racing": "yes"},
        {"racing": -0.1},
        {"racing": math.nan},
    ],
)
def test_bad_options_are_named(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        TPE(DIMS, seed=0, **options)  # type: ignore[arg-type]
