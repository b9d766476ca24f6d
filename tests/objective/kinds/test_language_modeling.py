"""Language modelling: the loss is that of one text at a time, whatever the batches."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from searchmerge.types import UserError
from tests.objective.kinds.tiny import (
    DECODERS,
    ENCODER_DECODERS,
    POSITIONS,
    byte_tokenizer,
    objective,
    one_task,
    tiny,
    word_tokenizer,
)
from tests.objective.making import random_texts

BATCHES = [1, 60, 10_000]


def rows(n: int = 24, seed: int = 0) -> list[dict[str, str]]:
    texts, prompts = random_texts(n, longest=20, seed=seed), random_texts(n, longest=9, seed=seed + 50)
    return [{"text": " " + text, "prompt": prompt} for text, prompt in zip(texts, prompts, strict=True)]


@torch.inference_mode()
def naive(model: Any, ids: list[int], scored: int) -> float:
    """The negative log-likelihood of a sequence's last tokens, one step at a time, in float64."""
    total = 0.0
    for place in range(len(ids) - scored, len(ids)):
        logits = model(torch.tensor([ids[:place]])).logits[0, -1].double()
        total -= float(logits.log_softmax(-1)[ids[place]])
    return total


@torch.inference_mode()
def naive_seq2seq(model: Any, ids: list[int], labels: list[int]) -> float:
    loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss
    return float(loss) * len(labels)


@pytest.mark.parametrize("batch_tokens", BATCHES)
@pytest.mark.parametrize("kind", DECODERS)
def test_loss_is_that_of_transformers_weighted_by_tokens(
    tmp_path: Path, kind: str, batch_tokens: int
) -> None:
    tokenizer, model = word_tokenizer(), tiny(kind)
    texts = rows()
    total, tokens = 0.0, 0
    for row in texts:
        ids = torch.tensor([tokenizer(row["text"])["input_ids"]])
        with torch.inference_mode():
            total += float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    task = one_task("language-modeling", tmp_path, texts)
    evaluation = objective(tokenizer, task, batch_tokens=batch_tokens)({"merged": model})
    assert evaluation.metrics["it"] == pytest.approx(total / tokens, abs=1e-4)
    assert evaluation.score == -evaluation.metrics["it"]
    assert evaluation.outcomes["it"][:, 1].sum() == tokens
    surprise = objective(tokenizer, {**task, "metric": "perplexity"}, batch_tokens=batch_tokens)
    assert surprise({"merged": model}).metrics["it"] == pytest.approx(math.exp(total / tokens), rel=1e-4)


@pytest.mark.parametrize("batch_tokens", BATCHES)
@pytest.mark.parametrize("kind", DECODERS)
def test_after_a_prompt_only_the_text_counts(tmp_path: Path, kind: str, batch_tokens: int) -> None:
    tokenizer, model, texts = word_tokenizer(), tiny(kind), rows()
    expected = []
    for row in texts:
        ids, scored = tokenizer(row["prompt"] + row["text"])["input_ids"], len(row["text"].split())
        expected.append([naive(model, ids, scored), scored])
    order = np.random.default_rng(1).permutation(len(texts))
    task = one_task("language-modeling", tmp_path, [texts[each] for each in order], prompt="prompt")
    found = objective(tokenizer, task, batch_tokens=batch_tokens)({"merged": model}).outcomes["it"]
    np.testing.assert_allclose(found, np.array(expected)[order], atol=1e-4 * 20)


@pytest.mark.parametrize("batch_tokens", BATCHES)
@pytest.mark.parametrize("kind", ENCODER_DECODERS)
def test_an_encoder_reads_the_prompt(tmp_path: Path, kind: str, batch_tokens: int) -> None:
    tokenizer, model, texts = word_tokenizer(begins=False, ends=True), tiny(kind), rows()
    encoded = [[tokenizer(row[name])["input_ids"] for name in ("prompt", "text")] for row in texts]
    expected = [[naive_seq2seq(model, prompt, text), len(text)] for prompt, text in encoded]
    order = np.random.default_rng(1).permutation(len(texts))
    task = one_task("language-modeling", tmp_path, [texts[each] for each in order], prompt="prompt")
    judge = objective(tokenizer, task, encoder_decoder=True, batch_tokens=batch_tokens)
    found = judge({"merged": model}).outcomes["it"]
    np.testing.assert_allclose(found, np.array(expected)[order], atol=1e-4 * 20)


@pytest.mark.parametrize("prompted", [False, True])
def test_texts_that_are_too_long_lose_their_first_tokens(tmp_path: Path, prompted: bool) -> None:
    tokenizer, model = word_tokenizer(), tiny("llama")
    row = {"prompt": "w1 w2 w3", "text": " w4 w5 w6 w7 w8"}
    whole = tokenizer(prompted * row["prompt"] + row["text"])["input_ids"]
    for longest in (2, 4, 7, 50):
        task = one_task(
            "language-modeling",
            tmp_path,
            [row],
            max_length=longest,
            **({"prompt": "prompt"} if prompted else {}),
        )
        ids = whole[-longest:]
        scored = min(5, len(ids) - 1)
        found = objective(tokenizer, task)({"merged": model}).outcomes["it"]
        np.testing.assert_allclose(found, [[naive(model, ids, scored), scored]], atol=1e-4)


@pytest.mark.parametrize("prompt", ["w1 w2 w3", "w1 w2 w3 ", "w1 w2\n", "a ", "Answer:\n\n"])
def test_white_space_before_the_seam_counts_to_the_text(tmp_path: Path, prompt: str) -> None:
    """As lm-eval's ``_encode_pair`` has it."""
    tokenizer = byte_tokenizer()
    model = tiny("gpt2", vocabulary=len(tokenizer))
    text = "yes w5" if prompt != prompt.rstrip() else " yes w5"
    moved = prompt[len(prompt.rstrip()) :]
    context, continuation = prompt[: len(prompt) - len(moved)], moved + text
    whole = tokenizer(context + continuation)["input_ids"]
    scored = len(whole) - len(tokenizer(context)["input_ids"])
    task = one_task("language-modeling", tmp_path, [{"prompt": prompt, "text": text}], prompt="prompt")
    found = objective(tokenizer, task)({"merged": model}).outcomes["it"]
    np.testing.assert_allclose(found, [[naive(model, whole, scored), scored]], atol=1e-4)


def test_a_prompt_may_end_with_a_special_token_of_its_own(tmp_path: Path) -> None:
    task = one_task(
        "language-modeling", tmp_path, [{"prompt": "w1 Q:", "text": " w2"}], prompt="{prompt} <s>"
    )
    found = objective(word_tokenizer(), task)({"merged": tiny("gpt2")})
    assert found.outcomes["it"][0, 1] == 1


def refusal(tokenizer: Any, folder: Path, row: dict[str, str], **options: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        objective(tokenizer, one_task("language-modeling", folder, [row], **options))
    return caught.value


def test_refusals(tmp_path: Path) -> None:
    alone = refusal(word_tokenizer(begins=False), tmp_path, {"text": "w1"})
    assert "a token after the first" in str(alone)
    assert "give it a prompt" in str(alone)
    ended = refusal(word_tokenizer(ends=True), tmp_path, {"text": " w1", "prompt": "w2"}, prompt="prompt")
    assert "got: PreTrainedTokenizerFast, which ends a text with </s>" in str(ended).replace(
        "TokenizersBackend", "PreTrainedTokenizerFast"
    )
    unpadded = word_tokenizer()
    unpadded.pad_token = None
    assert "a padding token" in str(refusal(unpadded, tmp_path, {"text": "w1 w2"}))
    with pytest.raises(UserError, match="an encoder, which reads it"):
        objective(
            word_tokenizer(),
            one_task("language-modeling", tmp_path, [{"text": "w1 w2"}]),
            encoder_decoder=True,
        )


@pytest.mark.parametrize(("kind", "long"), [("gpt2", "text"), ("bart", "prompt"), ("bart", "text")])
def test_positions_are_counted(tmp_path: Path, kind: str, long: str) -> None:
    row = {"prompt": "w1", "text": " w2 w3", long: " w1" * (POSITIONS + 1)}
    both = kind == "bart"
    task = one_task("language-modeling", tmp_path, [row], prompt="prompt")
    with pytest.raises(UserError, match=f"texts of at most {POSITIONS} tokens"):
        objective(word_tokenizer(), task, encoder_decoder=both)({"merged": tiny(kind)})
    cut = objective(word_tokenizer(), {**task, "max_length": POSITIONS}, encoder_decoder=both)
    assert math.isfinite(cut({"merged": tiny(kind)}).score)


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_weights_that_are_no_numbers_fail(tmp_path: Path, kind: str) -> None:
    model = tiny(kind)
    with torch.no_grad():
        next(model.parameters())[:] = math.nan
    judge = objective(
        word_tokenizer(begins=kind == "gpt2", ends=kind == "t5"),
        one_task("language-modeling", tmp_path, rows(5), prompt="prompt"),
        encoder_decoder=kind == "t5",
    )
    with pytest.raises(FloatingPointError, match="task it: the answers to 5 of 5 examples"):
        judge({"merged": model})
