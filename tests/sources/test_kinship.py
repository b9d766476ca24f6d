from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from transformers import BertForSequenceClassification

from tests.sources.zoo import Bench, bert, classifier, family, near, refused


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return family(tmp_path)


def test_an_expert_as_base_is_refused(bench: Bench) -> None:
    shutil.copytree(bench.folder / "two", bench.folder / "copy")
    bench.save("other", near(classifier(2), seed=3))
    with refused("a base", "the weights of expert two", "models.base"):
        bench.open("two", "other", base="copy", own=False)


def test_a_head_trained_on_the_bases_own_body_is_no_mistake(bench: Bench) -> None:
    bench.save("probe", classifier(2))
    assert "expert probe has the same weights as base" in bench.open("probe", "three").notes


def test_two_equal_experts_are_noted(bench: Bench) -> None:
    shutil.copytree(bench.folder / "two", bench.folder / "copy")
    assert "expert copy has the same weights as expert two" in bench.open("two", "copy").notes


@pytest.mark.parametrize("base", ["base", None], ids=["with base", "without"])
def test_an_unrelated_expert_is_refused(bench: Bench, base: str | None) -> None:
    bench.save("stranger", bert(BertForSequenceClassification, seed=9))
    first = base or "expert two"
    with refused(
        f"models of one origin in {first} and expert stranger", "unrelated weights (cosine", "trained from"
    ):
        bench.open("two", "stranger", base=base)


def test_an_expert_far_from_the_base_is_noted(bench: Bench) -> None:
    bench.save("far", near(classifier(2), seed=3, scale=0.03))
    assert any(note.startswith("expert far is far from base: 1.") for note in bench.open("far").notes)
    assert not any("far from" in note for note in bench.open("two", "three").notes)
