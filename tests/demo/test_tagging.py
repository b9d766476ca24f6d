"""Lessons of a tagger score a word once, and the experts of one base share its tags and head."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForTokenClassification, AutoTokenizer

from searchmerge.demo.brown import TAGS
from searchmerge.demo.experts import train
from searchmerge.demo.tagging import TAGGER, make_base, teach
from searchmerge.demo.training import UNSCORED, Recipe
from tests.demo.making import tiny_encoder

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "dog", "walk", "##ed", "##s", "."]
ROWS = [
    {"tokens": ["the", "dogs", "walked", "."], "tags": ["DET", "NOUN", "VERB", "."]},
    {"tokens": ["walks", "the", "dog"], "tags": ["NOUN", "DET", "NOUN"]},
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    return tiny_encoder(folder, PIECES)


def test_the_first_piece_of_each_word_is_scored(source: Path, tmp_path: Path) -> None:
    make_base(source, tmp_path / "base")
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    number = {tag: i for i, tag in enumerate(TAGS)}
    lessons = teach(model, tokenizer, ROWS, 32)
    pieces = tokenizer.convert_ids_to_tokens(lessons[0].inputs["input_ids"])
    assert pieces == ["[CLS]", "the", "dog", "##s", "walk", "##ed", ".", "[SEP]"]
    scored = [number[tag] for tag in ("DET", "NOUN", "VERB", ".")]
    det, noun, verb, stop = scored
    assert lessons[0].targets == [UNSCORED, det, noun, UNSCORED, verb, UNSCORED, stop, UNSCORED]
    (cut, _) = teach(model, tokenizer, ROWS, 6)
    assert cut.targets == [UNSCORED, det, noun, UNSCORED, verb, UNSCORED]


def test_experts_keep_the_tags_and_start_from_one_head(source: Path, tmp_path: Path) -> None:
    make_base(source, tmp_path / "base")
    data = tmp_path / "news.train.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS * 8), "utf-8")
    for out, rate in (("still", 1e-9), ("taught", 1e-2)):
        recipe = Recipe(head_steps=0, rate=rate, epochs=20, batch=8)
        train(TAGGER, tmp_path / "base", data, tmp_path / out, lambda *_: None, recipe)
    base, still = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "still"))
    assert base["classifier.weight"].shape == (len(TAGS), 16)
    assert base.keys() == still.keys()
    assert all(torch.allclose(base[name], still[name], atol=1e-6) for name in base)
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "taught").eval()
    assert model.config.id2label == dict(enumerate(TAGS))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "taught")
    with torch.inference_mode():
        best = model(**tokenizer("the dogs walked .", return_tensors="pt")).logits.argmax(-1)[0].tolist()
    assert [TAGS[best[place]] for place in (1, 2, 4, 6)] == ["DET", "NOUN", "VERB", "."]
