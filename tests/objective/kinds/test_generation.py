"""Generation: what is written is what ``generate`` writes after one prompt alone, greedily."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from searchmerge.objective import Objective
from searchmerge.types import UserError
from tests.objective.kinds.tiny import (
    DECODERS,
    ENCODER_DECODERS,
    POSITIONS,
    byte_tokenizer,
    forwards,
    objective,
    one_task,
    tiny,
    tokenizer_for,
    word_tokenizer,
)
from tests.objective.making import random_texts

NEW = 12


def rows(n: int = 20) -> list[dict[str, str]]:
    return [{"prompt": prompt, "answer": "w1"} for prompt in random_texts(n, longest=15)]


@torch.inference_mode()
def naive(model: Any, ids: list[int], *, ends: tuple[int, ...] = (3,), new: int = NEW) -> list[int]:
    """Greedy decoding of one prompt without padding or cache: the tokens up to one that ends a text."""
    both: bool = model.config.is_encoder_decoder
    written: list[int] = []
    begin = [model.generation_config.decoder_start_token_id] if both else ids
    while len(written) < new:
        given = torch.tensor([begin + written])
        inputs = (
            {"input_ids": torch.tensor([ids]), "decoder_input_ids": given} if both else {"input_ids": given}
        )
        token = int(model(**inputs).logits[0, -1].argmax())
        if token in ends:
            break
        written.append(token)
    return written


def written(judge: Objective, model: Any) -> list[list[int]]:
    """The tokens that each prompt is answered with, special ones left out, in the order of the data."""
    task: Any = judge.tasks[0]
    found: list[list[int]] = [[]] * task.examples
    with torch.inference_mode():
        for number, batch in enumerate(task.asked):
            answer = task.answer(model, batch)
            for example, tokens in zip(task.batches.examples(number), answer.tolist(), strict=True):
                found[example] = [each for each in tokens if each != 0]
    return found


def without_padding(tokens: list[int]) -> list[int]:
    return [each for each in tokens if each != 0]


@pytest.mark.parametrize("batch_tokens", [1, 60, 10_000])
@pytest.mark.parametrize("kind", [*DECODERS, *ENCODER_DECODERS])
def test_answers_are_those_to_one_prompt_at_a_time(tmp_path: Path, kind: str, batch_tokens: int) -> None:
    tokenizer, model, examples = tokenizer_for(kind), tiny(kind), rows()
    prompts = [tokenizer(row["prompt"])["input_ids"] for row in examples]
    expected = [naive(model, ids) for ids in prompts]
    assert len({tuple(each) for each in expected}) > 5
    for row, tokens in zip(examples[::2], expected[::2], strict=True):
        row["answer"] = tokenizer.decode(tokens, skip_special_tokens=True)
    order = np.random.default_rng(1).permutation(len(examples))
    task = one_task("generation", tmp_path, [examples[each] for each in order], max_new_tokens=NEW)
    judge = objective(tokenizer, task, encoder_decoder=kind in ENCODER_DECODERS, batch_tokens=batch_tokens)
    assert written(judge, model) == [without_padding(expected[each]) for each in order]
    with torch.inference_mode():
        ids = torch.tensor([prompts[order[0]]])
        plain = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False)
    start = 1 if kind in ENCODER_DECODERS else ids.shape[1]
    assert tokenizer.decode(plain[0, start:], skip_special_tokens=True) == tokenizer.decode(
        expected[order[0]], skip_special_tokens=True
    )
    evaluation = judge({"merged": model})
    right = [
        tokenizer.decode(tokens, skip_special_tokens=True).strip() == row["answer"].strip()
        for tokens, row in zip(expected, examples, strict=True)
    ]
    assert evaluation.outcomes["it"][:, 0].tolist() == [float(right[each]) for each in order]
    assert evaluation.score == pytest.approx(np.mean(right))
    assert evaluation.score >= 0.5


PROMPT = "w1 w2 w3"


@pytest.fixture(scope="module")
def writer() -> Any:
    """A model of byte pairs that writes no half characters."""
    tokenizer = byte_tokenizer()
    model = tiny("gpt2", seed=3, vocabulary=len(tokenizer), tie_word_embeddings=False)
    with torch.no_grad():
        for number in range(len(tokenizer)):
            model.lm_head.weight[number] *= tokenizer.decode([number]).isprintable()
    return model


def greedy(model: Any, new: int = 30) -> str:
    tokenizer = byte_tokenizer()
    tokens = naive(model, tokenizer(PROMPT)["input_ids"], new=new)
    found: str = tokenizer.decode(tokens, skip_special_tokens=True)
    return found


def says(model: Any, answer: str, folder: Path, **options: Any) -> bool:
    """Whether that is the answer to the prompt."""
    task = one_task("generation", folder, [{"prompt": PROMPT, "answer": answer}], **options)
    return objective(byte_tokenizer(), task)({"merged": model}).score == 1.0


@pytest.mark.parametrize("length", [1, 2, 3, 5])
@pytest.mark.parametrize("place", [0, 1, 4, 9])
def test_stops_end_an_answer_wherever_they_stand(
    tmp_path: Path, writer: Any, place: int, length: int
) -> None:
    whole = greedy(writer)
    assert says(writer, whole, tmp_path, max_new_tokens=30)
    stop = whole[place : place + length]
    expected = whole[: whole.index(stop)]
    assert says(writer, expected, tmp_path, max_new_tokens=30, stop=["never", stop])
    assert says(writer, expected, tmp_path, max_new_tokens=30, stop=[stop, whole[-1:] + "never"])


def test_a_stop_saves_forward_passes(tmp_path: Path, writer: Any) -> None:
    tokenizer = byte_tokenizer()
    tokens = naive(writer, tokenizer(PROMPT)["input_ids"], new=30)
    stop = tokenizer.decode(tokens[2:5])
    calls = forwards(writer, lambda: says(writer, "", tmp_path, max_new_tokens=30, stop=stop))
    assert calls <= 5


def test_a_stop_that_begins_in_the_prompt_does_not_count(tmp_path: Path, writer: Any) -> None:
    whole = greedy(writer)
    stop = PROMPT[-1] + whole[0]
    assert stop not in whole
    assert says(writer, whole, tmp_path, max_new_tokens=30, stop=stop)


def test_the_models_own_tokens_end_an_answer(tmp_path: Path) -> None:
    tokenizer, model = word_tokenizer(), tiny("llama")
    prompts = [row["prompt"] for row in rows()]
    free = [naive(model, tokenizer(prompt)["input_ids"], ends=()) for prompt in prompts]
    ends = (free[0][2], free[1][4])  # words, of which the tokenizer thinks nothing special
    model.generation_config = GenerationConfig(eos_token_id=list(ends), pad_token_id=0)
    judge = objective(tokenizer, one_task("generation", tmp_path, rows(), max_new_tokens=NEW))
    expected = [naive(model, tokenizer(prompt)["input_ids"], ends=ends) for prompt in prompts]
    assert written(judge, model) == [without_padding(each) for each in expected]
    assert len(expected[0]) < NEW


def test_an_end_of_number_zero_is_one(tmp_path: Path) -> None:
    tokenizer, model = word_tokenizer(), tiny("llama")
    prompt = rows()[0]["prompt"]
    model.generation_config = GenerationConfig(eos_token_id=0, pad_token_id=0)
    with torch.no_grad():
        model.lm_head.weight.zero_()  # all equal: the first token is written, and ends the text
    judge = objective(tokenizer, one_task("generation", tmp_path, [{"prompt": prompt, "answer": "x"}]))
    with torch.inference_mode():
        (batch,) = judge.tasks[0].asked
        assert judge.tasks[0].answer(model, batch).tolist() == [[0]]


def test_without_settings_of_the_model_the_tokenizers_end_counts(tmp_path: Path) -> None:
    tokenizer, model = word_tokenizer(), tiny("llama")
    judge = objective(tokenizer, one_task("generation", tmp_path, rows(), max_new_tokens=NEW))
    expected = written(judge, model)
    model.generation_config = GenerationConfig()
    assert written(judge, model) == expected


@pytest.mark.parametrize(
    "settings",
    [
        {"do_sample": True, "temperature": 5.0, "top_k": 3},
        {"num_beams": 4, "length_penalty": 2.0},
        {"repetition_penalty": 5.0},
        {"no_repeat_ngram_size": 1},
        {"max_length": 3, "min_new_tokens": 9},
        {"suppress_tokens": [5, 6, 7]},
        {"num_beams": 2, "num_return_sequences": 2},
        {"return_dict_in_generate": True, "output_scores": True},
    ],
)
@pytest.mark.filterwarnings("error")
def test_answers_are_greedy_whatever_the_models_settings(tmp_path: Path, settings: dict[str, Any]) -> None:
    tokenizer, model = word_tokenizer(), tiny("llama")
    judge = objective(tokenizer, one_task("generation", tmp_path, rows(), max_new_tokens=NEW))
    expected = written(judge, model)
    model.generation_config = GenerationConfig(eos_token_id=3, pad_token_id=0, **settings)
    own = deepcopy(model.generation_config.to_dict())
    assert written(judge, model) == expected
    assert model.generation_config.to_dict() == own


def test_a_token_that_is_forced_first_stays(tmp_path: Path) -> None:
    """As models of many languages begin with one's name."""
    tokenizer, model = tokenizer_for("bart"), tiny("bart")
    model.generation_config.forced_bos_token_id = 7
    judge = objective(
        tokenizer, one_task("generation", tmp_path, rows(), max_new_tokens=NEW), encoder_decoder=True
    )
    found = written(judge, model)
    assert all(tokens[0] == 7 for tokens in found)
    assert len({tuple(tokens) for tokens in found}) > 5


TEMPLATE = (
    "{% for turn in messages %}<s> w9 {{ turn.content }} </s>{% endfor %}"
    "{% if add_generation_prompt %} w8{% endif %}"
)


def test_a_chat_template_frames_the_prompt(tmp_path: Path) -> None:
    tokenizer, model, examples = word_tokenizer(), tiny("qwen2"), rows(6)
    task = one_task("generation", tmp_path, examples, max_new_tokens=NEW, chat=True)
    with pytest.raises(UserError, match="set chat: false"):
        objective(tokenizer, task)
    tokenizer.chat_template = TEMPLATE
    framed = [f"<s> w9 {row['prompt']} </s> w8" for row in examples]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in framed]
    expected = [without_padding(naive(model, each)) for each in ids]
    assert written(objective(tokenizer, task), model) == expected


def test_long_prompts_of_a_decoder_lose_their_beginning(tmp_path: Path) -> None:
    tokenizer, model = word_tokenizer(), tiny("llama")
    examples = rows()
    task = one_task("generation", tmp_path, examples, max_new_tokens=NEW, max_length=4)
    expected = [naive(model, tokenizer(row["prompt"])["input_ids"][-4:]) for row in examples]
    assert written(objective(tokenizer, task), model) == [without_padding(each) for each in expected]


def test_long_prompts_of_an_encoder_keep_their_end(tmp_path: Path) -> None:
    tokenizer = tokenizer_for("t5")
    task = one_task("generation", tmp_path, [{"prompt": "w1 w2 w3 w4", "answer": ""}], max_length=3)
    judge = objective(tokenizer, task, encoder_decoder=True)
    assert judge.tasks[0].batches.batches[0]["input_ids"].tolist() == [tokenizer("w1 w2")["input_ids"]]


@pytest.mark.parametrize(
    ("kind", "options", "fits"),
    [
        ("llama", {"max_new_tokens": POSITIONS - 3}, True),
        ("llama", {"max_new_tokens": POSITIONS - 2}, False),
        ("llama", {"max_new_tokens": POSITIONS - 2, "max_length": 2}, True),
        ("bart", {"max_new_tokens": POSITIONS}, True),
        ("bart", {"max_new_tokens": POSITIONS + 1}, False),
    ],
)
def test_positions_are_counted(tmp_path: Path, kind: str, options: dict[str, int], fits: bool) -> None:
    both = kind == "bart"
    task = one_task("generation", tmp_path, [{"prompt": "w1 w2", "answer": ""}], **options)
    judge = objective(word_tokenizer(), task, encoder_decoder=both)
    if fits:
        assert judge({"merged": tiny(kind)}).score in (0.0, 1.0)
    else:
        with pytest.raises(UserError, match=f"fit in {POSITIONS} positions"):
            judge({"merged": tiny(kind)})


def test_a_model_that_does_not_write_is_refused(tmp_path: Path) -> None:
    judge = objective(word_tokenizer(), one_task("generation", tmp_path, rows(2)))
    with pytest.raises(UserError, match="models that write, for the task it"):
        judge({"merged": tiny("bert")})


def test_the_right_answer_of_numeric_has_a_number(tmp_path: Path) -> None:
    examples: list[dict[str, Any]] = [{"prompt": "w1", "answer": 3}, {"prompt": "w2", "answer": "three"}]
    with pytest.raises(UserError, match=r"a number as answer in .*dev\.jsonl, line 2"):
        objective(word_tokenizer(), one_task("generation", tmp_path, examples, metric="numeric"))


@pytest.mark.parametrize("kind", [*DECODERS, *ENCODER_DECODERS])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_no_numbers_fail(tmp_path: Path, kind: str, bad: float) -> None:
    model = tiny(kind)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter[:] = bad
    task = one_task("generation", tmp_path, rows(5))
    judge = objective(tokenizer_for(kind), task, encoder_decoder=kind in ENCODER_DECODERS)
    with pytest.raises(FloatingPointError, match="task it: the logits of 5 of 5"):
        judge({"merged": model})
