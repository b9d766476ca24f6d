"""The adapter of Optuna's TPE against a study driven by hand."""

from __future__ import annotations

import optuna
import pytest

from searchmerge.strategies.tpe import TPE
from searchmerge.testing import drive, sphere
from searchmerge.types import Dim, UserError

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


@pytest.mark.parametrize("options", [{"startup": 0}, {"multivariate": "yes"}])
def test_bad_options_are_named(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        TPE(DIMS, seed=0, **options)  # type: ignore[arg-type]
