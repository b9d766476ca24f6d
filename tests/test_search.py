from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from searchmerge.config import Budget
from searchmerge.journal import Journal
from searchmerge.search import FAILURES_IN_A_ROW, REPEATS_IN_A_ROW, search
from searchmerge.types import Candidate, Dim, Evaluation, Genotype, Recipe, Trial, UserError


class Line:
    """A space of one coordinate, in tenths."""

    dims: tuple[Dim, ...] = (Dim("x", 0.5),)

    def decode(self, genotype: Genotype) -> Recipe:
        return {"x": round(genotype[0], 1)}

    def realise(self, recipe: Recipe, workshop: Any) -> Mapping[str, Any]:
        raise AssertionError("the loop never realises anything itself")


class Listed:
    """A strategy that asks a fixed list of batches."""

    def __init__(self, *batches: Sequence[float]) -> None:
        self.batches = list(batches)
        self.told: list[list[float]] = []

    def ask(self) -> Sequence[Candidate]:
        return [Candidate((x,)) for x in self.batches.pop(0)] if self.batches else []

    def tell(self, scores: Sequence[float]) -> None:
        self.told.append(list(scores))


class Counted:
    """An objective that counts its calls; the score is -(x - 0.3)^2."""

    def __init__(self) -> None:
        self.calls: list[float] = []

    def __call__(self, recipe: Recipe) -> Evaluation:
        self.calls.append(recipe["x"])
        score = -((recipe["x"] - 0.3) ** 2)
        return Evaluation(score, {"x": score})


def run(
    tmp_path: Path, strategy: Any, evaluate: Any, *, resume: bool = False, **budget: Any
) -> tuple[list[Trial], str]:
    trials = []
    with Journal(tmp_path / "journal.jsonl", {"seed": 0}, resume=resume) as journal:
        steps = search(Line(), strategy, evaluate, journal, Budget(**(budget or {"evaluations": 100})))
        while True:
            try:
                trials.append(next(steps))
            except StopIteration as stop:
                return trials, str(stop.value)


def test_the_first_trial_is_the_default_merge(tmp_path: Path) -> None:
    trials, reason = run(tmp_path, Listed([0.1, 0.2]), Counted())
    assert [t.genotype for t in trials] == [(0.5,), (0.1,), (0.2,)]
    assert [t.number for t in trials] == [0, 1, 2]
    assert reason == "the strategy has finished"


def test_a_strategy_is_told_its_own_scores_in_order(tmp_path: Path) -> None:
    strategy = Listed([0.1, 0.4], [0.3])
    run(tmp_path, strategy, Counted())
    assert strategy.told == [pytest.approx([-0.04, -0.01]), [0.0]]


def test_a_repeated_recipe_is_answered_from_memory_and_costs_nothing(tmp_path: Path) -> None:
    objective = Counted()
    strategy = Listed([0.5, 0.11, 0.09], [0.2], [0.4])
    trials, reason = run(tmp_path, strategy, objective, evaluations=3)
    assert objective.calls == [0.5, 0.1, 0.2]
    assert [t.repeats for t in trials] == [None, 0, None, 2, None]
    assert strategy.told[0] == pytest.approx([-0.04, -0.04, -0.04])
    assert reason == "3 evaluations are spent"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, RuntimeError("out of memory")])
def test_a_failed_candidate_is_a_failed_trial_and_the_run_goes_on(tmp_path: Path, bad: Any) -> None:
    def evaluate(recipe: Recipe) -> Evaluation:
        if recipe["x"] == 0.1:
            if isinstance(bad, Exception):
                raise bad
            return Evaluation(bad, {})
        return Evaluation(1.0, {})

    strategy = Listed([0.1, 0.2])
    trials, _ = run(tmp_path, strategy, evaluate)
    assert [t.score for t in trials] == [1.0, -math.inf, 1.0]
    assert trials[1].error
    assert strategy.told == [[-math.inf, 1.0]]


def test_a_generation_of_failures_stops_the_run(tmp_path: Path) -> None:
    def evaluate(recipe: Recipe) -> Evaluation:
        raise RuntimeError("every time")

    batch = [i / 100 for i in range(10, 10 + FAILURES_IN_A_ROW * 10, 10)]
    with pytest.raises(UserError, match="every time"):
        run(tmp_path, Listed(batch, [0.5]), evaluate)


def test_a_users_mistake_inside_an_evaluation_stops_the_run(tmp_path: Path) -> None:
    def evaluate(recipe: Recipe) -> Evaluation:
        raise UserError(expected="a", got="b", cure="c")

    with pytest.raises(UserError, match="expected: a"):
        run(tmp_path, Listed([0.1]), evaluate)


def test_patience(tmp_path: Path) -> None:
    trials, reason = run(tmp_path, Listed(*[[x / 10] for x in (3, 6, 7, 8, 9)]), Counted(), patience=2)
    assert [t.recipe["x"] for t in trials] == [0.5, 0.3, 0.6, 0.7]
    assert "nothing better" in reason


def test_seconds(tmp_path: Path) -> None:
    trials, reason = run(tmp_path, Listed([0.1], [0.2]), Counted(), seconds=1e-9)
    assert len(trials) == 1
    assert "seconds" in reason


def test_a_strategy_with_nothing_new_to_ask_ends(tmp_path: Path) -> None:
    trials, reason = run(tmp_path, Listed(*[[0.5]] * 2 * REPEATS_IN_A_ROW), Counted())
    assert len(trials) == 1 + REPEATS_IN_A_ROW
    assert "all known" in reason


BATCHES = ([0.1, 0.2, 0.5], [0.2, 0.7], [0.9, 0.3])


@pytest.mark.parametrize("done", range(8))
def test_a_resumed_run_evaluates_only_what_is_new(tmp_path: Path, done: int) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    undisturbed, _ = run(whole, Listed(*BATCHES), Counted())
    lines = (whole / "journal.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "journal.jsonl").write_text("".join(lines[: 1 + done]))

    objective, strategy = Counted(), Listed(*BATCHES)
    trials, _ = run(tmp_path, strategy, objective, resume=True)

    assert [(t.genotype, t.score, t.repeats) for t in trials] == [
        (t.genotype, t.score, t.repeats) for t in undisturbed
    ]
    known = {t.recipe["x"] for t in undisturbed[:done]}
    assert known.isdisjoint(objective.calls)
    assert len(strategy.told) == len(BATCHES)


def test_a_journal_of_another_search_is_refused(tmp_path: Path) -> None:
    run(tmp_path, Listed([0.1, 0.2]), Counted())
    with pytest.raises(UserError, match="genotype of trial 2"):
        run(tmp_path, Listed([0.1, 0.9]), Counted(), resume=True)


def test_a_larger_budget_goes_on(tmp_path: Path) -> None:
    run(tmp_path, Listed(*BATCHES), Counted(), evaluations=2)
    objective = Counted()
    trials, _ = run(tmp_path, Listed(*BATCHES), objective, resume=True, evaluations=4)
    assert objective.calls == [0.2, 0.7]
    assert len(trials) == 6
