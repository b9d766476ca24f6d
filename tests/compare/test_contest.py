from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from searchmerge.bench import Bench
from searchmerge.compare import contest
from searchmerge.compare.contest import Contest, Entry, Finished
from searchmerge.config import Part, load
from searchmerge.fitness import Fitness
from searchmerge.optimize import run_search
from searchmerge.types import Evaluation, Recipe, Trial, UserError, digest
from tests.family import rewrite, tiny_family
from tests.test_kill import without_times

SPACES: dict[str, Any] = {
    "models": {"kind": "coefficients", "method": "linear", "weight": [0, 1]},
    "population": {"kind": "population"},
}


def quiet(*_: Any) -> None:
    pass


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rewrite(tiny_family(tmp_path_factory.mktemp("family")), budget={"evaluations": 16})


def held(config: Path, out: Path, field: Contest, resume: bool = False) -> list[Finished]:
    benches = field.benches(Bench(load(config)))
    return list(contest.run(benches, out, resume=resume, watch=quiet))


# Who runs.


def test_random_search_is_always_in_the_field(config: Path) -> None:
    field = Contest.of(load(config), ["de", "tpe"], 1)
    assert list(field.strategies) == ["de", "tpe", "random"]
    assert list(Contest.of(load(config), ["random", "de"], 1).strategies) == ["random", "de"]


def test_seeds_are_the_outermost_so_that_an_unfinished_comparison_is_fair(config: Path) -> None:
    loaded = load(config, ["compare.spaces={a: {kind: coefficients}, b: {kind: coefficients}}"])
    places = [(e.seed, e.space, e.strategy) for e in Contest.of(loaded, ["de", "random"], 2).entries]
    assert places == [(seed, space, s) for seed in (0, 1) for space in "ab" for s in ("de", "random")]


def test_strategies_come_by_the_names_of_the_config_or_inline(config: Path) -> None:
    strategies = "{big: {kind: de, population: 30}, cmaes: {kind: cmaes, sigma0: 0.3}}"
    loaded = load(config, [f"compare.strategies={strategies}", "compare.seeds=3"])
    field = Contest.of(loaded, ["big", "de:population=8", "cmaes"])
    assert field.strategies["big"] == Part(kind="de", population=30)
    assert field.strategies["de:population=8"].options == {"population": 8}
    assert field.strategies["cmaes"].options == {"sigma0": 0.3}
    assert field.seeds == 3
    assert list(Contest.of(loaded).strategies) == ["big", "cmaes", "random"]


def test_a_comparison_of_nothing_is_refused(config: Path) -> None:
    with pytest.raises(UserError, match="strategies to compare"):
        Contest.of(load(config), [], 2)
    with pytest.raises(UserError, match="one seed or more"):
        Contest.of(load(config), ["de"], 0)


def test_two_runs_never_share_a_folder(config: Path) -> None:
    with pytest.raises(UserError, match="a name each"):
        Contest.of(load(config), ["de:rule=rand/1", "de:rule=rand:1"], 1)


def test_folders_have_names_that_any_system_takes() -> None:
    assert Entry("per layer", "de:rule=rand/1", 3).folder == Path("per-layer/de-rule-rand-1-3")


def test_what_is_wrong_with_any_run_is_said_before_the_first_one_starts(config: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown key strategy"):
        held(config, tmp_path, Contest.of(load(config), ["random", "de:size=3"], 1))
    assert not list(tmp_path.iterdir())
    loaded = load(config, [f"compare.spaces={SPACES}"])
    with pytest.raises(UserError, match="crosses whole models"):
        held(config, tmp_path, Contest.of(loaded, ["random"], 1))


# What runs have in common.


@pytest.fixture(scope="module")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Finished]]:
    loaded = load(config, [f"compare.spaces={ {'models': SPACES['models']} }"])
    out = tmp_path_factory.mktemp("out")
    return out, held(config, out, Contest.of(loaded, ["de:population=4", "grid:points=3", "random"], 2))


def test_every_run_has_the_journal_that_it_would_have_alone(
    config: Path, finished: tuple[Path, list[Finished]], tmp_path: Path
) -> None:
    out, runs = finished
    for number, each in enumerate(runs):
        strategy = Contest.of(load(config), [each.entry.strategy], 1).strategies[each.entry.strategy]
        alone = Bench(load(config)).searched_by(strategy, each.entry.seed, Part(**SPACES["models"]))
        best, reason, counts = run_search(alone, tmp_path / str(number), resume=False, watch=quiet)
        theirs, its = (
            without_times(folder / "journal.jsonl")[1:]
            for folder in (tmp_path / str(number), out / each.entry.folder)
        )
        assert its == theirs
        assert (best.number, best.score, reason, counts) == (
            each.best.number,
            each.best.score,
            each.reason,
            each.counts,
        )


def test_floors_reject_what_is_known_as_they_would_alone(finished: tuple[Path, list[Finished]]) -> None:
    assert sum(each.counts["rejected"] for each in finished[1]) > 0


def test_a_recipe_is_evaluated_once_whoever_asks_for_it(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: list[str] = []
    evaluate = Fitness.__call__

    def counted(self: Fitness, recipe: Recipe, floor: float, share: float) -> Evaluation | None:
        evaluated.append(str(recipe))
        return evaluate(self, recipe, floor, share)

    monkeypatch.setattr(Fitness, "__call__", counted)
    # Nine points of a grid, all of them in every run, in an order of its own.
    space = "{models: {kind: coefficients, method: linear, weight: [0.5, 1], granularity: model}}"
    loaded = load(config, [f"compare.spaces={space}", "budget.evaluations=16"])
    strategies = {"grid:points=3": Part(kind="grid:3")}
    runs = held(config, tmp_path, Contest(loaded.compare.spaces, strategies, 3))
    assert len(evaluated) == len(set(evaluated)) <= 10
    assert [each.counts["evaluations"] for each in runs] == [len(evaluated)] * 3, "each pays for all"


def test_what_another_run_knows_costs_the_seconds_that_it_cost_there(
    finished: tuple[Path, list[Finished]],
) -> None:
    seconds: dict[str, set[float]] = {}
    for each in finished[1]:
        for trial in each.trials:
            if trial.repeats is None and trial.evaluation:
                seconds.setdefault(str(trial.recipe), set()).add(trial.seconds)
    assert all(len(each) == 1 for each in seconds.values())
    assert all(min(each) > 0 for each in seconds.values())


def test_a_finished_comparison_resumes_to_itself(
    config: Path, finished: tuple[Path, list[Finished]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> Evaluation:
        raise AssertionError("it is all there")

    monkeypatch.setattr(Fitness, "__call__", never)
    out, runs = finished
    loaded = load(config, [f"compare.spaces={ {'models': SPACES['models']} }"])
    field = Contest.of(loaded, ["de:population=4", "grid:points=3", "random"], 2)
    again = held(config, out, field, resume=True)
    assert [(e.entry, e.best.number, e.reason, e.counts) for e in again] == [
        (e.entry, e.best.number, e.reason, e.counts) for e in runs
    ]


# Without models.


def test_recall_answers_by_the_recipe_alone() -> None:
    one = {"b": 1, "a": [1, 2]}
    assert digest(one) == digest({"a": [1, 2], "b": 1})
    assert digest(one) != digest({"a": [2, 1], "b": 1})


def test_rejected_trials_are_unknown_to_others(finished: tuple[Path, list[Finished]]) -> None:
    """What was stopped early has no score: the next run that asks for it evaluates it."""
    rejected = {str(t.recipe) for each in finished[1] for t in each.trials if t.state == "rejected"}
    for each in finished[1]:
        fresh: list[Trial] = [t for t in each.trials if str(t.recipe) in rejected and t.state == "complete"]
        assert all(math.isfinite(trial.score) for trial in fresh)
