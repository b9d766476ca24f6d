"""Multiple choice: the continuation that a naive loop finds the most probable one."""

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
    byte_tokenizer,
    objective,
    one_task,
    tiny,
    tokenizer_for,
    word_tokenizer,
)
from tests.objective.making import random_texts


def rows(n: int = 30, seed: int = 0) -> list[dict[str, Any]]:
    """Prompts with two to five continuations of different lengths; their labels are numbers."""
    rng = np.random.default_rng(seed)
    prompts, texts = (
        random_texts(n, longest=9, seed=seed),
        iter(random_texts(5 * n, longest=4, seed=seed + 1)),
    )
    found = []
    for prompt in prompts:
        choices = [f" {next(texts)}" for _ in range(rng.integers(2, 6))]
        choices = list(dict.fromkeys(choices)) if len(set(choices)) > 1 else [" w1", " w2 w3"]
        found.append({"prompt": prompt, "choices": choices, "label": int(rng.integers(len(choices)))})
    return found


@torch.inference_mode()
def loglikelihood(model: Any, tokenizer: Any, prompt: str, text: str, both: bool) -> tuple[float, int]:
    """Of one continuation, and its number of tokens."""
    if both:
        ids, labels = (torch.tensor([tokenizer(each)["input_ids"]]) for each in (prompt, text))
        return -float(model(input_ids=ids, labels=labels).loss) * labels.shape[1], labels.shape[1]
    ids = tokenizer(prompt + text)["input_ids"]
    n = len(ids) - len(tokenizer(prompt)["input_ids"])
    logits = model(torch.tensor([ids])).logits[0, -n - 1 : -1].double().log_softmax(-1)
    return float(sum(logits[place, token] for place, token in enumerate(ids[-n:]))), n


def naive(model: Any, tokenizer: Any, row: dict[str, Any], normalise: str, both: bool) -> int:
    values = []
    for text in row["choices"]:
        value, tokens = loglikelihood(model, tokenizer, row["prompt"], text, both)
        values.append(value / {"none": 1, "characters": len(text), "tokens": tokens}[normalise])
    return int(np.argmax(values))


@pytest.mark.parametrize("normalise", ["none", "characters", "tokens"])
@pytest.mark.parametrize("kind", [*DECODERS, *ENCODER_DECODERS])
def test_the_choice_is_that_of_a_naive_loop(tmp_path: Path, kind: str, normalise: str) -> None:
    both = kind in ENCODER_DECODERS
    tokenizer, model, examples = tokenizer_for(kind), tiny(kind), rows()
    expected = np.array([naive(model, tokenizer, row, normalise, both) for row in examples])
    order = np.random.default_rng(1).permutation(len(examples))
    for batch_tokens in (1, 80, 10_000):
        task = one_task("multiple-choice", tmp_path, [examples[each] for each in order], normalise=normalise)
        judge = objective(tokenizer, task, encoder_decoder=both, batch_tokens=batch_tokens)
        evaluation = judge({"merged": model})
        assert evaluation.outcomes["it"].tolist() == expected[order].tolist()
        right = np.mean(expected == [row["label"] for row in examples])
        assert evaluation.score == pytest.approx(right)


def test_normalising_changes_choices(tmp_path: Path) -> None:
    """So that the test above tells the ways apart."""
    tokenizer, model, examples = byte_tokenizer(), tiny("gpt2", vocabulary=400), rows()
    found = {}
    for way in ("none", "characters", "tokens"):
        task = one_task("multiple-choice", tmp_path, examples, normalise=way)
        found[way] = objective(tokenizer, task)({"merged": model}).outcomes["it"].tolist()
        assert found[way] == [naive(model, tokenizer, row, way, False) for row in examples]
    assert len(set(map(tuple, found.values()))) == 3


def test_log_likelihoods_do_not_depend_on_batches(tmp_path: Path) -> None:
    tokenizer, model, examples = word_tokenizer(), tiny("llama"), rows()
    wanted = [
        [loglikelihood(model, tokenizer, row["prompt"], text, False)[0] for text in row["choices"]]
        for row in examples
    ]
    for batch_tokens in (1, 80, 10_000):
        judge = objective(
            tokenizer, one_task("multiple-choice", tmp_path, examples), batch_tokens=batch_tokens
        )
        task = judge.tasks[0]
        with torch.inference_mode():
            answers = torch.cat([task.answer(model, batch) for batch in task.asked])
        expected = np.concatenate([wanted[example] for example in task.batches.order])
        np.testing.assert_allclose(answers, expected, atol=1e-4 * 20)


def test_a_label_is_a_number_or_the_text(tmp_path: Path) -> None:
    row = {"prompt": "w1", "choices": [" w2", " w3"]}
    right: tuple[Any, ...] = (1, "1", " w3")
    for label in right:
        task = one_task("multiple-choice", tmp_path, [{**row, "label": label}])
        assert objective(word_tokenizer(), task).tasks[0].gold.tolist() == [1]
    wrong: tuple[Any, ...] = (2, " w4", None)
    for label in wrong:
        with pytest.raises(UserError, match="as label in"):
            objective(word_tokenizer(), one_task("multiple-choice", tmp_path, [{**row, "label": label}]))


def test_tokens_that_are_cut_do_not_count_as_length(tmp_path: Path) -> None:
    row = {"prompt": "w1 w2", "choices": [" w3 w4 w5 w6 w7", " w8"], "label": 0}
    task = one_task("multiple-choice", tmp_path, [row], normalise="tokens", max_length=4)
    judged: Any = objective(word_tokenizer(), task).tasks[0]
    assert judged.lengths[0].tolist() == [3, 1]  # of four tokens left nothing predicts the first
    assert judged.read(torch.tensor([-3.0, -1.1]), 0).tolist() == [0]


def test_equal_continuations_are_the_first(tmp_path: Path) -> None:
    model = tiny("gpt2")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    task = one_task("multiple-choice", tmp_path, [{"prompt": "w1", "choices": [" w2", " w3"], "label": 1}])
    assert objective(word_tokenizer(), task)({"merged": model}).outcomes["it"].tolist() == [0]


def test_weights_that_are_no_numbers_fail(tmp_path: Path) -> None:
    model = tiny("gpt2")
    with torch.no_grad():
        model.lm_head.weight[5] = math.nan
    with pytest.raises(FloatingPointError, match="task it"):
        objective(word_tokenizer(), one_task("multiple-choice", tmp_path, rows(5)))({"merged": model})
