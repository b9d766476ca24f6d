"""Floors: what exceeds them has its plain score, what does not is stopped as early as can be told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, product
from math import inf, nextafter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from torch import Tensor, nn

from searchmerge.objective import METRICS, Objective
from searchmerge.objective.kinds.classification import Classification
from searchmerge.objective.metrics.labels import MATTHEWS_OF_MANY
from searchmerge.objective.task import Partial
from searchmerge.types import Evaluation, UserError
from tests.fixtures import SPECIAL, tiny_bert, tiny_tokenizer
from tests.objective.making import CPU, objective, random_rows, task, write

N = 24


class Table(nn.Module):
    """A model that looks up the logits of a text by its first word: example ``k`` starts with ``wk``."""

    def __init__(self, logits: Any) -> None:
        super().__init__()
        self.logits = torch.as_tensor(np.asarray(logits), dtype=torch.float32)
        self.config = SimpleNamespace(num_labels=self.logits.shape[1], pad_token_id=0)
        self.seen: list[list[int]] = []

    def forward(self, input_ids: Tensor, **_: Tensor) -> Any:
        examples = input_ids[:, 1] - len(SPECIAL)
        self.seen.append(examples.tolist())
        return SimpleNamespace(logits=self.logits[examples])

    @classmethod
    def answering(cls, labels: Any, n_labels: int) -> Table:
        return cls(np.eye(n_labels)[np.asarray(labels)])


class Watched(Objective):
    """Keeps the bounds after each batch."""

    def __init__(self, tasks: Sequence[Classification]) -> None:
        super().__init__(tasks, precision=torch.float32, device=CPU)
        self.bounds: list[float] = []

    def _bound(self, partial: Mapping[str, Partial]) -> float:
        self.bounds.append(super()._bound(partial))
        return self.bounds[-1]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def mixed(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Classification:
    """24 texts of 1 to 9 words in 11 batches."""
    lengths = np.random.default_rng(0).integers(0, 9, N)
    return made(tokenizer, tmp_path_factory.mktemp("mixed"), lengths, batch_tokens=24)


@pytest.fixture(scope="module")
def even(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Classification:
    """24 texts of 3 words, two a batch, in the order of the data."""
    return made(tokenizer, tmp_path_factory.mktemp("even"), [2] * N, batch_tokens=10)


def made(tokenizer: Any, folder: Path, lengths: Sequence[int] | Any, *, batch_tokens: int) -> Classification:
    rows = [
        {"text": f"w{k}" + " w59" * int(length), "label": "bad" if k else "good"}
        for k, length in enumerate(lengths)
    ]
    dev = write(folder / "dev.jsonl", rows)
    (found,) = objective(tokenizer, task(dev), batch_tokens=batch_tokens).tasks
    assert isinstance(found, Classification)
    return found


def with_gold(
    base: Classification, gold: Any, n_labels: int, metric: str = "accuracy", **changes: Any
) -> Classification:
    gold = np.asarray(gold)
    problem = {"b": "multi-label", "f": "regression"}.get(gold.dtype.kind, "single-label")
    scored = MATTHEWS_OF_MANY if metric == "matthews" and n_labels > 2 else METRICS[problem][metric]
    return replace(base, gold=gold, n_labels=n_labels, problem=problem, metric=scored, **changes)


def judge(*tasks: Classification, **options: Any) -> Objective:
    return Objective(tasks, precision=torch.float32, device=CPU, **options)


def same(found: Evaluation | None, plain: Evaluation) -> bool:
    assert found is not None
    assert (found.score, dict(found.metrics)) == (plain.score, dict(plain.metrics))
    assert found.outcomes.keys() == plain.outcomes.keys()
    for name, outcome in plain.outcomes.items():
        assert found.outcomes[name].dtype == outcome.dtype
        assert np.array_equal(found.outcomes[name], outcome)
    return True


def truth(rng: np.random.Generator, problem: str, n_labels: int) -> Any:
    if problem == "regression":
        return rng.choice([rng.standard_normal(N), rng.integers(0, 4, N)]).astype(np.float32)
    return rng.integers(0, n_labels, N) if problem == "single-label" else rng.random((N, n_labels)) < 0.4


def guessing(rng: np.random.Generator, gold: Any, n_labels: int, skill: float) -> Table:
    """Random logits that lean to the truth."""
    right = gold.reshape(len(gold), -1) if gold.dtype.kind in "bf" else np.eye(n_labels)[gold]
    return Table(
        rng.standard_normal((len(gold), n_labels)) + 3 * skill * (right - (gold.dtype.kind == "b") / 2)
    )


SINGLE = sorted(METRICS["single-label"])
kinds = st.tuples(
    st.sampled_from(
        [
            (problem, metric)
            for problem in ("single-label", "multi-label", "regression")
            for metric in METRICS[problem]
        ]
    ),
    st.integers(2, 4),
    st.sampled_from([0.5, 1.0, 3.0]),
)


@given(
    st.lists(kinds, min_size=1, max_size=3),
    st.integers(0, 2**32 - 1),
    st.lists(st.floats(-1, 1), max_size=3),
    st.floats(0, 1),
    st.one_of(st.sampled_from(["score", "above", "below", "high", "low"]), st.floats(-1.5, 1.5)),
    st.sampled_from(["mean", "worst", "relative"]),
    st.sampled_from([0.0, 0.25]),
)
@settings(max_examples=200)
def test_it_is_the_plain_score_where_that_exceeds_the_floor_and_nothing_else(
    mixed: Classification,
    chosen: list[tuple[tuple[str, str], int, float]],
    seed: int,
    learned: list[float],
    skill: float,
    wanted: str | float,
    combine: str,
    penalty: float,
) -> None:
    rng = np.random.default_rng(seed)
    tasks = []
    for k, ((problem, metric), n_labels, weight) in enumerate(chosen):
        labels = 1 if problem == "regression" else n_labels
        names = {"name": f"t{k}", "head": f"t{k}"}
        gold = truth(rng, problem, labels)
        tasks.append(with_gold(mixed, gold, labels, metric, weight=weight, **names))
    options = {"combine": combine, "owners": {each.name: rng.uniform(0.1, 1) for each in tasks}}

    def fresh(skill: float) -> dict[str, Table]:
        return {each.head: guessing(rng, each.gold, each.n_labels, skill) for each in tasks}

    judged = judge(*tasks, **options)
    for floor in learned:  # the order of the batches is learned from what came before
        judged.above(fresh(0.5), floor)
    models = fresh(skill)
    plain = judge(*tasks, **options)(models, penalty)
    assert plain.score == judge(*tasks, **options)(models).score - penalty
    named = {"score": plain.score, "high": 1.0, "low": -1.0}
    named |= {"above": nextafter(plain.score, inf), "below": nextafter(plain.score, -inf)}
    floor = named[wanted] if isinstance(wanted, str) else wanted
    found = judged.above(models, floor, penalty)
    assert same(found, plain) if plain.score > floor else found is None
    assert same(judged(models, penalty), plain)


def witness(metric: str, gold: Any, predicted: Any) -> float:
    if metric == "accuracy":
        return float(accuracy_score(gold, predicted))
    if metric == "f1":
        return float(f1_score(gold, predicted, labels=[1], average="macro", zero_division=0))
    if metric == "macro_f1":
        return float(f1_score(gold, predicted, average="macro", zero_division=0))
    return float(matthews_corrcoef(gold, predicted))


@pytest.fixture(scope="module")
def few(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Classification:
    """Eight texts, two a batch, in the order of the data."""
    return made(tokenizer, tmp_path_factory.mktemp("few"), [2] * 8, batch_tokens=10)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("metric", "n_labels"), [(metric, n) for metric in SINGLE for n in (2, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_after_every_batch_the_bound_is_the_best_there_can_still_be(
    few: Classification, metric: str, n_labels: int, seed: int
) -> None:
    """Against every completion of the last examples; Matthews of three labels has no such bound but 1."""
    rng = np.random.default_rng(seed)
    gold, predicted = rng.integers(0, n_labels, 8), rng.integers(0, n_labels, 8)
    judged = Watched([with_gold(few, gold, n_labels, metric)])
    model = Table.answering(predicted, n_labels)
    assert judged.above({"merged": model}, -2.0) is not None
    assert model.seen == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert len(judged.bounds) == 4
    monotone = metric != "matthews" or n_labels == 2
    for batch, bound in enumerate(judged.bounds, start=1):
        seen = predicted[: 2 * batch]
        if 8 - len(seen) > 4:
            continue  # 3^6 completions say no more than 3^4 do
        best = max(
            witness(metric, gold, np.append(seen, rest))
            for rest in product(range(n_labels), repeat=8 - len(seen))
        )
        if monotone or batch == 4:
            assert bound == pytest.approx(best, abs=1e-12)
        else:
            assert bound == 1.0 >= best


@given(st.sampled_from(SINGLE), st.integers(2, 5), st.integers(0, 2**32 - 1), st.floats(0, 1))
@settings(max_examples=80)
def test_no_bound_lies_below_the_final_score_and_a_model_that_is_right_from_there_on_reaches_it(
    mixed: Classification, metric: str, n_labels: int, seed: int, skill: float
) -> None:
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, n_labels, N)
    tasks = [with_gold(mixed, gold, n_labels, metric)]
    judged, model = Watched(tasks), guessing(rng, gold, n_labels, skill)
    evaluation = judged.above({"merged": model}, -2.0)
    assert evaluation is not None
    assert len(judged.bounds) == len(mixed.batches.batches) == len(model.seen)
    assert min(judged.bounds) >= evaluation.score
    assert judged.bounds[-1] == evaluation.score
    if metric == "matthews" and n_labels > 2:
        assert judged.bounds[:-1] == [1.0] * (len(judged.bounds) - 1)
        return
    assert judged.bounds == sorted(judged.bounds, reverse=True)
    for batch in range(0, len(judged.bounds), 3):
        answers = gold.copy()
        known = list(chain(*model.seen[: batch + 1]))
        answers[known] = evaluation.outcomes["tones"][known]
        reaching = judge(*tasks)({"merged": Table.answering(answers, n_labels)})
        assert reaching.score == judged.bounds[batch]


def test_matthews_of_three_labels_is_not_stopped_where_wrong_answers_raise_it(even: Classification) -> None:
    """After 15 of 24, right answers would end at 0.29, and those that are given end at 0.5."""
    gold, predicted = [0] + [1] * 23, [0] + [2] * 23
    right_from_there = predicted[:15] + [1] * 9
    scores = [matthews_corrcoef(gold, answers) for answers in (predicted, right_from_there)]
    assert scores[0] > 0.4 > scores[1]
    judged = judge(with_gold(even, gold, 3, "matthews"))
    found = judged.above({"merged": Table.answering(predicted, 3)}, 0.4)
    assert found is not None
    assert found.score == pytest.approx(scores[0])


def test_a_task_that_is_done_counts_with_what_it_scored(even: Classification) -> None:
    """Matthews of three labels bounds a mean only when all of its batches are through, here first of all."""
    gold = [0, 1, 2] * 8
    tasks = [
        with_gold(even, gold, 3, metric="matthews", name="a", head="a"),
        with_gold(even, gold, 3, name="b", head="b"),
    ]
    judged = Watched(tasks)
    wrong, right = Table.answering(np.roll(gold, 1), 3), Table.answering(gold, 3)
    plain = judge(*tasks)({"a": wrong, "b": right})
    assert plain.score == pytest.approx((-0.5 + 1) / 2)
    assert judged.above({"a": wrong, "b": right}, -2.0) is not None
    assert len(judged.bounds) == 24
    done = judged.bounds.index(plain.score)
    assert done >= 11
    assert judged.bounds == [1.0] * done + [plain.score] * (24 - done)


# What is saved.


@pytest.mark.parametrize("floor", [0.0, 0.24, 0.25, 0.5, 0.9, 0.999, 1.0])
def test_a_hopeless_model_is_stopped_at_the_first_batch_that_decides(
    even: Classification, floor: float
) -> None:
    gold = [0, 1] * 12
    wrong, right = (Table.answering(answers, 2) for answers in (np.roll(gold, 1), gold))
    judged = judge(with_gold(even, gold, 2))
    assert judged.above({"merged": wrong}, floor) is None
    # After k batches of two, 24 - 2k can still be right.
    needed = next(k for k in range(1, 13) if (24 - 2 * k) / 24 <= floor)
    assert len(wrong.seen) == needed
    assert judged.forwarded == needed * 2 * 5, "two texts of three words and two special tokens"
    judged.above({"merged": right}, floor)
    assert len(right.seen) == (12 if floor < 1 else 1), "nothing exceeds 1"


def test_batches_that_did_harm_come_first_the_next_time(even: Classification) -> None:
    gold = np.array([0, 1] * 12)
    answers = gold.copy()
    answers[[20, 22, 23]] = 1 - answers[[20, 22, 23]]
    judged = judge(with_gold(even, gold, 2))
    floor = 21.5 / 24
    first, second, perfect = (
        Table.answering(answers, 2),
        Table.answering(answers, 2),
        Table.answering(gold, 2),
    )
    assert judged.above({"merged": first}, floor) is None
    assert first.seen == [[2 * k, 2 * k + 1] for k in range(12)]
    assert judged.above({"merged": second}, floor) is None
    assert second.seen == [[22, 23], [20, 21]]
    found = judged.above({"merged": perfect}, floor)
    assert perfect.seen[:2] == [[22, 23], [20, 21]]
    assert sorted(chain(*perfect.seen)) == list(range(24))
    assert same(found, judge(with_gold(even, gold, 2))({"merged": perfect}))


def test_of_two_tasks_the_one_whose_errors_cost_more_comes_first(even: Classification) -> None:
    gold = [0, 1] * 12
    tasks = [
        with_gold(even, gold, 2, name=name, head=name, weight=weight)
        for name, weight in (("light", 1.0), ("heavy", 5.0))
    ]
    judged = judge(*tasks)
    wrong = np.roll(gold, 1)
    judged.above({name: Table.answering(wrong, 2) for name in ("light", "heavy")}, -2.0)
    models = {name: Table.answering(wrong, 2) for name in ("light", "heavy")}
    # Of 6 shares the heavy task has 5: each of its batches costs 5/72.
    assert judged.above(models, 0.5) is None
    assert (len(models["light"].seen), len(models["heavy"].seen)) == (0, 8)


def test_without_a_floor_nothing_is_counted_and_all_goes_through_at_once(even: Classification) -> None:
    judged = judge(even)
    model = Table.answering([0] * N, 3)
    assert same(judged.above({"merged": model}, -inf), judge(even)({"merged": model}))
    assert judged.forwarded == 0


# Real models, and what is at fault.


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_real_models_have_the_same_outcomes_batch_by_batch(
    tokenizer: Any, tmp_path: Path, precision: str
) -> None:
    labels = {
        "merged": {"bad": 0, "fair": 1, "good": 2},
        "topics": {"art": 0, "sport": 1},
    }
    tones = write(tmp_path / "tones.jsonl", random_rows(40))
    topics = write(tmp_path / "topics.jsonl", random_rows(30, ["art", "sport"], seed=5))
    judged = objective(
        tokenizer,
        task(tones, metric="macro_f1"),
        task(topics, name="topics", head="topics", metric="matthews"),
        labels=labels,
        precision=precision,
        batch_tokens=100,
    )
    for seed in range(3):
        models = {head: tiny_bert(tmp_path / head, list(names), seed) for head, names in labels.items()}
        plain = judged(models)
        assert same(judged.above(models, nextafter(plain.score, -inf)), plain)
        assert judged.above(models, plain.score) is None


@pytest.mark.parametrize("bad", [math.nan, inf])
def test_logits_that_are_not_finite_fail_where_they_are_met(even: Classification, bad: float) -> None:
    logits = np.eye(3)[even.gold]
    logits[21, 0] = bad
    judged = judge(even)
    with pytest.raises(FloatingPointError, match="task tones: the answers to 1 of 2 examples are not finite"):
        judged.above({"merged": Table(logits)}, 0.0)
    logits[:20] = np.roll(logits[:20], 1, axis=1)
    assert judge(even).above({"merged": Table(logits)}, 0.5) is None, "stopped before it came to them"


def test_a_model_that_does_not_fit_is_refused(even: Classification) -> None:
    with pytest.raises(UserError, match="a head of 3 labels"):
        judge(even).above({"merged": Table.answering([0] * N, 2)}, 0.0)


def test_dropout_is_off(tokenizer: Any, even: Classification, tmp_path: Path) -> None:
    model = tiny_bert(tmp_path, ["bad", "fair", "good"], 0)
    model.config.pad_token_id = even.pad_token_id
    judged = judge(even)
    plain = judged({"merged": model})
    state = torch.get_rng_state()
    assert same(judged.above({"merged": model.train()}, -2.0), plain)
    assert torch.equal(torch.get_rng_state(), state)
