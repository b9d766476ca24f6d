"""Tagging: each word has the tag of its first token, whatever the batches; F1 is seqeval's."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from sklearn.metrics import accuracy_score
from transformers import PreTrainedTokenizerFast

from searchmerge.objective.kinds.tagging import tally
from searchmerge.types import UserError
from tests.objective.kinds.tiny import ENCODERS, byte_tokenizer, objective, one_task, tiny
from tests.objective.making import random_texts

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
LABELS = {"merged": {tag: number for number, tag in enumerate(TAGS)}}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Byte pairs that break most words up; takes words."""
    folder = tmp_path_factory.mktemp("tokenizer")
    byte_tokenizer().save_pretrained(folder)
    found = PreTrainedTokenizerFast.from_pretrained(folder)
    found.backend_tokenizer.pre_tokenizer = type(found.backend_tokenizer.pre_tokenizer)(add_prefix_space=True)
    return found


def rows(n: int = 25, seed: int = 0) -> list[dict[str, list[str]]]:
    rng = np.random.default_rng(seed)
    sentences = [
        [word + "x" * int(rng.integers(3)) for word in text.split()]
        for text in random_texts(n, longest=12, seed=seed)
    ]
    return [{"tokens": words, "tags": [str(rng.choice(TAGS)) for _ in words]} for words in sentences]


def tagger(kind: str) -> Any:
    return tiny(kind, vocabulary=400, num_labels=len(TAGS))


@torch.inference_mode()
def naive(model: Any, tokenizer: Any, words: list[str]) -> list[str]:
    """The tags of one sentence, its words encoded one after the other."""
    pieces = [tokenizer(" " + word, add_special_tokens=False)["input_ids"] for word in words]
    logits = model(torch.tensor([[token for piece in pieces for token in piece]])).logits[0]
    first = np.cumsum([0, *map(len, pieces)])[:-1]
    return [TAGS[int(logits[place].argmax())] for place in first]


@pytest.mark.parametrize("batch_tokens", [1, 100, 10_000])
@pytest.mark.parametrize("kind", ENCODERS)
def test_tags_are_those_of_one_sentence_at_a_time(
    tmp_path: Path, tokenizer: Any, kind: str, batch_tokens: int
) -> None:
    model, examples = tagger(kind), rows()
    given_tags = [naive(model, byte_tokenizer(), row["tokens"]) for row in examples]
    true_tags = [row["tags"] for row in examples]
    assert len({tag for tags in given_tags for tag in tags}) > 1
    for order in (np.arange(25), np.random.default_rng(1).permutation(25)):
        task = one_task("token-classification", tmp_path, [examples[each] for each in order])
        options: dict[str, Any] = {"labels": LABELS, "batch_tokens": batch_tokens}
        accuracy = objective(tokenizer, task, **options)({"merged": model})
        flat = [[tag for tags in tagged for tag in tags] for tagged in (true_tags, given_tags)]
        assert accuracy.score == pytest.approx(accuracy_score(*flat))
        right = [
            sum(a == b for a, b in zip(*pair, strict=True))
            for pair in zip(true_tags, given_tags, strict=True)
        ]
        assert accuracy.outcomes["it"].tolist() == [[right[each], len(true_tags[each])] for each in order]
        f1 = objective(tokenizer, {**task, "metric": "entity_f1"}, **options)({"merged": model})
        assert f1.score == pytest.approx(f1_score(true_tags, given_tags, zero_division=0))


SCHEMES = {
    "BIO": ("O", "B-A", "I-A", "B-B", "I-B"),
    "IOBES": ("O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "E-B", "S-B"),
}


@given(st.data(), st.sampled_from(sorted(SCHEMES)))
def test_tallies_add_up_to_seqevals_f1(data: st.DataObject, scheme: str) -> None:
    tags = SCHEMES[scheme]
    numbers = st.integers(0, len(tags) - 1)
    lengths = data.draw(st.lists(st.integers(1, 8), min_size=1, max_size=6))
    gold, answers = (
        [np.array(data.draw(st.lists(numbers, min_size=n, max_size=n))) for n in lengths] for _ in range(2)
    )
    sums = np.sum(
        [tally("entity_f1", tags, one, other) for one, other in zip(gold, answers, strict=True)], axis=0
    )
    named = [[[tags[each] for each in words] for words in sentences] for sentences in (gold, answers)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = f1_score(*named, zero_division=0)
    assert (sums[0] / sums[1] if sums[1] else 0.0) == pytest.approx(expected)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=8))
def test_right_answers_are_perfect(words: list[int]) -> None:
    gold = np.array(words)
    for metric in ("accuracy", "entity_f1"):
        over, under = tally(metric, SCHEMES["IOBES"], gold, gold)
        assert over == under


def test_words_that_are_cut_are_left_out_with_a_warning(tmp_path: Path, tokenizer: Any) -> None:
    model = tagger("bert")
    row = {"tokens": ["w1", "w2", "w3", "w4"], "tags": ["O", "B-PER", "I-PER", "O"]}
    pieces = [len(byte_tokenizer()(" " + word)["input_ids"]) for word in row["tokens"]]
    longest = pieces[0] + pieces[1]
    task = one_task("token-classification", tmp_path, [row], max_length=longest)
    with pytest.warns(UserWarning, match=r"2 words of .*dev\.jsonl lie beyond"):
        judge = objective(tokenizer, task, labels=LABELS)
    assert judge({"merged": model}).outcomes["it"][0, 1] == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        objective(tokenizer, one_task("token-classification", tmp_path, [row]), labels=LABELS)


def refusal(tokenizer: Any, folder: Path, row: dict[str, Any], **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        objective(tokenizer, one_task("token-classification", folder, [row]), **{"labels": LABELS, **options})
    message = str(caught.value)
    assert all(part in message for part in ("expected: ", "got: ", "do: "))
    return message


def test_refusals(tmp_path: Path, tokenizer: Any) -> None:
    row = {"tokens": ["w1", "w2"], "tags": ["O", "B-PER"]}
    assert "as many tags as tokens" in refusal(tokenizer, tmp_path, {**row, "tags": ["O"]})
    assert "B-ORG" in refusal(tokenizer, tmp_path, {**row, "tags": ["O", "B-ORG"]})
    assert "a list" in refusal(tokenizer, tmp_path, {**row, "tokens": "w1 w2"})
    assert "two tags or more" in refusal(tokenizer, tmp_path, row, labels={"merged": {"O": 0}})


class Slow:
    """A tokenizer that does not know the words of its tokens."""

    is_fast = False
    model_max_length = 64
    pad_token_id = pad_token_type_id = 0


def test_a_slow_tokenizer_is_refused(tmp_path: Path) -> None:
    message = refusal(Slow(), tmp_path, {"tokens": ["w1"], "tags": ["O"]})
    assert "got: Slow" in message
    assert "tokenizer.json" in message


def test_robertas_tokenizer_must_add_a_space(tmp_path: Path) -> None:
    from transformers import RobertaTokenizerFast

    vocabulary = {
        token: number
        for number, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", "w", "1", "Ġ"])
    }
    row = {"tokens": ["w", "1"], "tags": ["O", "B-PER"]}
    plain, spaced = (
        RobertaTokenizerFast(vocab=vocabulary, merges=[], add_prefix_space=space) for space in (False, True)
    )
    assert "add_prefix_space: true" in refusal(plain, tmp_path, row)
    judge = objective(spaced, one_task("token-classification", tmp_path, [row]), labels=LABELS)
    assert judge.tasks[0].batches.batches[0]["labels"].tolist() == [[-100, 0, -100, 1, -100, -100]]


@pytest.mark.parametrize(("kind", "fitting"), [("bert", 128), ("distilbert", 128), ("roberta", 127)])
def test_positions_are_counted(tmp_path: Path, tokenizer: Any, kind: str, fitting: int) -> None:
    """RoBERTa's begin after the padding token's number."""
    row = {"tokens": ["w"] * 200, "tags": ["O"] * 200}
    with pytest.warns(UserWarning, match="left out"):
        long, short = (
            objective(
                tokenizer,
                one_task("token-classification", tmp_path, [row], max_length=length),
                labels=LABELS,
            )
            for length in (fitting + 1, fitting)
        )
    assert math.isfinite(short({"merged": tagger(kind)}).score)
    with pytest.raises(UserError, match=f"at most {fitting} tokens"):
        long({"merged": tagger(kind)})


def test_another_number_of_tags_is_refused(tmp_path: Path, tokenizer: Any) -> None:
    judge = objective(tokenizer, one_task("token-classification", tmp_path, rows(3)), labels=LABELS)
    with pytest.raises(UserError, match="a head of 5 tags for the task it"):
        judge({"merged": tiny("bert", vocabulary=400, num_labels=4)})


def test_weights_that_are_no_numbers_fail(tmp_path: Path, tokenizer: Any) -> None:
    model = tagger("bert")
    with torch.no_grad():
        model.classifier.bias[1] = math.nan
    judge = objective(tokenizer, one_task("token-classification", tmp_path, rows(3)), labels=LABELS)
    with pytest.raises(FloatingPointError, match="task it: the answers to 3 of 3 examples"):
        judge({"merged": model})
