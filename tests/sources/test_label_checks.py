from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForSequenceClassification,
    BertModel,
)

from searchmerge.types import MERGED
from searchmerge.workshop import Workshop
from tests.sources.heads import LABELS, UNION, named, save_all
from tests.sources.zoo import Bench, bert, classifier, configure, edit, near, refused

CPU = torch.device("cpu")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    save_all(bench, "bert", LABELS)
    return bench


# What is said.


def test_the_notes_say_who_brings_which_labels(bench: Bench) -> None:
    said = "joy, anger from one and two; fear from one only; calm, hope from two only"
    assert f"head: 5 labels, matched by name: {said}" in bench.open("one", "two", own=False).notes


def test_experts_that_trained_a_head_alone_are_no_copies_of_the_base(bench: Bench) -> None:
    for name, labels in LABELS.items():
        bench.save(name, classifier(len(labels)))
        configure(bench.folder / name, **named(labels))
    bench.save("base", bert(BertModel))
    assert "expert one has the same weights as base" in bench.open("one", "two", own=False).notes
    alone = bench.open("one", "two", base=None, own=False).notes
    assert "expert two has the same weights as expert one" in alone


# What is refused.


def test_labels_without_names_cannot_be_matched(bench: Bench) -> None:
    unnamed = [f"LABEL_{number}" for number in range(3)]
    configure(bench.folder / "one", **named(unnamed))
    with refused("labels with names", "LABEL_0, LABEL_1, LABEL_2 in expert one", "label2id into config.json"):
        bench.open("one", "two", own=False)
    for name in LABELS:
        bench.save(name, classifier(2 + (name == "two"), max_position_embeddings=512))
    with refused("labels with names", "LABEL_0, LABEL_1 in expert one", "models.heads"):
        bench.open("one", "two", own=False)


@pytest.mark.parametrize(
    "label2id",
    [{"joy": 0, "anger": 2, "fear": 1}, {"joy": 0, "anger": 1, "fear": 1}, {"joy": 1, "anger": 2, "fear": 3}],
)
def test_a_config_that_contradicts_itself_is_refused(bench: Bench, label2id: dict[str, int]) -> None:
    configure(bench.folder / "one", label2id=label2id)
    with refused("label2id and id2label of one meaning", "'anger'", "correct what is wrong"):
        bench.open("one", "two", own=False)


def test_a_config_with_id2label_alone_names_the_labels(bench: Bench) -> None:
    configure(bench.folder / "one", label2id=None)
    assert bench.open("one", "two", own=False).label2id == {label: n for n, label in enumerate(UNION)}


def test_a_class_without_a_row_a_label_is_refused(bench: Bench) -> None:
    for name, labels in (("one", ("no", "yes")), ("two", ("yes", "no"))):
        bench.save(name, near(classifier(2, BertForMultipleChoice, max_position_embeddings=512), seed=1))
        configure(bench.folder / name, **named(labels))
    with refused(
        "tensors with one row a label", "none (BertForMultipleChoice of {'no': 0, 'yes': 1}", "head"
    ):
        bench.open("one", "two", own=False)


class DoubleBert(BertForSequenceClassification):  # type: ignore[misc]  # transformers has no types
    """Two rows a label."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.classifier = torch.nn.Linear(config.hidden_size, 2 * config.num_labels)


@pytest.mark.parametrize(
    ("second", "got"),
    [(BertForMultipleChoice, "other ones in one expert"), (DoubleBert, "another number of rows")],
)
def test_heads_whose_rows_cannot_be_told_are_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, second: Any, got: str
) -> None:
    library = "searchmerge.sources.architecture.transformers"
    monkeypatch.setattr(f"{library}.DoubleBert", DoubleBert, raising=False)
    for name, kind, labels in (
        ("one", BertForSequenceClassification, ("no", "yes")),
        ("two", second, ("yes", "no")),
    ):
        bench.save(name, near(classifier(2, kind, max_position_embeddings=512), seed=1))
        configure(bench.folder / name, **named(labels))
    with refused("tensors with one row a label", got, "name an expert's head"):
        bench.open("one", "two", own=False)


def test_what_an_experts_class_does_not_load_is_no_head(bench: Bench) -> None:
    for name, labels in (("one", ("no", "yes")), ("two", ("yes", "no"))):
        model = bert(BertModel, seed=0)
        state = {**near(model, seed=len(name)).state_dict(), "cls.bias": torch.zeros(2)}
        model.save_pretrained(bench.folder / name, state_dict=state)
        configure(bench.folder / name, **named(labels))
    bench.save("base", bert(BertModel, seed=0))
    assert bench.open("one", "two", own=False).alignment is None


def test_numbers_are_names_too(bench: Bench) -> None:
    for name in LABELS:
        bench.save(name, near(classifier(2), seed=len(name)))
        configure(bench.folder / name, **named((5, 1) if name == "one" else (1, 3)))
    bench.save("base", bert(BertModel))
    assert bench.open("one", "two", own=False).label2id == {"5": 0, "1": 1, "3": 2}


def test_old_labels_of_a_language_model_of_other_numbers_say_nothing(bench: Bench) -> None:
    bench.save("base", bert(BertForMaskedLM))
    for name, count in (("one", 2), ("two", 5)):
        bench.save(name, near(bert(BertForMaskedLM), seed=count))
        configure(bench.folder / name, **named([f"LABEL_{number}" for number in range(count)]))
    sources = bench.open("one", "two", own=False)
    assert sources.alignment is None
    assert "cls.predictions.bias" in sources.merged


def test_weights_that_are_not_finite_are_refused_whoever_asks(bench: Bench) -> None:
    edit(bench.folder / "two", lambda tensors: tensors["classifier.bias"].fill_(float("nan")))
    workshop = Workshop(bench.open("one", "two", own=False), [MERGED], CPU)
    with refused("finite weights", "classifier.bias of", "leave that checkpoint out"):
        _ = workshop.base
