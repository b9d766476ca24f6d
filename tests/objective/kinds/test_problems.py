"""The problems of text classification that are not one label a text: several labels, numbers, pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score
from tokenizers import processors
from transformers import BertConfig, BertForSequenceClassification

from searchmerge.types import UserError
from tests.fixtures import SPECIAL, WORDS, tiny_tokenizer
from tests.objective.kinds.tiny import objective, one_task
from tests.objective.making import random_texts

NAMES = ("sport", "news", "music", "food")
LABELS = {"merged": {name: number for number, name in enumerate(NAMES)}}
NUMBER = {"merged": {"LABEL_0": 0}}
BATCHES = [1, 90, 10_000]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """That of the other tests, and it numbers the texts of a pair, as BERT's."""
    found = tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    found.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    found.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    return found


def bert(labels: int, seed: int = 0) -> Any:
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(SPECIAL + WORDS),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=128,
            num_labels=labels,
        )
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.3, generator=generator)
    return model.eval()


@torch.inference_mode()
def logits_of(model: Any, tokenizer: Any, *texts: list[str]) -> Any:
    """One example at a time: ``[examples, labels]``."""
    return np.concatenate(
        [model(**tokenizer(*each, return_tensors="pt")).logits for each in zip(*texts, strict=True)]
    )


def shuffled(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Any]:
    order = np.random.default_rng(1).permutation(len(rows))
    return [rows[each] for each in order], order


@pytest.mark.parametrize("batch_tokens", BATCHES)
def test_any_number_of_labels(tmp_path: Path, tokenizer: Any, batch_tokens: int) -> None:
    rng, texts, model = np.random.default_rng(0), random_texts(40), bert(4)
    answers = logits_of(model, tokenizer, texts) > 0
    gold = answers ^ (rng.random((40, 4)) < 0.3)
    assert 0 < answers.mean() < 1
    named = [[NAMES[label] for label in np.flatnonzero(each)] for each in gold]
    rows, order = shuffled([{"text": text, "label": each} for text, each in zip(texts, named, strict=True)])
    expected = {
        "micro_f1": f1_score(gold, answers, average="micro", zero_division=0),
        "macro_f1": f1_score(gold, answers, average="macro", zero_division=0),
        "accuracy": accuracy_score(gold, answers),
    }
    for metric, value in expected.items():
        task = one_task("text-classification", tmp_path, rows, problem="multi-label", metric=metric)
        evaluation = objective(tokenizer, task, labels=LABELS, batch_tokens=batch_tokens)({"merged": model})
        assert evaluation.score == pytest.approx(value)
        assert np.array_equal(evaluation.outcomes["it"], answers[order])


@pytest.mark.parametrize("batch_tokens", BATCHES)
def test_numbers(tmp_path: Path, tokenizer: Any, batch_tokens: int) -> None:
    texts, model = random_texts(40), bert(1)
    answers = logits_of(model, tokenizer, texts)[:, 0]
    gold = (answers + np.random.default_rng(0).normal(size=40)).astype(np.float32)
    rows, order = shuffled(
        [{"text": text, "label": float(each)} for text, each in zip(texts, gold, strict=True)]
    )
    pearson, spearman = pearsonr(gold, answers).statistic, spearmanr(gold, answers).statistic
    expected = {"pearson": pearson, "spearman": spearman, "pearson_spearman": (pearson + spearman) / 2}
    for metric, value in expected.items():
        task = one_task("text-classification", tmp_path, rows, problem="regression", metric=metric)
        evaluation = objective(tokenizer, task, labels=NUMBER, batch_tokens=batch_tokens)({"merged": model})
        assert evaluation.score == pytest.approx(value, abs=1e-4)
        np.testing.assert_allclose(evaluation.outcomes["it"], answers[order], atol=1e-4)


@pytest.mark.parametrize("batch_tokens", BATCHES)
def test_pairs_of_texts(tmp_path: Path, tokenizer: Any, batch_tokens: int) -> None:
    one, other, model = random_texts(30, longest=20), random_texts(30, longest=20, seed=5), bert(4)
    answers = logits_of(model, tokenizer, one, other).argmax(1)
    assert not np.array_equal(answers, logits_of(model, tokenizer, other, one).argmax(1))
    rows, order = shuffled(
        [{"a": a, "b": b, "label": NAMES[n % 4]} for n, (a, b) in enumerate(zip(one, other, strict=True))]
    )
    task = one_task("text-classification", tmp_path, rows, text="a", pair="b")
    judge = objective(tokenizer, task, labels=LABELS, batch_tokens=batch_tokens)
    assert judge.tasks[0].batches.longest == max(
        len(tokenizer(a, b)["input_ids"]) for a, b in zip(one, other, strict=True)
    )
    assert judge({"merged": model}).outcomes["it"].tolist() == answers[order].tolist()


def test_long_pairs_are_cut_together(tmp_path: Path, tokenizer: Any) -> None:
    rows = [{"a": "w1 " * 20, "b": "w2 w3", "label": name} for name in NAMES]
    task = one_task("text-classification", tmp_path, rows, text="a", pair="b", max_length=10)
    batch = objective(tokenizer, task, labels=LABELS).tasks[0].batches.batches[0]
    expected = tokenizer("w1 " * 20, "w2 w3", truncation=True, max_length=10)
    assert batch["input_ids"][0].tolist() == expected["input_ids"]
    assert batch["token_type_ids"][0].tolist() == expected["token_type_ids"]


@pytest.mark.parametrize(
    ("options", "label", "labels", "said"),
    [
        ({"problem": "multi-label"}, "sport", LABELS, "a list as label"),
        ({"problem": "multi-label"}, ["sport", "war"], LABELS, "a label of the head"),
        ({"problem": "multi-label"}, ["LABEL_0"], NUMBER, "two labels or more"),
        ({"problem": "regression"}, "high", NUMBER, "a number as label"),
        ({"problem": "regression"}, True, NUMBER, "a number as label"),
        ({"problem": "regression"}, 1.0, LABELS, "a head of one output"),
        ({"metric": "f1"}, "sport", LABELS, "two labels for the metric f1"),
        ({"pair": "second"}, "sport", LABELS, "a column second"),
    ],
)
def test_refusals(
    tmp_path: Path, tokenizer: Any, options: dict[str, Any], label: Any, labels: Any, said: str
) -> None:
    rows: list[dict[str, Any]] = [{"text": "w1", "label": label}]
    task = one_task("text-classification", tmp_path, rows, **options)
    with pytest.raises(UserError, match=said):
        objective(tokenizer, task, labels=labels)


def test_a_text_may_have_no_label_at_all(tmp_path: Path, tokenizer: Any) -> None:
    rows: list[dict[str, Any]] = [{"text": "w1", "label": []}, {"text": "w2", "label": ["news", 3]}]
    task = one_task("text-classification", tmp_path, rows, problem="multi-label")
    gold = objective(tokenizer, task, labels=LABELS).tasks[0].gold
    assert gold.tolist() == [[False] * 4, [False, True, False, True]]
