from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    BertForSequenceClassification,
    BertModel,
)

from searchmerge.export import export
from searchmerge.sources.labels import Alignment
from searchmerge.sources.memory import bytes_needed
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.spaces.population import PopulationSpace
from searchmerge.types import MERGED, Recipe
from searchmerge.workshop import Workshop, layout_of, view
from tests.sources.heads import KINDS, LABELS, UNION, named, save_all
from tests.sources.zoo import Bench, bert, classifier, configure, near

CPU = torch.device("cpu")


def average(bench: Bench, *experts: str, heads: tuple[str, ...] = (MERGED,)) -> Workshop:
    """A workshop with the experts' plain average realised, without a base."""
    workshop = Workshop(bench.open(*experts, base=None, own=False), heads, CPU)
    CoefficientSpace.realise(averaging(workshop), workshop)
    return workshop


def averaging(workshop: Workshop) -> Recipe:
    options: dict[str, Any] = {"experts": workshop.experts, "layout": workshop.layout}
    return CoefficientSpace({"method": "linear"}, has_base=workshop.base is not None, **options).decode(())


def naive_row(states: Mapping[str, Mapping[str, Tensor]], tensor: str, label: str) -> list[float]:
    """The mean of a label's row over the experts that have the label, number by number."""
    rows = [
        state[tensor][LABELS[name].index(label)].double().reshape(-1).tolist()
        for name, state in states.items()
        if label in LABELS[name]
    ]
    return [sum(numbers) / len(numbers) for numbers in zip(*rows, strict=True)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    save_all(bench, "bert", LABELS)
    return bench


# The merged head.


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_is_the_mean_over_the_experts_that_learned_its_label(kind: str, tmp_path: Path) -> None:
    model_class, _, rows = KINDS[kind]
    bench = Bench(tmp_path)
    save_all(bench, kind, LABELS)
    workshop = average(bench, "one", "two")
    assert workshop.sources.alignment is not None
    assert workshop.sources.alignment.tensors == rows
    live: Any = workshop.models[MERGED]
    found = live.state_dict()
    states = {name: model_class.from_pretrained(tmp_path / name).state_dict() for name in LABELS}
    for name, tensor in found.items():
        if name in rows:
            for row, label in zip(tensor, UNION, strict=True):
                expected = torch.tensor(naive_row(states, name, label), dtype=torch.float64)
                torch.testing.assert_close(row.reshape(-1).double(), expected, rtol=1e-6, atol=1e-8)
        else:
            expected = (states["one"][name].double() + states["two"][name].double()) / 2
            torch.testing.assert_close(tensor.double(), expected, rtol=1e-6, atol=1e-8)

    export(averaging(workshop), workshop, {"task": MERGED}, None, "", tmp_path / "out")
    loaded = model_class.from_pretrained(tmp_path / "out").eval()
    assert tuple(loaded.config.id2label.values()) == UNION
    assert loaded.config.label2id == {label: number for number, label in enumerate(UNION)}
    tokens = torch.tensor([[3, 5, 7, 9, 1], [4, 6, 8, 2, 1]])  # T5 scores a text at its end, token 1
    with torch.inference_mode():
        assert torch.equal(loaded(input_ids=tokens).logits, live(input_ids=tokens).logits)


def test_a_layer_as_wide_as_there_are_labels_is_no_row_a_label(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    many = [f"label {number}" for number in range(16)]  # the dense layer of the head is 16 by 16
    save_all(bench, "roberta", {"one": many, "two": many[::-1], "three": many[:3]})
    sources = bench.open("one", "two", "three", base=None, own=False)
    assert sources.alignment is not None
    assert sources.alignment.tensors == {"classifier.out_proj.weight", "classifier.out_proj.bias"}


def test_the_order_of_the_experts_only_permutes_the_labels(bench: Bench) -> None:
    found = {}
    for order in (("one", "two"), ("two", "one")):
        workshop = average(bench, *order)
        model: Any = workshop.models[MERGED]
        found[order] = dict(zip(model.config.label2id, model.classifier.weight, strict=True))
    (first, second), joined = found.values(), [*LABELS["two"], "fear"]
    assert list(second) == joined
    for label in UNION:
        torch.testing.assert_close(first[label], second[label], rtol=1e-6, atol=1e-8)


heads = st.lists(
    st.permutations("abcdef").flatmap(lambda p: st.integers(1, 6).map(lambda n: p[:n])), min_size=1
)


@given(labels=heads, width=st.integers(0, 3), seed=st.integers(0, 9))
def test_an_aligned_head_has_the_experts_own_rows_and_the_others_mean(
    labels: list[list[str]], width: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (width,) if width else ()
    stored: dict[str | None, Tensor] = {
        str(n): torch.randn(len(own), *shape, generator=generator) for n, own in enumerate(labels)
    }
    alignment = Alignment(frozenset("w"), {str(n): tuple(own) for n, own in enumerate(labels)})
    union = [label for own in labels for label in own]
    assert list(alignment.label2id) == sorted(set(union), key=union.index)
    mean = alignment.read(None, stored.__getitem__)
    aligned = {str(n): alignment.read(str(n), stored.__getitem__) for n in range(len(labels))}
    for label, place in alignment.label2id.items():
        owners = [n for n, own in enumerate(labels) if label in own]
        rows = [stored[str(n)][labels[n].index(label)] for n in owners]
        expected = sum(row.double() for row in rows) / len(rows)
        torch.testing.assert_close(mean[place].double(), expected, rtol=1e-6, atol=1e-7)
        for n in range(len(labels)):
            own = rows[owners.index(n)] if n in owners else mean[place]
            assert torch.equal(aligned[str(n)][place], own)


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "ties", "dare_linear", "dare_ties"])
def test_a_label_of_one_expert_keeps_that_experts_row_whatever_the_method(bench: Bench, method: str) -> None:
    workshop = Workshop(bench.open("one", "two", own=False), [MERGED], CPU)
    space = CoefficientSpace(
        {"method": method, "weight": 0.4}, experts=("one", "two"), layout=workshop.layout
    )
    model: Any = space.realise(space.decode(()), workshop)[MERGED]
    states = {name: BertForSequenceClassification.from_pretrained(bench.folder / name) for name in LABELS}
    for label, name in (("fear", "one"), ("calm", "two"), ("hope", "two")):
        own: Any = states[name]
        expected = own.classifier.weight[LABELS[name].index(label)]
        torch.testing.assert_close(model.classifier.weight[UNION.index(label)], expected, rtol=1e-6, atol=0)


def test_a_founder_of_a_population_has_a_row_for_every_label(bench: Bench) -> None:
    workshop = Workshop(bench.open("one", "two", own=False), [MERGED], CPU)
    space = PopulationSpace({}, experts=("one", "two"), layout=workshop.layout)
    model: Any = space.realise(space.decode(("two",)), workshop)[MERGED]
    for name, labels in (("two", LABELS["two"]), ("one", ("fear",))):
        own: Any = BertForSequenceClassification.from_pretrained(bench.folder / name)
        for label in labels:
            row = own.classifier.weight[LABELS[name].index(label)]
            assert torch.equal(model.classifier.weight[UNION.index(label)], row)


def test_memory_is_counted_with_all_labels(bench: Bench) -> None:
    sources = bench.open("one", "two", own=False)
    body = sum(tensor.numel() for tensor in bert(BertModel, max_position_embeddings=512).parameters())
    assert layout_of(sources).size == body + 5 * 16 + 5
    assert bytes_needed(sources, 2) == 4 * (2 * (body + 5 * 16 + 5) + 512 * 16)


# What stays as it was.


def test_the_same_labels_in_the_same_order_are_merged_as_they_stand(bench: Bench) -> None:
    for name in LABELS:
        bench.save(name, near(classifier(3), seed=len(name)))
    bench.save("base", bert(BertModel))
    for labels in (("no", "yes", "so"), ("LABEL_0", "LABEL_1", "LABEL_2")):
        configure(bench.folder / "one", **named(labels))
        configure(bench.folder / "two", **named(labels))
        sources = bench.open("one", "two", own=False)
        assert sources.alignment is None
        assert not any("head" in note for note in sources.notes)
    # What the config of a base without a head says of labels is of no matter.
    for name in ("one", "two"):
        configure(bench.folder / name, **named(("no", "yes", "so")))
    configure(bench.folder / "base", **named(("up", "down", "odd")))
    assert bench.open("one", "two", own=False).alignment is None
    # One that names none goes by its places.
    configure(bench.folder / "two", **named(("LABEL_0", "LABEL_1", "LABEL_2")))
    assert bench.open("one", "two", own=False).alignment is None
    workshop = Workshop(bench.open("one", "two", own=False), [MERGED], CPU)
    (span,) = [span for span in workshop.layout.spans if span.name == "classifier.weight"]
    own = [workshop.sources.experts[name].load("classifier.weight") for name in LABELS]
    assert workshop.base is not None
    assert torch.equal(view(workshop.base, span), torch.stack(own).mean(dim=0))


def test_heads_that_are_not_merged_need_no_alignment(bench: Bench) -> None:
    assert bench.open("one", "two").alignment is None
    assert bench.open("one", "two", own=False, heads=("classifier.*",)).alignment is None


def test_a_task_that_names_an_experts_head_has_it_beside_a_merged_one(bench: Bench) -> None:
    workshop = average(bench, "one", "two", heads=("two", MERGED))
    own: Any = BertForSequenceClassification.from_pretrained(bench.folder / "two")
    model: Any = workshop.models["two"]
    merged: Any = workshop.models[MERGED]
    assert model.config.label2id == own.config.label2id
    assert torch.equal(model.classifier.weight, own.classifier.weight)
    assert torch.equal(model.classifier.bias, own.classifier.bias)
    assert merged.classifier.weight.shape == (5, 16)
    assert model.bert.pooler.dense.weight.data_ptr() == merged.bert.pooler.dense.weight.data_ptr()


# The base's head.


def with_head(bench: Bench, labels: Sequence[str]) -> Workshop:
    """A workshop whose base is a classifier of those labels."""
    bench.save("base", near(classifier(len(labels), max_position_embeddings=512), seed=9))
    configure(bench.folder / "base", **named(labels))
    for name in LABELS:
        body = BertModel.from_pretrained(bench.folder / "base").state_dict()
        own: Any = BertForSequenceClassification.from_pretrained(bench.folder / name)
        own.bert.load_state_dict(body)
        bench.save(name, near(own, seed=len(name)))
    return Workshop(bench.open("one", "two", own=False), [MERGED], CPU)


def test_the_rows_that_the_base_has_count(bench: Bench) -> None:
    workshop = with_head(bench, ("hope", "rage", "joy"))
    base: Any = BertForSequenceClassification.from_pretrained(bench.folder / "base")
    own: Any = BertForSequenceClassification.from_pretrained(bench.folder / "one")
    assert workshop.base is not None
    (span,) = [span for span in workshop.layout.spans if span.name == "classifier.weight"]
    found = dict(zip(UNION, view(workshop.base, span), strict=True))
    assert torch.equal(found["hope"], base.classifier.weight[0])
    assert torch.equal(found["joy"], base.classifier.weight[2])
    assert torch.equal(found["fear"], own.classifier.weight[2])
    two: Any = BertForSequenceClassification.from_pretrained(bench.folder / "two")
    vectors = [dict(zip(UNION, view(row, span), strict=True)) for row in workshop.task_vectors.deltas]
    for vector in vectors:  # the first stands in for what it does not have by the second's row
        assert torch.equal(vector["hope"], two.classifier.weight[3] - base.classifier.weight[0])
    assert not vectors[1]["fear"].any()
    notes = workshop.sources.notes
    assert "head of the base: its rows count for hope, joy" in notes
    assert "only the base's head has rage: left out" in notes


@pytest.mark.parametrize("rows", [3, 5])
def test_a_base_whose_labels_have_no_names_is_left_out(bench: Bench, rows: int) -> None:
    workshop = with_head(bench, [f"LABEL_{number}" for number in range(rows)])
    assert "the base's head does not name its labels: left out" in workshop.sources.notes
    assert workshop.base is not None
    for span in workshop.layout.spans:
        if span.name.startswith("classifier."):
            deltas = view(workshop.task_vectors.deltas[0], span), view(workshop.task_vectors.deltas[1], span)
            assert not deltas[0][2].any(), "fear is of one alone"
            torch.testing.assert_close(deltas[0], -deltas[1])


def test_a_head_that_the_bases_config_does_not_describe_is_left_out(bench: Bench) -> None:
    plain = BertModel.from_pretrained(bench.folder / "base")
    left: dict[str, Tensor] = {"classifier.weight": torch.zeros(4, 16), "classifier.bias": torch.zeros(4)}
    plain.save_pretrained(bench.folder / "base", state_dict={**plain.state_dict(), **left})
    configure(bench.folder / "base", **named(LABELS["one"]))
    notes = bench.open("one", "two", own=False).notes
    assert "the base's head does not name its labels: left out" in notes


def test_a_base_with_the_experts_labels_in_another_order_is_aligned_too(bench: Bench) -> None:
    bench.save("base", near(classifier(2), seed=5))
    for name in ("base", "one", "two"):
        bench.save(name, near(classifier(2), seed=len(name)))
        configure(bench.folder / name, **named(("no", "yes")))
    assert bench.open("one", "two", own=False).alignment is None
    configure(bench.folder / "base", **named(("yes", "no")))
    workshop = Workshop(bench.open("one", "two", own=False), [MERGED], CPU)
    (span,) = [span for span in workshop.layout.spans if span.name == "classifier.weight"]
    assert workshop.base is not None
    assert workshop.sources.base is not None
    stored = workshop.sources.base.load("classifier.weight")
    assert torch.equal(view(workshop.base, span), stored.flip(0))
