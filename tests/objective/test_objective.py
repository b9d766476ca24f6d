"""Several tasks at once: heads, weights, splits, what is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, matthews_corrcoef

from searchmerge.objective.kinds.classification import Classification
from searchmerge.types import UserError
from tests.fixtures import tiny_bert, tiny_tokenizer
from tests.objective.making import objective, random_rows, task, write

HEADS = {"merged": {"bad": 0, "fair": 1, "good": 2}, "topics": {"art": 0, "sport": 1}}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {
        head: tiny_bert(tmp_path_factory.mktemp(head), list(names), seed)
        for seed, (head, names) in enumerate(HEADS.items())
    }


@pytest.fixture
def two(tmp_path: Path) -> list[dict[str, Any]]:
    tones = write(tmp_path / "tones.jsonl", random_rows(30))
    topics = write(tmp_path / "topics.jsonl", random_rows(20, ["art", "sport"], seed=5))
    return [
        task(tones, metric="macro_f1", weight=3.0),
        task(topics, name="topics", head="topics", metric="matthews"),
    ]


def test_each_task_is_scored_by_its_head(
    tokenizer: Any, models: Mapping[str, Any], two: list[dict[str, Any]]
) -> None:
    judge = objective(tokenizer, *two, labels=HEADS)
    evaluation = judge(models)
    tones, topics = judge.tasks
    assert evaluation.metrics["tones"] == pytest.approx(
        f1_score(tones.gold, evaluation.outcomes["tones"], average="macro")
    )
    assert evaluation.metrics["topics"] == pytest.approx(
        matthews_corrcoef(topics.gold, evaluation.outcomes["topics"])
    )
    alone = objective(tokenizer, two[1], labels=HEADS)({"topics": models["topics"]})
    assert np.array_equal(alone.outcomes["topics"], evaluation.outcomes["topics"])


def test_score_is_the_weighted_mean(
    tokenizer: Any, models: Mapping[str, Any], two: list[dict[str, Any]]
) -> None:
    evaluation = objective(tokenizer, *two, labels=HEADS)(models)
    expected = (3 * evaluation.metrics["tones"] + evaluation.metrics["topics"]) / 4
    assert evaluation.score == pytest.approx(expected, abs=1e-15)


def test_recorded_outcomes_give_the_same_evaluation(
    tokenizer: Any, models: Mapping[str, Any], two: list[dict[str, Any]]
) -> None:
    judge = objective(tokenizer, *two, labels=HEADS)
    first = judge(models)
    recorded = {name: np.array(outcome.tolist()) for name, outcome in first.outcomes.items()}
    again = judge.score_of(recorded)
    assert (again.score, again.metrics) == (first.score, first.metrics)


def test_what_a_task_tells(tokenizer: Any, two: list[dict[str, Any]]) -> None:
    tones, topics = objective(tokenizer, *two, labels=HEADS, batch_tokens=64).tasks
    assert isinstance(tones, Classification)
    assert isinstance(topics, Classification)
    assert tones.summary == "30 examples, 3 labels"
    assert (tones.name, tones.head, tones.n_labels, tones.metric.name) == ("tones", "merged", 3, "macro_f1")
    assert (topics.name, topics.head, topics.n_labels, topics.metric.name) == (
        "topics",
        "topics",
        2,
        "matthews",
    )
    rows = random_rows(30)
    assert tones.gold.tolist() == [HEADS["merged"][row["label"]] for row in rows]
    assert tones.batches.tokens == sum(len(row["text"].split()) + 2 for row in rows)
    assert tones.batches.tokens <= tones.batches.padded < 64 * len(tones.batches.batches)


def test_only_the_split_that_is_asked_for_is_read(tokenizer: Any, tmp_path: Path) -> None:
    there, missing = write(tmp_path / "there.jsonl", random_rows(5)), str(tmp_path / "missing.jsonl")
    assert len(objective(tokenizer, task(there, test=missing)).tasks[0].gold) == 5
    assert len(objective(tokenizer, task(missing, test=there), split="test").tasks[0].gold) == 5
    with pytest.raises(UserError, match=r"missing\.jsonl"):
        objective(tokenizer, task(there, test=missing), split="test")


def test_task_without_the_split_is_refused(tokenizer: Any, two: list[dict[str, Any]]) -> None:
    with pytest.raises(UserError, match="a test split of the task tones"):
        objective(tokenizer, *two, labels=HEADS, split="test")


def test_unknown_head_is_refused(tokenizer: Any, two: list[dict[str, Any]]) -> None:
    with pytest.raises(UserError, match=r"one of the heads merged for the task topics\ngot: topics"):
        objective(tokenizer, *two, labels={"merged": HEADS["merged"]})


def test_fingerprint_is_that_of_what_is_scored(tokenizer: Any, tmp_path: Path) -> None:
    rows = random_rows(12)

    def fingerprint(rows: list[dict[str, str]], *, name: str = "a", **options: Any) -> str:
        split = {key: options.pop(key) for key in ("precision", "batch_tokens") if key in options}
        dev = write(tmp_path / f"{name}.jsonl", rows)
        return objective(tokenizer, task(dev, **options), **split).fingerprint

    other_label = [*rows[:-1], {**rows[-1], "label": "good" if rows[-1]["label"] != "good" else "bad"}]
    assert fingerprint(rows, name="b") == fingerprint(rows)
    different = [
        fingerprint(rows),
        fingerprint(rows[::-1]),
        fingerprint(rows[:-1]),
        fingerprint(other_label),
        fingerprint([*rows[:-1], {**rows[-1], "text": "w0"}]),
        fingerprint(rows, metric="macro_f1"),
        fingerprint(rows, weight=2.0),
        fingerprint(rows, max_length=4),
        fingerprint(rows, precision="bfloat16"),
        fingerprint(rows, batch_tokens=40),
    ]
    assert len(set(different)) == len(different)


def test_same_model_same_evaluation(
    tokenizer: Any, models: Mapping[str, Any], two: list[dict[str, Any]]
) -> None:
    judge = objective(tokenizer, *two, labels=HEADS)
    first = judge(models)
    torch.rand(3)
    assert judge(models).metrics == first.metrics
