"""NSGA-II against Optuna called directly, of one objective and of two whose best points are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from searchmerge.config import Budget
from searchmerge.journal import Journal
from searchmerge.pareto import front, hypervolume, signed
from searchmerge.search import search
from searchmerge.strategies.nevergrad import Nevergrad
from searchmerge.strategies.nsga2 import NSGA2
from searchmerge.testing import STRATEGY_CHECKS, check_learns, check_several, drive, sphere
from searchmerge.types import Dim, Evaluation, Genotype, Recipe, Trial, UserError

DIMS = tuple(Dim(f"x{i}", 0.3) for i in range(5))
MIXED = (Dim("a", 0.2), Dim("b", 0.9, choices=3), Dim("c", 0.5))
REFERENCE = (-1.1, -6.0)


def zdt1(x: Genotype) -> tuple[float, float]:
    """E. Zitzler, K. Deb, L. Thiele 2000, with a minus: the front is where all but the first are 0."""
    g = 1 + 9 * sum(x[1:]) / (len(x) - 1)
    return -x[0], -g * (1 - (x[0] / g) ** 0.5)


class Cube:
    """A space whose recipes are the points themselves."""

    dims = DIMS
    models = 1.0

    def decode(self, genotype: Genotype, past: Any = ()) -> Recipe:
        return {"x": list(genotype)}

    def realise(self, recipe: Recipe, workshop: Any) -> Any:
        raise AssertionError("nothing is realised here")

    def pruned(self, recipe: Recipe) -> Recipe:
        return recipe


def through_the_loop(folder: Path, strategy: Any, evaluations: int, *, resume: bool = False) -> list[Trial]:
    """Search ZDT1 with its first objective as a metric that is better when lower."""

    def evaluate(recipe: Recipe, floor: float, share: float) -> Evaluation:
        first, second = zdt1(recipe["x"])
        return Evaluation((first + second) / 2, {"f1": -first, "f2": second})

    def told(trial: Trial) -> tuple[float, ...]:
        assert trial.evaluation is not None
        return signed(trial.evaluation.metrics, ["f1", "f2"], {"f1"})

    with Journal(folder / "journal.jsonl", {}, resume=resume) as journal:
        budget = Budget(evaluations=evaluations)
        return list(search(Cube(), strategy, evaluate, journal, budget, told=told))


def optunas(
    dims: tuple[Dim, ...], objective: Callable[[Genotype], Any], objectives: int, n: int
) -> list[Any]:
    """The points of Optuna's sampler, a study driven by hand."""
    sampler = optuna.samplers.NSGAIISampler(
        seed=4, population_size=8, crossover=optuna.samplers.nsgaii.BLXAlphaCrossover()
    )
    study = optuna.create_study(sampler=sampler, directions=["maximize"] * objectives)
    study.enqueue_trial(
        {d.name: d.default if d.choices is None else int(d.default * d.choices) for d in dims}
    )
    points = []

    def called(trial: optuna.Trial) -> Any:
        values = []
        for dim in dims:
            if dim.choices is None:
                values.append(trial.suggest_float(dim.name, 0, 1))
            else:
                number = trial.suggest_categorical(dim.name, list(range(dim.choices)))
                values.append((number + 0.5) / dim.choices)
        points.append(tuple(values))
        return objective(points[-1])

    study.optimize(called, n_trials=n)
    return points


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_through_the_loop_the_points_and_the_volume_are_optunas(tmp_path: Path) -> None:
    trials = through_the_loop(tmp_path, NSGA2(DIMS, seed=4, population=8), 120)
    found = [trial.genotype for trial in trials[1:]]
    assert len(found) > 110
    expected = optunas(DIMS, zdt1, 2, len(found))
    assert found == expected
    values = [zdt1(x) for x in found]
    volume = hypervolume(values, REFERENCE)
    assert volume == hypervolume([zdt1(x) for x in expected], REFERENCE)
    # The best there is, f2 = 1 - sqrt(f1) from 0 to 1, whose integral is 1/3, up to the reference.
    known = 1.1 * 6 - 1 / 3
    first = hypervolume(values[:8], REFERENCE)
    assert volume is not None
    assert first is not None
    assert first < volume <= known
    assert volume > 0.8 * known
    assert known - volume < (known - first) / 2


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_of_one_score_and_with_choices_the_points_are_optunas() -> None:
    assert drive(NSGA2(MIXED, seed=4, population=8), sphere, 40) == optunas(MIXED, sphere, 1, 40)


@pytest.mark.parametrize("check", STRATEGY_CHECKS, ids=lambda check: check.__name__)
def test_contract(check: Callable[[Any], None]) -> None:
    check(NSGA2)


def test_learns() -> None:
    check_learns(NSGA2)


@pytest.mark.parametrize("strategy", [NSGA2, Nevergrad])
def test_takes_tuples(strategy: Any) -> None:
    assert strategy.several
    check_several(strategy)


def test_tuples_are_checked_against_each_other() -> None:
    strategy = NSGA2(DIMS, seed=0)
    strategy.ask()
    strategy.tell([(0.5, 0.25)])
    strategy.ask()
    with pytest.raises(ValueError, match="values"):
        strategy.tell([(0.5, 0.25, 0.0)])


@pytest.mark.parametrize("make", [NSGA2, Nevergrad])
@pytest.mark.parametrize("done", [1, 7, 23])
def test_resumed_the_journal_is_the_same(tmp_path: Path, make: Any, done: int) -> None:
    journal = tmp_path / "journal.jsonl"
    through_the_loop(tmp_path, make(DIMS, seed=1, budget=30), 30)

    def compared() -> list[str]:
        return [line[: line.rindex(',"seconds":')] for line in journal.read_text().splitlines()[1:]]

    whole, lines = compared(), journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[: 1 + done]))
    through_the_loop(tmp_path, make(DIMS, seed=1, budget=30), 30, resume=True)
    assert compared() == whole


def test_two_objectives_lead_elsewhere_than_their_mean() -> None:
    apart = drive(NSGA2(DIMS, seed=4), zdt1, 100)
    mean = drive(NSGA2(DIMS, seed=4), lambda x: sum(zdt1(x)) / 2, 100)
    assert apart[:11] == mean[:11]
    assert apart != mean
    sizes = [len(front([zdt1(x) for x in points])) for points in (apart, mean)]
    assert sizes[0] > sizes[1]


@pytest.mark.parametrize("population", [1, 2.5, True])
def test_a_bad_population_is_named(population: Any) -> None:
    with pytest.raises(UserError, match="population"):
        NSGA2(DIMS, seed=0, population=population)
