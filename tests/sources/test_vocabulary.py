from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fixtures import tiny_tokenizer
from tests.sources.zoo import Bench, family, refused


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return family(tmp_path)


def test_the_tokenizer_is_the_bases_else_the_first_experts(bench: Bench) -> None:
    with refused("a tokenizer", "none", "tokenizer.save_pretrained"):
        _ = bench.open("two", "three").tokenizer_folder
    tiny_tokenizer(bench.folder / "three")
    sources = bench.open("two", "three")
    assert sources.tokenizer_folder == bench.folder / "three"
    assert {"base has no tokenizer of its own", "expert two has no tokenizer of its own"} <= set(
        sources.notes
    )
    tiny_tokenizer(bench.folder / "base")
    assert bench.open("two", "three").tokenizer_folder == bench.folder / "base"


def _vocabulary(folder: Path, kind: str, words: list[str]) -> None:
    """Write the words as a vocabulary file of that kind."""
    numbers = {word: number for number, word in enumerate(words)}
    text = {
        "vocab.txt": "\n".join(words) + "\n",
        "vocab.json": json.dumps(numbers),
        "tokenizer.json": json.dumps({"model": {"vocab": numbers}, "normalizer": None}),
        "unigram": json.dumps({"model": {"vocab": [[word, -1.0] for word in words]}, "normalizer": None}),
    }[kind]
    (folder / kind.replace("unigram", "tokenizer.json")).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("kind", ["vocab.txt", "vocab.json", "tokenizer.json", "unigram"])
def test_vocabularies_are_compared_whatever_their_format(bench: Bench, kind: str) -> None:
    words = ["[PAD]", "the", "ünï", "\u2028", "##s"]
    _vocabulary(bench.folder / "base", "tokenizer.json", words)
    _vocabulary(bench.folder / "two", kind, words)
    assert not any("vocabular" in note for note in bench.open("two").notes)
    _vocabulary(bench.folder / "two", kind, [*words, "added"])
    assert "1 tokens are in only one of the vocabularies of base and expert two" in bench.open("two").notes
    _vocabulary(bench.folder / "two", kind, ["[PAD]", "ünï", "the", "\u2028", "##s"])
    with refused(
        "one vocabulary in base and expert two",
        "token 1 is 'the' in base and 'ünï' in expert two",
        "its tokenizer",
    ):
        bench.open("two")


def test_tokenizers_that_cannot_be_compared_or_cut_otherwise_are_noted(bench: Bench) -> None:
    for name in ("base", "three"):
        _vocabulary(bench.folder / name, "tokenizer.json", ["a"])
    path = bench.folder / "three" / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "normalizer": {"type": "Lowercase"}}))
    (bench.folder / "two" / "spiece.model").write_bytes(b"\x00")
    notes = bench.open("two", "three").notes
    assert any(note.startswith("the vocabulary of expert two cannot be compared") for note in notes)
    assert "the tokenizers of base and expert three normalise or split text differently" in notes


def test_a_broken_tokenizer_file_is_refused(bench: Bench) -> None:
    (bench.folder / "two" / "tokenizer.json").write_text("{")
    with refused(f"JSON in {bench.folder / 'two' / 'tokenizer.json'}", "", "again"):
        bench.open("two")
