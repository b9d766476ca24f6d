from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from searchmerge.config import Budget
from searchmerge.journal import Journal
from searchmerge.search import FAILURES_IN_A_ROW, REPEATS_IN_A_ROW, search
from searchmerge.types import Candidate, Dim, Evaluation, Genotype, Recipe, Trial, UserError


class Line:
    """A space of one coordinate, in tenths."""

    dims: tuple[Dim, ...] = (Dim("x", 0.5),)
    models = 1.0

    def decode(self, genotype: Genotype, past: Sequence[Recipe] = ()) -> Recipe:
        return {"x": round(genotype[0], 1)}

    def realise(self, recipe: Recipe, workshop: Any) -> Mapping[str, Any]:
        raise AssertionError("the loop never realises anything itself")

    def pruned(self, recipe: Recipe) -> Recipe:
        raise AssertionError("the loop writes recipes as they are")


class Pointing(Line):
    """A space whose recipes name what there was before: of a genotype ``(k,)`` all of trial k's, and k."""

    def __init__(self) -> None:
        self.seen: list[list[Recipe]] = []

    def decode(self, genotype: Genotype, past: Sequence[Recipe] = ()) -> Recipe:
        self.seen.append(list(past))
        (k,) = genotype
        return {"line": [*past[k]["line"], k] if isinstance(k, int) else [], "x": len(past) / 10}


class Listed:
    """A strategy that asks a fixed list of batches, of coordinates or of pairs of one and a floor."""

    def __init__(self, *batches: Sequence[Any]) -> None:
        self.batches = list(batches)
        self.told: list[list[float]] = []

    def ask(self) -> Sequence[Candidate]:
        batch = self.batches.pop(0) if self.batches else []
        pairs = [x if isinstance(x, tuple) else (x, -math.inf) for x in batch]
        return [Candidate((x,), floor) for x, floor in pairs]

    def tell(self, scores: Sequence[float]) -> None:
        self.told.append(list(scores))


class Counted:
    """An objective that counts its calls; the score is -(x - 0.3)^2, not given where the floor is as high."""

    def __init__(self) -> None:
        self.calls: list[float] = []
        self.floors: list[float] = []
        self.shares: list[float] = []

    def __call__(self, recipe: Recipe, floor: float, share: float) -> Evaluation | None:
        self.calls.append(recipe["x"])
        self.floors.append(floor)
        self.shares.append(share)
        score = -((recipe["x"] - 0.3) ** 2)
        outcomes = {"x": np.array([round(10 * recipe["x"])], np.uint8)}
        return Evaluation(score, {"x": score}, outcomes) if score > floor else None


def run(
    tmp_path: Path,
    strategy: Any,
    evaluate: Any,
    *,
    space: Any = None,
    resume: bool = False,
    **budget: Any,
) -> tuple[list[Trial], str]:
    trials = []
    tmp_path.mkdir(exist_ok=True)
    with Journal(tmp_path / "journal.jsonl", {"seed": 0}, resume=resume) as journal:
        allowed = Budget(**(budget or {"evaluations": 100}))
        steps = search(space or Line(), strategy, evaluate, journal, allowed)
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


def test_a_strategy_is_told_what_is_made_of_a_trial_also_of_those_of_the_journal(tmp_path: Path) -> None:
    made: list[list[Any]] = []
    for evaluations in (3, 5):
        strategy = Listed([0.1, 0.1], [0.4, 0.2])
        with Journal(tmp_path / "journal.jsonl", {}, resume=True) as journal:
            list(
                search(
                    Line(),
                    strategy,
                    Counted(),
                    journal,
                    Budget(evaluations=evaluations),
                    told=lambda t: (t.number, t.score),
                )
            )
        made.append(strategy.told)
    assert made[0] == made[1][:1]
    assert made[1] == [
        [(1, pytest.approx(-0.04)), (2, pytest.approx(-0.04))],
        [(3, pytest.approx(-0.01)), (4, pytest.approx(-0.01))],
    ]


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
    def evaluate(recipe: Recipe, floor: float, share: float) -> Evaluation:
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
    def evaluate(recipe: Recipe, floor: float, share: float) -> Evaluation:
        raise RuntimeError("every time")

    batch = [i / 100 for i in range(10, 10 + FAILURES_IN_A_ROW * 10, 10)]
    with pytest.raises(UserError, match="every time"):
        run(tmp_path, Listed(batch, [0.5]), evaluate)


def test_a_users_mistake_inside_an_evaluation_stops_the_run(tmp_path: Path) -> None:
    def evaluate(recipe: Recipe, floor: float, share: float) -> Evaluation:
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


# Floors.


def states(trials: Sequence[Trial]) -> list[str]:
    return [trial.state for trial in trials]


def test_an_objective_gets_each_candidates_own_floor(tmp_path: Path) -> None:
    objective = Counted()
    run(tmp_path, Listed([(0.1, -0.5), 0.2], [(0.4, 0.25)]), objective)
    assert objective.floors == [-math.inf, -0.5, -math.inf, 0.25]


class Sharing(Listed):
    """A strategy that asks a fixed list of batches of pairs of a coordinate and a share of dev."""

    def ask(self) -> Sequence[Candidate]:
        batch = self.batches.pop(0) if self.batches else []
        return [Candidate((x,), share=share) for x, share in batch]


PARTS = ([(0.1, 0.25), (0.1, 0.25), (0.2, 0.25)], [(0.1, 0.5), (0.4, 0.25)], [(0.1, 1.0), (0.3, 1.0)])


def test_a_part_of_dev_costs_its_share_and_its_scores_are_known_on_that_share_alone(tmp_path: Path) -> None:
    objective = Counted()
    trials, reason = run(tmp_path, Sharing(*PARTS), objective, evaluations=3)
    assert objective.calls == [0.5, 0.1, 0.2, 0.1, 0.4, 0.1]
    assert objective.shares == [1, 0.25, 0.25, 0.5, 0.25, 1]
    assert [t.share for t in trials] == [1, 0.25, 0.25, 0.25, 0.5, 0.25, 1]
    assert [t.repeats for t in trials] == [None, None, 1, None, None, None, None]
    assert reason == "3 evaluations are spent", "1 + 0.25 + 0.25 + 0.5 + 0.25 + 1"


def test_shares_and_costs_are_the_same_after_a_resume(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "whole", Sharing(*PARTS), Counted())
    run(tmp_path / "cut", Sharing(*PARTS), Counted(), evaluations=2)
    again = Counted()
    resumed, _ = run(tmp_path / "cut", Sharing(*PARTS), again, resume=True)
    assert [(t.number, t.share, t.cost, t.score, t.repeats) for t in resumed] == [
        (t.number, t.share, t.cost, t.score, t.repeats) for t in whole
    ]
    assert 0 < len(again.calls) < 7


def test_rounds_show_less_of_dev_at_no_other_cost(tmp_path: Path) -> None:
    objective = Counted()
    with Journal(tmp_path / "journal.jsonl", {}, resume=False) as journal:
        strategy = Listed([0.1], [0.1], [0.2], [0.1], [0.4])
        shares = {1: 0.5, 2: 0.5, 3: 0.5}
        rounds = search(
            Line(),
            strategy,
            objective,
            journal,
            Budget(evaluations=4),
            share=lambda number: shares.get(number, 1.0),
        )
        trials = list(rounds)
    assert [(t.share, t.cost, t.repeats) for t in trials] == [
        (1, 1, None),
        (0.5, 1, None),
        (0.5, 1, 1),
        (0.5, 1, None),
        (1, 1, None),
    ], "what was scored on a part is not known on the whole"


def test_patience_is_for_scores_on_the_whole(tmp_path: Path) -> None:
    parts = [[(0.3, 0.5)], [(0.2, 0.5)], [(0.1, 0.5)], [(0.4, 0.5)], [(0.6, 0.5)]]
    trials, reason = run(tmp_path, Sharing(*parts), Counted(), patience=2)
    assert len(trials) == 5
    assert reason == "2 evaluations brought nothing better"


def test_a_candidate_that_does_not_exceed_its_floor_is_written_as_rejected(tmp_path: Path) -> None:
    strategy = Listed([(0.1, -0.01), (0.4, -0.02)], [(0.3, 0.0)])
    trials, _ = run(tmp_path, strategy, Counted())
    assert states(trials) == ["complete", "rejected", "complete", "rejected"]
    assert strategy.told == [[-math.inf, pytest.approx(-0.01)], [-math.inf]]
    assert (trials[1].evaluation, trials[1].error, trials[1].repeats) == (None, None, None)
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()[1:]]
    assert [line["state"] for line in lines] == states(trials)
    assert (lines[1]["genotype"], lines[1]["recipe"], lines[1]["score"]) == ([0.1], {"x": 0.1}, None)
    assert (lines[1]["metrics"], lines[1]["outcomes"], lines[1]["error"]) == ({}, {}, None)


def test_rejected_candidates_count_against_the_budget(tmp_path: Path) -> None:
    trials, reason = run(tmp_path, Listed([(0.1, 1.0), (0.2, 1.0), 0.3, 0.4]), Counted(), evaluations=4)
    assert states(trials) == ["complete", "rejected", "rejected", "complete"]
    assert reason == "4 evaluations are spent"


def test_rejected_candidates_count_as_nothing_better(tmp_path: Path) -> None:
    trials, reason = run(
        tmp_path, Listed([0.3, (0.1, 1.0), (0.2, 1.0), (0.4, 1.0), 0.6]), Counted(), patience=3
    )
    assert len(trials) == 5
    assert reason == "3 evaluations brought nothing better"


def test_any_number_of_rejected_candidates_is_no_failure(tmp_path: Path) -> None:
    hopeless = [(0.01 * k, 1.0) for k in range(0, 100, 10)]
    assert len(hopeless) > FAILURES_IN_A_ROW
    trials, reason = run(tmp_path, Listed(hopeless, hopeless, [0.3]), Counted())
    assert states(trials).count("rejected") == 18, "0.5 is known from the start"
    assert (trials[-1].score, reason) == (0.0, "the strategy has finished")


def test_a_rejected_candidate_between_failures_breaks_their_row(tmp_path: Path) -> None:
    def evaluate(recipe: Recipe, floor: float, share: float) -> Evaluation | None:
        if floor > 0:
            return None
        raise RuntimeError("every time")

    failing = [0.0, 0.1, 0.2, 0.3, 0.4, 0.6]
    assert len(failing) < FAILURES_IN_A_ROW < 2 * len(failing)
    again = [0.7, 0.8, 0.9, 1.0]
    trials, reason = run(tmp_path, Listed(failing, [(1.1, 1.0)], again), evaluate)
    assert states(trials).count("failed") == 11
    assert reason == "the strategy has finished"


def test_a_rejected_recipe_that_comes_again_is_evaluated_again_at_no_cost(tmp_path: Path) -> None:
    objective = Counted()
    strategy = Listed([(0.2, 0.0)], [(0.2, -0.5)], [(0.2, 0.0)], [0.4], [0.6])
    trials, reason = run(tmp_path, strategy, objective, evaluations=3)
    assert objective.calls == [0.5, 0.2, 0.2, 0.4]
    assert states(trials) == ["complete", "rejected", "complete", "complete", "complete"]
    assert [trial.repeats for trial in trials] == [None, None, 1, 2, None]
    assert reason == "3 evaluations are spent"
    assert strategy.told == [[-math.inf], *[[pytest.approx(-0.01)]] * 3]
    outcomes = [dict(trial.evaluation.outcomes) if trial.evaluation else {} for trial in trials]
    assert outcomes[2] == {"x": np.array([2])}, "its own"
    assert outcomes[3] == {}, "they stand with trial 2"


def test_a_recipe_rejected_twice_is_still_evaluated_the_third_time(tmp_path: Path) -> None:
    objective = Counted()
    trials, _ = run(tmp_path, Listed([(0.2, 0.5), (0.2, 0.1)], [(0.2, -1.0)]), objective)
    assert objective.calls == [0.5, 0.2, 0.2, 0.2]
    assert states(trials) == ["complete", "rejected", "rejected", "complete"]
    assert [trial.repeats for trial in trials] == [None, None, 1, 2]


def test_a_failed_recipe_is_answered_from_memory_whatever_the_floor(tmp_path: Path) -> None:
    calls: list[float] = []

    def evaluate(recipe: Recipe, floor: float, share: float) -> Evaluation | None:
        calls.append(recipe["x"])
        if recipe["x"] == 0.2:
            raise RuntimeError("broke")
        return Evaluation(1.0, {})

    trials, _ = run(tmp_path, Listed([(0.2, 0.5)], [(0.2, -1.0)]), evaluate)
    assert calls == [0.5, 0.2]
    assert [(trial.state, trial.repeats) for trial in trials[1:]] == [("failed", None), ("failed", 1)]


def compared(journal: Path) -> list[str]:
    return [line[: line.rindex(',"seconds":')] for line in journal.read_text().splitlines()[1:]]


FLOORED = (
    [(0.1, -0.01), (0.2, -0.5), (0.1, -0.02)],
    [(0.1, -1.0), (0.7, -0.1), 0.2],
    [(0.1, 0.0), (0.7, -0.1), (0.7, -1.0)],
)


def evaluated_in(trials: Sequence[Trial]) -> int:
    """How many of these were evaluated: not those that an earlier trial with a score or an error answers."""
    return sum(t.repeats is None or trials[t.repeats].state == "rejected" for t in trials)


@pytest.mark.parametrize("done", range(11))
def test_resumed_with_rejected_lines_the_journal_is_the_same(tmp_path: Path, done: int) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    undisturbed, complete = Listed(*FLOORED), Counted()
    trials, _ = run(whole, undisturbed, complete)
    assert states(trials).count("rejected") == 4
    lines = (whole / "journal.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "journal.jsonl").write_text("".join(lines[: 1 + done]))

    strategy, objective = Listed(*FLOORED), Counted()
    resumed, _ = run(tmp_path, strategy, objective, resume=True)
    assert compared(tmp_path / "journal.jsonl") == compared(whole / "journal.jsonl")
    assert strategy.told == undisturbed.told
    assert [(t.number, t.score, t.state, t.repeats) for t in resumed] == [
        (t.number, t.score, t.state, t.repeats) for t in trials
    ]
    assert objective.calls == complete.calls[evaluated_in(trials[:done]) :]


# What came before.


def pointed(n: int) -> Iterator[list[Any]]:
    """Batches whose genotypes point at trial 0, at the last but one, at the middle."""
    number = 1
    while number < n:
        yield [0, number - 1, number // 2]
        number += 3


@pytest.mark.parametrize("done", [0, 1, 2, 5, 9, 10])
def test_a_genotype_may_point_at_every_trial_before_it(tmp_path: Path, done: int) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    space = Pointing()
    trials, _ = run(whole, Listed(*pointed(10)), Counted(), space=space)
    recipes = [trial.recipe for trial in trials]
    assert len(recipes) == 10
    assert space.seen == [recipes[:number] for number in range(10)]
    assert [recipe["line"] for recipe in recipes[:7]] == [[], [0], [0], [0], [0], [0, 3], [0, 2]]
    lines = (whole / "journal.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "journal.jsonl").write_text("".join(lines[: 1 + done]))

    space = Pointing()
    run(tmp_path, Listed(*pointed(10)), Counted(), space=space, resume=True)
    assert space.seen == [recipes[:number] for number in range(done, 10)]
    assert compared(tmp_path / "journal.jsonl") == compared(whole / "journal.jsonl")


def test_failed_rejected_and_repeated_trials_are_pointed_at_too(tmp_path: Path) -> None:
    def evaluate(recipe: Recipe, floor: float, share: float) -> Evaluation | None:
        if recipe["x"] == 0.1:
            raise RuntimeError("broke")
        return Evaluation(0.5, {}) if floor < 0.5 else None

    class Last(Pointing):
        def decode(self, genotype: Genotype, past: Sequence[Recipe] = ()) -> Recipe:
            if genotype == (7,):
                return past[0]
            return super().decode(genotype, past)

    space = Last()
    trials, _ = run(tmp_path, Listed([0, (1, 0.9), 7, 2]), evaluate, space=space)
    assert states(trials) == ["complete", "failed", "rejected", "complete", "complete"]
    assert trials[3].repeats == 0
    assert space.seen[-1] == [trial.recipe for trial in trials[:4]]


# What another search knows.


def known(x: float, seconds: float = 7.0) -> Trial:
    score = -((x - 0.3) ** 2)
    evaluation = Evaluation(score, {"x": score}, {"x": np.array([round(10 * x)], np.uint8)})
    return Trial(99, (0.77,), {"x": x}, evaluation, seconds=seconds)


def recalled(tmp_path: Path, strategy: Any, evaluate: Any, **budget: Any) -> list[Trial]:
    with Journal(tmp_path / "journal.jsonl", {}, resume=False) as journal:
        memory = {0.1: known(0.1), 0.2: known(0.2)}
        allowed = Budget(**budget)
        return list(
            search(Line(), strategy, evaluate, journal, allowed, lambda recipe: memory.get(recipe["x"]))
        )


def test_a_recipe_that_another_search_has_scored_is_not_evaluated_but_costs_what_it_cost_there(
    tmp_path: Path,
) -> None:
    objective, strategy = Counted(), Listed([0.1, 0.4, 0.2])
    trials = recalled(tmp_path, strategy, objective, evaluations=3)
    assert objective.calls == [0.5, 0.4]
    assert [(t.number, t.genotype, t.repeats) for t in trials] == [
        (0, (0.5,), None),
        (1, (0.1,), None),
        (2, (0.4,), None),
    ], "three evaluations are spent"
    assert trials[1].score == -((0.1 - 0.3) ** 2)
    assert trials[1].seconds == 7.0
    assert trials[1].evaluation is not None
    assert trials[1].evaluation.outcomes["x"].tolist() == [1]


def test_seconds_of_another_search_count_against_the_budget(tmp_path: Path) -> None:
    trials = recalled(tmp_path, Listed([0.1, 0.4], [0.2], [0.8]), Counted(), seconds=13)
    assert [t.genotype for t in trials] == [(0.5,), (0.1,), (0.4,), (0.2,)]


def test_a_floor_rejects_what_another_search_has_scored(tmp_path: Path) -> None:
    strategy = Listed([(0.1, known(0.1).score), (0.2, known(0.1).score)])
    trials = recalled(tmp_path, strategy, Counted(), evaluations=10)
    assert [t.state for t in trials] == ["complete", "rejected", "complete"], "0.1 is as good, not better"
    assert strategy.told == [[-math.inf, pytest.approx(-0.01)]]


def test_own_memory_comes_first(tmp_path: Path) -> None:
    trials = recalled(tmp_path, Listed([0.1], [0.11]), Counted(), evaluations=10)
    assert [t.repeats for t in trials] == [None, None, 1]
    assert trials[2].seconds == 0
