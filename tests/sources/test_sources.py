from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertForMaskedLM,
    BertForPreTraining,
    BertForTokenClassification,
    BertModel,
    ResNetConfig,
    ResNetForImageClassification,
    ResNetModel,
)

from tests.sources.zoo import (
    Bench,
    bert,
    classifier,
    configure,
    family,
    gpt2,
    llama,
    near,
    refused,
)

CLASSIFIER = ("classifier.weight", "classifier.bias")
POOLER = ("pooler.dense.weight", "pooler.dense.bias")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return family(tmp_path)


# What is merged, what is a head.


def test_every_experts_own_head_is_kept_out(bench: Bench) -> None:
    sources = bench.open("two", "three")
    assert sources.merged == tuple(bert(BertModel).state_dict())
    assert dict(sources.heads) == {"two": CLASSIFIER, "three": CLASSIFIER}
    assert sources.absent == ()


def test_without_a_base_the_body_is_merged_too(bench: Bench) -> None:
    sources = bench.open("two", "three", base=None)
    assert sources.base is None
    assert sources.merged == tuple(bert(BertModel).state_dict())
    assert dict(sources.heads) == {"two": CLASSIFIER, "three": CLASSIFIER}


def test_heads_that_tasks_name_are_kept_even_where_they_could_be_merged(bench: Bench) -> None:
    bench.save("other", near(classifier(2), seed=3))
    bench.save("base", classifier(2))
    assert bench.open("two", "other").heads["two"] == CLASSIFIER
    assert bench.open("two", "other", base=None).heads["two"] == CLASSIFIER


def test_heads_that_no_task_names_are_merged(bench: Bench) -> None:
    bench.save("other", near(classifier(2), seed=3))
    sources = bench.open("two", "other", own=False)
    assert set(sources.merged) == {*bert(BertModel).state_dict(), *CLASSIFIER}
    assert sources.absent == CLASSIFIER
    assert dict(sources.heads) == {"two": (), "other": ()}
    assert (
        "the base lacks classifier.weight, classifier.bias: the experts' mean stands in for it"
        in sources.notes
    )
    bench.save("base", classifier(2))
    assert bench.open("two", "other", own=False).absent == ()


@pytest.mark.parametrize("pattern", ["classifier.*", "pooler.*", "bert.pooler.dense.?eight"])
def test_what_the_config_lists_is_kept_out(bench: Bench, pattern: str) -> None:
    bench.save("other", near(classifier(2), seed=3))
    sources = bench.open("two", "other", own=False, heads=(pattern,))
    kept = {
        "classifier.*": CLASSIFIER,
        "pooler.*": POOLER,
        "bert.pooler.dense.?eight": POOLER[:1],
    }[pattern]
    assert dict(sources.heads) == {"two": kept, "other": kept}
    assert set(sources.merged) == {*bert(BertModel).state_dict(), *CLASSIFIER} - {*kept}


def test_a_pooler_that_some_experts_lack_stays_with_the_others(bench: Bench) -> None:
    bench.save("tags", near(classifier(5, BertForTokenClassification), seed=3))
    sources = bench.open("two", "tags")
    assert set(sources.heads["two"]) == {*CLASSIFIER, *POOLER}
    assert set(sources.heads["tags"]) == {*CLASSIFIER}
    assert not set(POOLER) & set(sources.merged)


def test_what_only_the_base_has_is_left_out(bench: Bench) -> None:
    bench.save("base", classifier(2, BertForPreTraining))
    bench.save("tags", near(classifier(5, BertForTokenClassification), seed=3))
    sources = bench.open("tags")
    assert not any(name.startswith(("cls.", "pooler.")) for name in sources.merged)
    assert any(note.startswith("only the base has") and "left out" in note for note in sources.notes)


def test_a_bases_pooler_counts_even_where_its_class_has_none(bench: Bench) -> None:
    # As google-bert/bert-base-uncased: the config names BertForMaskedLM, the file holds the pooler too.
    bench.save("base", classifier(2, BertForPreTraining))
    configure(bench.folder / "base", architectures=["BertForMaskedLM"])
    assert set(POOLER) <= set(bench.open("two", "three").merged)
    bench.save("base", classifier(2, BertForMaskedLM))
    assert set(POOLER) <= set(bench.open("two", "three").heads["two"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    "make", [gpt2, lambda: llama(tie_word_embeddings=True), lambda: llama()], ids=["gpt2", "tied", "untied"]
)
def test_language_models_are_merged_whole(tmp_path: Path, make: Any, dtype: torch.dtype) -> None:
    bench = Bench(tmp_path)
    bench.save("base", make())
    bench.save("one", near(make(), seed=1).to(dtype))
    bench.save("two", near(make(), seed=2).to(torch.bfloat16))
    sources = bench.open("one", "two", own=False)
    first = sources.experts["one"]
    stored = sum(math.prod(first.tensors[name].shape) for name in sources.merged)
    assert stored == sum(parameter.numel() for parameter in make().parameters())
    assert sources.heads["one"] == sources.absent == ()


def test_extra_buffers_are_ignored_with_a_note(bench: Bench) -> None:
    model = near(classifier(2), seed=5)
    state = {**model.state_dict(), "bert.embeddings.position_ids": torch.arange(20)}
    model.save_pretrained(bench.folder / "two", state_dict=state)
    sources = bench.open("two", "three")
    assert "embeddings.position_ids" not in sources.merged
    assert "expert two stores embeddings.position_ids, which no source's class has: ignored" in sources.notes


def test_integer_buffers_are_not_merged(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1])
    bench.save("base", ResNetModel(config))
    expert = ResNetForImageClassification(config)
    expert.resnet.load_state_dict(ResNetModel.from_pretrained(tmp_path / "base").state_dict())
    bench.save("one", near(expert, seed=1))
    sources = bench.open("one")
    state = ResNetModel(config).state_dict()
    assert set(sources.merged) == {name for name in state if not name.endswith("num_batches_tracked")}
    assert any("num_batches_tracked" in note and "not merged" in note for note in sources.notes)


# What is refused.


def test_another_architecture_is_refused(bench: Bench) -> None:
    bench.save("gpt", gpt2())
    with refused("one model_type", "bert in base, bert in expert two, gpt2 in expert gpt", "one base"):
        bench.open("two", "gpt")


@pytest.mark.parametrize(
    ("settings", "expected", "got"),
    [
        (
            {"hidden_size": 32},
            "word_embeddings.weight of one shape",
            "hidden_size: 16 (base), 16 (expert two), 32 (expert other)",
        ),
        ({"intermediate_size": 32}, "intermediate.dense.weight of one shape", "intermediate_size: 24 (base)"),
        (
            {"max_position_embeddings": 30},
            "position_embeddings.weight of one shape",
            "[30, 16] in expert other",
        ),
        (
            {"num_hidden_layers": 1},
            "encoder.layer.1.",
            "none in expert other (config.json: num_hidden_layers: 2 (base)",
        ),
        (
            {"num_hidden_layers": 3},
            "encoder.layer.2.",
            "none in base, none in expert two, [16, 16] in expert other",
        ),
        (
            {"num_attention_heads": 4},
            "one num_attention_heads",
            "2 in base, 2 in expert two, 4 in expert other",
        ),
        ({"hidden_act": "relu"}, "one hidden_act", "relu in expert other"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("own", [True, False], ids=["own heads", "merged head"])
def test_other_sizes_are_refused_with_the_setting_that_differs(
    bench: Bench, settings: dict[str, int], expected: str, got: str, own: bool
) -> None:
    bench.save("other", classifier(2, **settings))
    with refused(expected, got, "one base"):
        bench.open("two", "other", own=own)


def test_a_base_of_more_layers_is_refused(bench: Bench) -> None:
    bench.save("base", bert(BertModel, num_hidden_layers=3))
    with refused("encoder.layer.2.", "none in expert two", "one base"):
        bench.open("two", "three")


def test_another_vocabulary_size_is_refused(bench: Bench) -> None:
    bench.save("other", classifier(2, vocab_size=42))
    with refused(
        "one vocab_size", "40 in base, 40 in expert two, 42 in expert other", "without added tokens"
    ):
        bench.open("two", "other")


def test_heads_of_other_sizes_are_refused_unless_tasks_name_them(bench: Bench) -> None:
    with refused("labels with names", "LABEL_0, LABEL_1 in expert two", "models.heads"):
        bench.open("two", "three", own=False)
    with refused("labels with names", "", "name an expert's head for every task"):
        bench.open("two", "three", own=False)
    assert bench.open("two", "three", own=False, heads=("classifier.*",)).heads["two"] == CLASSIFIER


def test_an_untied_head_beside_a_tied_one_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.save("base", llama(tie_word_embeddings=True))
    bench.save("one", llama(tie_word_embeddings=True))
    bench.save("two", llama(tie_word_embeddings=False))
    with refused(
        "lm_head.weight",
        "none in expert one, [40, 16] in expert two (config.json: tie_word_embeddings",
        "models.heads",
    ):
        bench.open("one", "two", own=False)


def test_a_model_that_lacks_its_own_tensors_is_refused(bench: Bench) -> None:
    model = classifier(2)
    state = {name: tensor for name, tensor in model.state_dict().items() if "classifier" not in name}
    model.save_pretrained(bench.folder / "other", state_dict=state)
    with refused(
        "all tensors of BertForSequenceClassification in expert other",
        "none for classifier.bias",
        "models.heads",
    ):
        bench.open("two", "other")
    plain = bert(BertModel)
    state = {name: tensor for name, tensor in plain.state_dict().items() if "pooler" not in name}
    plain.save_pretrained(bench.folder / "base", state_dict=state)
    with refused("all tensors of BertModel in base", "none for pooler.dense.bias", "models.heads"):
        bench.open("two", "three")
    assert set(bench.open("two", "three", heads=("pooler.*",)).heads["two"]) == {*POOLER, *CLASSIFIER}


def test_a_pattern_that_matches_nothing_is_refused(bench: Bench) -> None:
    with refused("tensors that match score.*", "embeddings.word_embeddings.weight", "correct or remove"):
        bench.open("two", "three", heads=("score.*",))


def test_keeping_everything_out_is_refused(bench: Bench) -> None:
    with refused("tensors to merge", "none", "nothing but heads"):
        bench.open("two", "three", heads=("*",))
