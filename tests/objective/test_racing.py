"""Races: Optuna's pruner and plain loops as witnesses, error rates by simulation, what is stopped when."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.races import differing, ended
from searchmerge import config
from searchmerge.objective import METRICS, racing
from searchmerge.objective.asking import Round
from searchmerge.objective.kinds.classification import Classification
from searchmerge.objective.racing import Heat, Standing, bound, order, raceable, wilcoxon
from searchmerge.types import Evaluation, Lost, Race, UserError
from tests.objective.test_above import Table, judge, made, same, tokenizer, with_gold

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

__all__ = ["tokenizer"]  # a fixture

Array = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def uneven(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Classification:
    """48 texts of 1 to 9 words in batches of unlike sizes."""
    lengths = np.random.default_rng(1).integers(0, 9, 48)
    return made(tokenizer, tmp_path_factory.mktemp("uneven"), lengths, batch_tokens=60)


@pytest.fixture(scope="module")
def few(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Classification:
    """16 such texts."""
    lengths = np.random.default_rng(2).integers(0, 9, 16)
    return made(tokenizer, tmp_path_factory.mktemp("few"), lengths, batch_tokens=60)


# The Wilcoxon test, beside Optuna's pruner.


class Pruner:
    """Optuna's pruner in a study whose best trial has the rival's values."""

    def __init__(self, rival: Sequence[float], level: float) -> None:
        self.pruner = optuna.pruners.WilcoxonPruner(p_threshold=level)
        self.study = optuna.create_study(direction="maximize")
        mean = sum(rival) / len(rival)
        self.study.add_trial(
            optuna.trial.create_trial(value=mean, intermediate_values=dict(enumerate(rival)))
        )
        self.reported: dict[int, float] = {}

    def prunes(self, values: Sequence[float] | Array, steps: Sequence[int] | npt.NDArray[np.int64]) -> bool:
        """Whether it does when these values too have been reported."""
        self.reported |= dict(zip(map(int, steps), map(float, values), strict=True))
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState.RUNNING, intermediate_values=self.reported
        )
        return self.pruner.prune(self.study, trial)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 3, 5, *range(14, 41)]),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from([0.01, 0.1, 0.4, 0.9]),
    st.sampled_from([[0.0, 1.0], [0.0, 0.5, 4.0], [-3.0, -2.75, 0.0]]),
)
@settings(max_examples=150, deadline=None)
def test_wilcoxon_is_optunas_pruner(
    seed: int, seen: int, skill: float, its: float, level: float, values: list[float]
) -> None:
    rng = np.random.default_rng(seed)
    rival, candidate = (
        np.where(rng.random(40) < each, values[-1], rng.choice(values, 40)) for each in (its, skill)
    )
    steps = rng.permutation(40)[:seen]
    standing = Standing(candidate[steps], rival, steps, handicap=0.0, most=max(values) - min(values))
    assert (wilcoxon(standing) < level) == Pruner(rival.tolist(), level).prunes(candidate[steps], steps)


@pytest.mark.parametrize(("seed", "size"), [(0, 4), (1, 6), (2, 7), (3, 8), (4, 9)])
def test_of_few_differences_it_is_scipys_exact_test(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    for x in (rng.choice([-2.0, -1.0, 0.0, 1.0], size), rng.standard_normal(size) - 0.5):
        standing = Standing(x, np.zeros(size), np.arange(size), handicap=9.0, most=1.0)
        expected = stats.wilcoxon(x, alternative="less", zero_method="zsplit").pvalue
        assert wilcoxon(standing) == pytest.approx(expected, abs=1e-12)


def test_wilcoxon_stops_nobody_who_is_as_good_so_far_as_the_rival_at_the_end() -> None:
    """Ten of ten differences are losses, but these examples are easy ones: Optuna's rule."""
    rival = np.array([1.0] * 10 + [0.0] * 30)
    seen = np.arange(10)
    losing = Standing(np.full(10, 0.5), rival, seen, handicap=0.0, most=1.0)
    assert losing.differences.tolist() == [-0.5] * 10
    assert wilcoxon(losing) == 1.0
    assert wilcoxon(replace(losing, rival=np.ones(40))) < 0.01
    # A handicap of 0.3 lifts what is as good from a mean of 0.25 to one of 0.55.
    assert wilcoxon(replace(losing, handicap=0.3)) < 0.01


def answers(rng: np.random.Generator, gold: Any, right: float) -> Any:
    return np.where(rng.random(len(gold)) < right, gold, (gold + 1) % 3)


@pytest.mark.parametrize("seed", range(12))
def test_a_race_ends_with_the_batch_after_which_optunas_pruner_says_so(
    uneven: Classification, few: Classification, seed: int
) -> None:
    """Two tasks of unlike weights and sizes: each answer counts what it adds to the score."""
    rng = np.random.default_rng(seed)
    texts, weights, counts = (
        {"few": few, "many": uneven},
        {"few": 5.0, "many": 3.0},
        {"few": 2.5, "many": 0.5},
    )
    golds = {name: rng.integers(0, 3, of.examples) for name, of in texts.items()}
    tasks = [
        with_gold(of, golds[name], 3, name=name, head=name, inputs=name, weight=weights[name])
        for name, of in texts.items()
    ]
    its, ours = (
        {name: answers(rng, gold, right) for name, gold in golds.items()} for right in (0.9, 0.55 + seed / 40)
    )
    rival = judge(*tasks)({name: Table.answering(each, 3) for name, each in its.items()})
    # The score is the mean of 64 values: 5/8 are shared out among 16 of them, and 3/8 among 48.
    values = {
        who: np.concatenate([counts[name] * (given[name] == golds[name]) for name in texts])
        for who, given in (("rival", its), ("ours", ours))
    }
    assert values["rival"].mean() == pytest.approx(rival.score, abs=1e-12)

    race = Race(0, "wilcoxon", 0.1, seed=seed)
    models, judged = Logging(ours), judge(*tasks)
    found = judged.raced(models.heads, race, rival)
    pruner, pruned = Pruner(values["rival"].tolist(), 0.1), False
    for number, (name, examples) in enumerate(models.seen, start=1):
        assert not pruned, "it goes on after the pruner has said stop"
        steps = np.sort(examples) + (0 if name == "few" else 16)
        pruned = number < len(judged.asking.rounds) and pruner.prunes(values["ours"][steps], steps)
    assert isinstance(found, Lost) == pruned
    costs = {
        (task.name, tuple(task.batches.examples(number))): cost
        for task in judged.tasks
        for number, cost in enumerate(task.costs)
    }
    read = sum(costs[name, tuple(examples)] for name, examples in models.seen)
    assert judged.forwarded == read
    assert pruned or same(found if isinstance(found, Evaluation) else None, judge(*tasks)(models.heads))


class Logging:
    """Models that answer what they are told, and note in turn who was asked what."""

    def __init__(self, answers: dict[str, Any], n_labels: int = 3) -> None:
        self.seen: list[tuple[str, list[int]]] = []
        self.heads = {name: self._table(name, each, n_labels) for name, each in answers.items()}

    def _table(self, name: str, answers: Any, n_labels: int) -> Table:
        table = Table.answering(answers, n_labels)
        table.register_forward_hook(lambda *_: self.seen.append((name, table.seen[-1])))
        return table


# The bound.


def plainly(differences: Sequence[float], examples: int, handicap: float, most: float) -> float:
    """The capital of the gamblers, one factor after the other."""
    capitals = []
    for part in racing.BETS:
        capital, total = 1.0, 0.0
        for before, x in enumerate(differences):
            expected = (examples * handicap - total) / (examples - before)
            capital *= 1 - part * (x - expected) / (most - expected)
            total += x
        capitals.append(capital)
    if (examples * handicap - total) / (examples - len(differences)) > most:
        return math.inf
    return sum(capitals) / len(capitals)


@given(st.integers(0, 2**32 - 1), st.integers(0, 59), st.floats(-0.3, 0.3), st.floats(-0.2, 0.2))
@settings(max_examples=100)
def test_the_bounds_p_value_is_one_over_the_capital(
    seed: int, seen: int, drift: float, handicap: float
) -> None:
    rng = np.random.default_rng(seed)
    rival = rng.integers(0, 2, 60).astype(np.float64)
    x = rng.uniform(-1, 1, seen) + drift
    steps = rng.permutation(60)[:seen]
    standing = Standing(x + rival[steps], rival, steps, handicap, most=2.0)
    capital = plainly(x.tolist(), 60, handicap, 2.0)
    assert bound(standing) == pytest.approx(min(1, 1 / capital), rel=1e-9)


def test_what_cannot_be_made_up_for_is_certain() -> None:
    rival, seen = np.ones(10), np.arange(4)
    perfect, one_wrong = np.ones(4), np.array([1.0, 1.0, 0.0, 1.0])
    assert bound(Standing(perfect, rival, seen, 0.0, most=0.0)) == 1.0
    assert bound(Standing(one_wrong, rival, seen, 0.0, most=0.0)) == 0.0, "the rival has no errors"
    lost = Standing(np.zeros(6), np.array([1.0] * 6 + [0.0] * 4), np.arange(6), 0.0, most=1.0)
    assert bound(lost) == 0.0, "six are lost, and four are left"


AS_GOOD = {
    "as many gained as lost": (differing(240, 24, 24), 0.0),
    "few differ": (differing(240, 4, 4), 0.0),
    "many differ": (differing(120, 50, 50), 0.0),
    "one large gain for many losses": (np.array([9.0] * 4 + [-1.0] * 36 + [0.0] * 80), 0.0),
    "what it loses its penalty makes up for": (differing(200, 10, 30), -0.1),
}


@pytest.mark.parametrize("level", [0.05, 0.3])
@pytest.mark.parametrize("name", AS_GOOD)
def test_the_bound_stops_who_is_as_good_at_most_as_often_as_it_declares(name: str, level: float) -> None:
    """At any of 8 to 16 looks. Nobody who is as good is harder to tell apart than one just as good."""
    differences, handicap = AS_GOOD[name]
    assert differences.mean() == pytest.approx(handicap)
    rng, races = np.random.default_rng(3), 300
    wrong = np.mean([ended(rng, differences, "bound", level, handicap) < 1 for _ in range(races)])
    assert wrong <= level + 2.5 * math.sqrt(level * (1 - level) / races)


def test_without_the_correction_for_many_looks_that_would_not_hold() -> None:
    """The same simulation finds a test at fault that is right for one look only."""
    rng = np.random.default_rng(3)

    def at_some_look(x: Array) -> bool:
        x = rng.permutation(x)
        looks = [x[:n] for n in range(15, len(x), 15)]
        return any(each.mean() < -1.645 * each.std() / math.sqrt(len(each)) for each in looks)

    wrong = np.mean([at_some_look(differing(240, 24, 24)) for _ in range(500)])
    assert wrong > 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / 500)


def test_the_bound_stops_who_is_worse_by_a_tenth_in_a_third_of_240_examples() -> None:
    """The bound of the paper that racing is from stops nobody, though made sharper."""
    rng, worse = np.random.default_rng(5), differing(240, 12, 36)
    read = [ended(rng, worse, "bound", 0.1) for _ in range(200)]
    assert np.mean(read) < 0.4
    assert max(read) < 1
    assert all(ended(rng, worse, "bernstein", 0.1) == 1 for _ in range(200))


def test_a_test_is_asked_about_every_example_once_in_the_order_seen() -> None:
    asked: list[Standing] = []

    def watched(standing: Standing) -> float:
        asked.append(standing)
        return 1.0

    heat = Heat(Race(0, "bound", 0.1, 0), np.arange(6.0), np.full(6, 9.0), 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(racing, "TESTS", {"bound": watched})
        for places in ([4], [1, 4, 5], [1, 2, 4, 5], range(6)):
            assert not heat.lost(np.arange(6.0) * 2, np.isin(np.arange(6), places))
    assert [each.seen.tolist() for each in asked] == [[4], [4, 1, 5], [4, 1, 5, 2]], "not at the end"
    assert [each.differences.tolist() for each in asked][-1] == [4.0, 1.0, 5.0, 2.0]
    assert asked[0].most == 9.0


# The order.


def test_batches_come_in_a_seeded_order_in_which_each_task_has_its_share_of_any_beginning(
    uneven: Classification, tokenizer: Any, tmp_path: Path
) -> None:
    other = made(tokenizer, tmp_path, [3] * 12, batch_tokens=12)
    tasks = [replace(uneven, name="many"), replace(other, name="few")]
    rounds = judge(*tasks).asking.rounds
    found = [order(rounds, seed) for seed in range(6)]
    total = {task.name: len(task.batches.batches) for task in tasks}
    assert len({str([(each.tasks[0].name, each.number) for each in one]) for one in found}) == 6
    assert [(e.tasks[0].name, e.number) for e in order(rounds, 3)] == [
        (e.tasks[0].name, e.number) for e in found[3]
    ]
    for one in found:
        assert sorted(map(place, one)) == sorted(map(place, rounds))
        for length in range(1, len(one) + 1):
            for name, count in total.items():
                there = sum(each.tasks[0].name == name for each in one[:length])
                assert abs(there - count * length / len(one)) <= 1
    firsts = {one[0].number for one in found}
    assert len(firsts) > 2, "no batch has the first place"


def place(each: Round) -> tuple[str, int]:
    return each.tasks[0].name, each.number


# What a race does.


@pytest.fixture
def losing(uneven: Classification) -> tuple[Classification, Evaluation, Callable[[], Logging]]:
    """A task, a rival that is nearly always right, and a model that seldom is."""
    rng = np.random.default_rng(2)
    task = with_gold(uneven, rng.integers(0, 3, 48), 3)
    rival = judge(task)({"merged": Table.answering(answers(rng, task.gold, 0.95), 3)})
    poor = answers(rng, task.gold, 0.4)
    return task, rival, lambda: Logging({"merged": poor})


@pytest.mark.parametrize("test", ["wilcoxon", "bound"])
def test_what_is_stopped_when_does_not_depend_on_what_was_evaluated_before(losing: Any, test: Any) -> None:
    task, rival, poor = losing
    race = Race(0, test, 0.1, seed=5)
    fresh, experienced = judge(task), judge(task)
    first = poor()
    assert fresh.raced(first.heads, race, rival) == Lost()
    assert 0 < len(first.seen) < len(task.batches.batches) - 2
    for floor in (0.1, 0.9):
        experienced.above(poor().heads, floor)
    second = poor()
    assert experienced.raced(second.heads, race, rival) == Lost()
    assert second.seen == first.seen
    third = poor()
    assert fresh.raced(third.heads, replace(race, seed=6), rival) == Lost()
    assert third.seen != first.seen


def test_a_floor_holds_in_a_race_too_and_is_told_from_a_loss(losing: Any) -> None:
    task, rival, poor = losing
    never = Race(0, "wilcoxon", 1e-300, seed=5)
    slow, quick = poor(), poor()
    plain = judge(task)(poor().heads)
    assert judge(task).raced(slow.heads, never, rival, plain.score) is None
    assert judge(task).raced(quick.heads, never, rival, 0.97) is None
    assert len(quick.seen) < len(slow.seen)
    assert same(judge(task).raced(poor().heads, never, rival, math.nextafter(plain.score, 0)), plain)  # type: ignore[arg-type]


@pytest.mark.parametrize("test", ["wilcoxon", "bound"])
def test_who_is_better_has_the_plain_score(losing: Any, test: Any) -> None:
    task, rival, _ = losing
    models = {"merged": Table.answering(task.gold, 3)}
    alike = replace(rival, score=rival.score - 0.25)
    found = judge(task).raced(models, Race(0, test, 0.5, 1), alike, penalty=0.25)
    assert same(found, judge(task)(models, 0.25))  # type: ignore[arg-type]


def test_penalties_count_in_a_race(uneven: Classification) -> None:
    """As good as the rival example by example: who has the larger penalty cannot win any more."""
    gold = np.arange(48) % 3
    task = with_gold(uneven, gold, 3)
    models = {"merged": Table.answering(gold, 3)}
    rival = judge(task)(models, 0.25)
    race = Race(0, "bound", 0.1, seed=0)
    assert judge(task).raced(models, race, rival, penalty=0.5) == Lost()
    for penalty in (0.25, 0.0):
        assert same(judge(task).raced(models, race, rival, penalty=penalty), judge(task)(models, penalty))  # type: ignore[arg-type]


def test_tasks_that_share_their_forward_pass_do_so_in_a_race(uneven: Classification) -> None:
    gold = np.arange(48) % 3
    tasks = [with_gold(uneven, gold, 3, name=name, head="same") for name in ("a", "b")]
    model = Table.answering(gold, 3)
    judged = judge(*tasks)
    rival = judged({"same": model})
    model.seen.clear()
    found = judged.raced({"same": model}, Race(0, "bound", 0.1, 0), rival)
    assert same(found, rival)  # type: ignore[arg-type]
    assert sorted(chain(*model.seen)) == list(range(48)), "each text once"


# Whose mean the score is.


VALUED = [(kind, name) for kind, metrics in METRICS.items() for name in metrics if metrics[name].each]


def test_the_metrics_that_are_means_over_examples() -> None:
    assert set(VALUED) == {
        ("single-label", "accuracy"),
        ("multi-label", "accuracy"),
        ("multiple-choice", "accuracy"),
        ("token-classification", "accuracy"),
        ("language-modeling", "loss"),
        *(("generation", name) for name in ("exact_match", "numeric", "rouge_l")),
    }


@pytest.mark.parametrize(("kind", "name"), VALUED)
def test_a_metric_is_the_mean_of_its_values_which_right_answers_bound(kind: str, name: str) -> None:
    rng, metric = np.random.default_rng(0), METRICS[kind][name]
    if kind in ("single-label", "multiple-choice"):
        gold, given = rng.integers(0, 4, (2, 50))
    elif kind == "multi-label":
        gold, given = rng.random((2, 50, 3)) < 0.7
    else:
        under = rng.integers(1, 9, 50) if kind != "generation" else np.ones(50)
        given = np.stack([rng.random(50) * under, under], axis=1)
        gold = np.stack([np.zeros(50) if metric.lower else under, under], axis=1)
    assert metric.each is not None
    values, best = metric.each(gold, given), metric.each(gold, gold)
    assert values.mean() == pytest.approx(metric.value(gold, given), abs=1e-12)
    assert best.mean() == pytest.approx(metric.best, abs=1e-12)
    assert (values >= best).all() if metric.lower else (values <= best).all()
    assert metric.value(gold, given) != metric.best


def test_relative_scores_race_by_what_each_task_adds(uneven: Classification) -> None:
    """The task whose own expert scores low counts more: a loss there outweighs a larger gain elsewhere."""
    gold = np.arange(48) % 3
    tasks = [with_gold(uneven, gold, 3, name=name, head=name) for name in ("low", "high")]
    wrong_at = {"low": gold.copy(), "high": gold.copy()}
    wrong_at["low"][::2] += 1
    wrong_at["low"] %= 3
    its = {"low": gold, "high": (gold + (np.arange(48) % 4 > 0)) % 3}
    judged = judge(*tasks, combine="relative", owners={"low": 0.1, "high": 1.0})
    rival = judged({name: Table.answering(each, 3) for name, each in its.items()})
    models = {name: Table.answering(each, 3) for name, each in wrong_at.items()}
    assert judge(*tasks)(models).score > judge(*tasks).score_of(rival.outcomes).score
    assert judged(models).score < rival.score
    race = Race(0, "bound", 0.1, seed=1)
    assert judged.raced(models, race, rival) == Lost()
    of_means = judge(*tasks)
    found = of_means.raced(models, race, of_means.score_of(rival.outcomes))
    assert same(found, of_means(models))  # type: ignore[arg-type]


def section(*tasks: dict[str, Any], **options: Any) -> config.Objective:
    found = [{"name": f"t{k}", "dev": "dev.jsonl", **task} for k, task in enumerate(tasks)]
    return config.Objective.model_validate({"tasks": found, **options})


LOSS = {"kind": "language-modeling"}


@pytest.mark.parametrize(
    ("tasks", "options", "got"),
    [
        ([{}, {"metric": "macro_f1"}], {}, "macro_f1 in the task t1"),
        ([{"problem": "regression"}], {}, "pearson in the task t0"),
        ([{"problem": "multi-label"}], {}, "micro_f1 in the task t0"),
        ([LOSS | {"metric": "perplexity"}], {}, "perplexity in the task t0"),
        ([{"kind": "python", "function": "a:b"}], {}, "mean in the task t0"),
        ([{}, {}], {"aggregate": "worst"}, "aggregate: worst"),
        ([{}, {}], {"aggregate": "pareto"}, "aggregate: pareto"),
        ([{}, LOSS], {"aggregate": "relative"}, "aggregate: relative, and loss in the task t1"),
    ],
)
def test_scores_that_are_no_mean_over_examples_are_refused_by_the_config_alone(
    tasks: list[dict[str, Any]], options: dict[str, Any], got: str
) -> None:
    with pytest.raises(UserError, match=f"got: {got}\n"):
        raceable(section(*tasks, **options))


def test_means_over_examples_may_race() -> None:
    apart = {"name": "apart", "ood": True, "dev": None, "test": "test.jsonl", "metric": "macro_f1"}
    raceable(section({}, LOSS, {"problem": "multi-label", "metric": "accuracy"}, apart))
    raceable(section({}, {}, aggregate="relative"))


def test_who_races_nevertheless_is_told_so(uneven: Classification) -> None:
    gold = np.arange(48) % 3
    models, race = {"merged": Table.answering(gold, 3)}, Race(0, "bound", 0.1, 0)
    for judged in (
        judge(with_gold(uneven, gold, 3, "macro_f1")),
        judge(with_gold(uneven, gold, 3), combine="worst"),
    ):
        with pytest.raises(UserError, match=r"leave strategy\.racing out"):
            judged.raced(models, race, judged(models))
