"""The text-classification task: what it predicts, and which misfits it refuses."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from searchmerge.types import UserError
from tests.fixtures import SPECIAL, WORDS, tiny_bert, tiny_tokenizer
from tests.objective.making import LABELS, objective, one_by_one, random_rows, task, write

VOCABULARY = len(SPECIAL + WORDS)
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


def tiny_gpt2() -> Any:
    return GPT2ForSequenceClassification(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=64,
            n_embd=32,
            n_layer=2,
            n_head=2,
            num_labels=3,
            pad_token_id=0,
        )
    )


def tiny_llama() -> Any:
    return LlamaForSequenceClassification(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            num_labels=3,
            pad_token_id=0,
        )
    )


def spread(model: Any, seed: int = 0) -> Any:
    """Give a model weights that tell texts apart."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.2, generator=generator)
    return model.eval()


@pytest.fixture(params=["bert", "gpt2", "llama"])
def model(request: pytest.FixtureRequest) -> Any:
    if request.param == "bert":
        return request.getfixturevalue("bert")
    return spread(tiny_gpt2() if request.param == "gpt2" else tiny_llama())


@pytest.mark.parametrize("batch_tokens", [1, 50, 333, 10_000])
def test_batches_change_no_logit(tokenizer: Any, model: Any, tmp_path: Path, batch_tokens: int) -> None:
    rows = random_rows(40)
    expected = one_by_one(model, tokenizer, [row["text"] for row in rows])
    assert len(set(expected.argmax(1).tolist())) > 1
    for order in (np.arange(40), np.random.default_rng(1).permutation(40)):
        dev = write(tmp_path / "dev.jsonl", [rows[index] for index in order])
        judge = objective(tokenizer, task(dev), batch_tokens=batch_tokens)
        batches = judge.tasks[0].batches
        with torch.inference_mode():
            logits = torch.cat([model(**batch).logits for batch in batches.batches])
        torch.testing.assert_close(logits, expected[order][batches.order], atol=1e-4, rtol=0)
        assert np.array_equal(judge({"merged": model}).outcomes["tones"], expected.argmax(1)[order])


def test_metric_is_that_of_the_predictions(tokenizer: Any, bert: Any, dev: str) -> None:
    rows = random_rows(40)
    predicted = one_by_one(bert, tokenizer, [row["text"] for row in rows]).argmax(1).tolist()
    right = sum(NAMES.index(row["label"]) == label for row, label in zip(rows, predicted, strict=True))
    evaluation = objective(tokenizer, task(dev))({"merged": bert})
    assert evaluation.metrics == {"tones": right / 40}
    assert evaluation.score == right / 40


def test_texts_are_cut_to_the_smaller_limit(tokenizer: Any, tmp_path: Path) -> None:
    dev = write(tmp_path / "dev.jsonl", [{"text": "w1 " * 100, "label": label} for label in NAMES])
    longest = {
        limit: objective(tokenizer, task(dev, max_length=limit)).tasks[0].batches.longest
        for limit in (None, 10, 90)
    }
    assert longest == {None: 64, 10: 10, 90: 64}


def test_texts_are_whole_where_nothing_limits_them(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    unlimited = AutoTokenizer.from_pretrained(tmp_path, model_max_length=int(1e30))
    dev = write(tmp_path / "dev.jsonl", [{"text": "w1 " * 100, "label": label} for label in NAMES])
    assert objective(unlimited, task(dev)).tasks[0].batches.longest == 102


def test_outcomes_take_the_smallest_type(tokenizer: Any, tmp_path: Path) -> None:
    dev = write(tmp_path / "dev.jsonl", [{"text": "w1", "label": 299}, {"text": "w2", "label": 0}])
    many = {"merged": {str(number): number for number in range(300)}}
    model = tiny_bert(tmp_path / "many", list(many["merged"]), 0)
    assert (
        objective(tokenizer, task(dev), labels=many)({"merged": model}).outcomes["tones"].dtype == np.uint16
    )


def test_dropout_is_off(tokenizer: Any, bert: Any, dev: str) -> None:
    judge = objective(tokenizer, task(dev))
    expected = judge({"merged": bert}).outcomes["tones"]
    state = torch.get_rng_state()
    assert np.array_equal(judge({"merged": bert.train()}).outcomes["tones"], expected)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("batch_tokens", [1, 50, 333, 10_000])
def test_batch_by_batch_the_predictions_are_the_same(
    tokenizer: Any, model: Any, tmp_path: Path, batch_tokens: int
) -> None:
    rows = random_rows(40)
    expected = one_by_one(model, tokenizer, [row["text"] for row in rows]).argmax(1).numpy()
    dev = write(tmp_path / "dev.jsonl", rows)
    tones = objective(tokenizer, task(dev), batch_tokens=batch_tokens).tasks[0]
    gold = np.array([NAMES.index(row["label"]) for row in rows])
    partial = tones.start()
    for number, batch in reversed(list(enumerate(tones.batches.batches))):
        before = partial.seen.copy()
        with torch.inference_mode():
            wrong = tones.note(tones.answer(model, batch), number, partial)
        new = partial.seen & ~before
        assert new.sum() == len(batch["input_ids"])
        assert wrong == (expected != gold)[new].sum()
        assert np.array_equal(partial.outcomes, np.where(partial.seen, expected, gold))
        right = np.where(partial.seen, expected == gold, True).mean()
        assert tones.bound(partial) == pytest.approx(right)
    assert np.array_equal(partial.outcomes, expected)
    assert partial.seen.all()


def test_truth_is_in_the_type_of_predictions_and_stays(tokenizer: Any, bert: Any, dev: str) -> None:
    judge = objective(tokenizer, task(dev, metric="macro_f1"))
    (tones,) = judge.tasks
    perfect = tones.start().outcomes
    assert perfect.tolist() == [NAMES.index(row["label"]) for row in random_rows(40)]
    assert perfect.dtype == judge({"merged": bert}).outcomes["tones"].dtype
    assert judge.score_of({"tones": perfect}).score == 1.0
    assert not tones.start().seen.any()
    perfect[:] = 0
    assert tones.start().outcomes.any(), "a copy, the labels stay"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_fail(tokenizer: Any, tmp_path: Path, dev: str, bad: float) -> None:
    model = tiny_bert(tmp_path / "model", NAMES, 0)
    judge = objective(tokenizer, task(dev), batch_tokens=10_000)
    size = judge.tasks[0].batches.sizes[0]
    with torch.no_grad():
        model.classifier.bias[1] = bad
    with pytest.raises(
        FloatingPointError, match=f"task tones: the answers to {size} of {size} examples are not finite"
    ):
        judge({"merged": model})


@pytest.mark.parametrize(
    ("precision", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_precision_of_the_forward(
    tokenizer: Any, bert: Any, dev: str, precision: str, expected: torch.dtype
) -> None:
    seen: set[torch.dtype] = set()
    hook = bert.classifier.register_forward_hook(lambda _module, _inputs, logits: seen.add(logits.dtype))
    objective(tokenizer, task(dev), precision=precision)({"merged": bert})
    hook.remove()
    assert seen == {expected}


def test_weights_changed_in_place_are_seen_in_bfloat16(tokenizer: Any, tmp_path: Path, dev: str) -> None:
    model, other = (tiny_bert(tmp_path / str(seed), NAMES, seed) for seed in (1, 2))
    judge = objective(tokenizer, task(dev), precision="bfloat16")
    expected = judge({"merged": other}).outcomes["tones"]
    assert not np.array_equal(judge({"merged": model}).outcomes["tones"], expected)
    with torch.no_grad():
        for mine, its in zip(model.parameters(), other.parameters(), strict=True):
            mine.copy_(its)
    assert np.array_equal(judge({"merged": model}).outcomes["tones"], expected)


def test_one_label_in_the_data_warns(tokenizer: Any, tmp_path: Path) -> None:
    dev = write(tmp_path / "dev.jsonl", random_rows(5, ["good"]))
    with pytest.warns(UserWarning, match=r"dev\.jsonl have one label"):
        objective(tokenizer, task(dev, metric="macro_f1"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        objective(tokenizer, task(write(tmp_path / "dev.jsonl", random_rows(5)), metric="macro_f1"))


def test_head_of_one_label_is_refused(tokenizer: Any, dev: str) -> None:
    with pytest.raises(UserError, match="two labels or more"):
        objective(tokenizer, task(dev), labels={"merged": {"LABEL_0": 0}})


def test_tokenizer_without_padding_is_refused(tokenizer: Any, tmp_path: Path, dev: str) -> None:
    tokenizer.save_pretrained(tmp_path)
    unpadded = AutoTokenizer.from_pretrained(tmp_path, pad_token=None)
    with pytest.raises(UserError, match="a tokenizer with a padding token"):
        objective(unpadded, task(dev))


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("pad_token_id", 5, "got: pad_token_id 5"),
        ("pad_token_id", None, "got: pad_token_id None"),
        ("max_position_embeddings", 8, "set max_length: 8"),
        ("num_labels", 2, "expected: a head of 3 labels"),
    ],
)
def test_model_that_does_not_fit_is_refused(
    tokenizer: Any, tmp_path: Path, dev: str, setting: str, value: int | None, said: str
) -> None:
    model: nn.Module = tiny_bert(tmp_path / "model", NAMES, 0)
    setattr(model.config, setting, value)
    with pytest.raises(UserError, match=said):
        objective(tokenizer, task(dev))({"merged": model})
