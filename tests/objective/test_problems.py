"""Text classification of other problems: any number of labels a text, numbers, pairs of texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from sklearn.metrics import f1_score

from searchmerge.types import UserError
from tests.fixtures import tiny_bert, tiny_tokenizer
from tests.objective.making import LABELS, objective, one_by_one, random_rows, task, write

NAMES = tuple(LABELS["merged"])


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def dev(tmp_path: Path) -> str:
    return write(tmp_path / "dev.jsonl", random_rows(40))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_bert(tmp_path_factory.mktemp("bert"), NAMES, 0)


def test_of_several_labels_each_is_answered_by_its_own_logit(
    tokenizer: Any, bert: Any, tmp_path: Path
) -> None:
    texts, rng = [row["text"] for row in random_rows(40)], np.random.default_rng(3)
    gold = rng.random((40, 3)) < 0.4
    rows = [
        {"text": text, "label": [NAMES[label] for label in np.flatnonzero(held)]}
        for text, held in zip(texts, gold, strict=True)
    ]
    dev = write(tmp_path / "dev.jsonl", rows)
    judge = objective(tokenizer, task(dev, problem="multi-label"), batch_tokens=50)
    assert np.array_equal(judge.tasks[0].gold, gold)
    evaluation, answers = judge({"merged": bert}), one_by_one(bert, tokenizer, texts).numpy() > 0
    assert np.array_equal(evaluation.outcomes["tones"], answers)
    assert evaluation.outcomes["tones"].dtype == bool
    assert evaluation.score == pytest.approx(f1_score(gold, answers, average="micro"))


def test_a_regression_is_answered_by_the_logit_itself(tokenizer: Any, tmp_path: Path) -> None:
    texts, rng = [row["text"] for row in random_rows(40)], np.random.default_rng(4)
    model, gold = tiny_bert(tmp_path / "model", ["LABEL_0"], 0), rng.standard_normal(40)
    rows = [{"text": text, "stars": number} for text, number in zip(texts, gold, strict=True)]
    dev = write(tmp_path / "dev.jsonl", rows)
    section = task(dev, problem="regression", label="stars")
    judge = objective(tokenizer, section, labels={"merged": {"LABEL_0": 0}}, batch_tokens=50)
    evaluation, answers = judge({"merged": model}), one_by_one(model, tokenizer, texts)[:, 0].numpy()
    assert evaluation.outcomes["tones"] == pytest.approx(answers, abs=1e-5)
    assert evaluation.outcomes["tones"].dtype == judge.tasks[0].gold.dtype == np.float32
    assert evaluation.score == pytest.approx(pearsonr(gold, answers).statistic, abs=1e-5)
    found = judge.above({"merged": model}, np.nextafter(evaluation.score, -1))
    assert found is not None
    assert found.score == evaluation.score
    assert judge.above({"merged": model}, evaluation.score) is None


def test_the_second_text_of_a_pair_is_read(tokenizer: Any, bert: Any, tmp_path: Path) -> None:
    pairs = zip(random_rows(20), random_rows(20, seed=7), strict=True)
    rows = [{**row, "other": other["text"]} for row, other in pairs]
    dev = write(tmp_path / "dev.jsonl", rows)
    found = objective(tokenizer, task(dev, pair="other", max_length=64))({"merged": bert}).outcomes["tones"]
    with torch.inference_mode():
        expected = [
            int(bert(**tokenizer(row["text"], row["other"], return_tensors="pt")).logits.argmax())
            for row in rows
        ]
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("options", "labels", "said"),
    [
        ({"problem": "regression"}, LABELS["merged"], "a head of one output for the regression tones"),
        ({"metric": "f1"}, LABELS["merged"], "two labels for the metric f1 of the task tones"),
        ({"problem": "multi-label"}, {"LABEL_0": 0}, "a head of two labels or more for the task tones"),
    ],
)
def test_heads_of_another_size_are_refused(
    tokenizer: Any, dev: str, options: dict[str, str], labels: dict[str, int], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        objective(tokenizer, task(dev, **options), labels={"merged": labels})
