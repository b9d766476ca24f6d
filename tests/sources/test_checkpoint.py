from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor
from transformers import (
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    GPT2ForSequenceClassification,
    GPT2Model,
    LlamaForSequenceClassification,
    LlamaModel,
)

from searchmerge.sources.checkpoint import Checkpoint
from tests.sources.zoo import (
    ZOO,
    bert,
    configure,
    edit,
    gpt2,
    llama,
    refused,
    rename,
    saved,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small BERT classifier in one safetensors file."""
    return saved(bert(num_labels=3), tmp_path / "model")


# What is read is what transformers reads.


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", ZOO)
def test_every_parameter_is_the_one_that_transformers_loads(
    kind: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = ZOO[kind]().to(dtype)
    checkpoint = Checkpoint.open(str(saved(model, tmp_path)))
    assert not checkpoint.missing
    assert not checkpoint.extra
    for name, tensor in type(model).from_pretrained(tmp_path).state_dict().items():
        found = checkpoint.load(checkpoint.canonical(name))
        info = checkpoint.tensors[checkpoint.canonical(name)]
        assert torch.equal(found, tensor), name
        assert (info.dtype, info.shape) == (dtype, tuple(tensor.shape))
    assert sum(tensor.numel() for tensor in model.parameters()) == sum(
        checkpoint.load(name).numel() for name in checkpoint.tensors
    )


@pytest.mark.parametrize("kind", ["bert", "llama-untied", "t5"])
def test_shards_are_the_same_model_as_one_file(kind: str, tmp_path: Path) -> None:
    whole = Checkpoint.open(str(saved(ZOO[kind](), tmp_path / "whole")))
    sharded = Checkpoint.open(str(saved(ZOO[kind](), tmp_path / "shards", max_shard_size="8KB")))
    assert len({info.file for info in sharded.tensors.values()}) > 1
    assert list(sharded.tensors) == list(whole.tensors)
    assert all(torch.equal(sharded.load(name), whole.load(name)) for name in whole.tensors)
    assert sharded.fingerprint == whole.fingerprint


@pytest.mark.parametrize(
    ("base", "classifier"),
    [
        (bert(BertModel), bert(BertForSequenceClassification)),
        (bert(BertForMaskedLM), bert(BertForSequenceClassification)),
        (gpt2(GPT2Model), gpt2(GPT2ForSequenceClassification)),
        (gpt2(), gpt2(GPT2ForSequenceClassification)),
        (llama(LlamaModel), llama(LlamaForSequenceClassification)),
    ],
    ids=["bert", "masked", "gpt2", "gpt2-lm", "llama"],
)
def test_a_base_and_its_classifier_agree_on_names(base: Any, classifier: Any, tmp_path: Path) -> None:
    one, other = (
        Checkpoint.open(str(saved(model, tmp_path / type(model).__name__))) for model in (base, classifier)
    )
    inner = {*classifier.base_model.state_dict()}
    assert set(other.tensors) & other.model.body == inner
    assert set(one.tensors) >= inner - {"pooler.dense.weight", "pooler.dense.bias"}


def test_names_of_old_versions_are_those_of_today(folder: Path) -> None:
    today = Checkpoint.open(str(folder))
    weights = {name: today.load(name).clone() for name in today.tensors}

    def age(tensors: dict[str, Tensor]) -> None:
        rename(tensors, "LayerNorm.weight", "LayerNorm.gamma")
        rename(tensors, "LayerNorm.bias", "LayerNorm.beta")
        tensors["bert.embeddings.position_ids"] = torch.arange(20).expand(1, -1).contiguous()

    edit(folder, age)
    old = Checkpoint.open(str(folder))
    assert old.extra == {"embeddings.position_ids"}
    assert old.tensors["embeddings.LayerNorm.weight"].stored == "bert.embeddings.LayerNorm.gamma"
    assert all(torch.equal(old.load(name), tensor) for name, tensor in weights.items())


def test_a_prefix_that_the_class_lacks_or_adds_is_no_matter(tmp_path: Path) -> None:
    bare = saved(gpt2(), tmp_path)
    edit(bare, lambda tensors: rename(tensors, "transformer.", ""))
    checkpoint = Checkpoint.open(str(bare))
    assert checkpoint.tensors["wte.weight"].stored == "wte.weight"
    assert not checkpoint.missing


def test_a_tensor_that_is_not_stored_is_missing(folder: Path) -> None:
    edit(folder, lambda tensors: tensors.pop("bert.pooler.dense.bias"))
    assert Checkpoint.open(str(folder)).missing == {"pooler.dense.bias"}


# Tied weights.


@pytest.mark.parametrize("twice", [True, False], ids=["stored twice", "stored under the other name"])
def test_a_tied_tensor_is_one_tensor(twice: bool, tmp_path: Path) -> None:
    saved(llama(tie_word_embeddings=True), tmp_path)
    before = Checkpoint.open(str(tmp_path))
    value = before.load("embed_tokens.weight").clone()

    def store(tensors: dict[str, Tensor]) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        if not twice:
            del tensors["model.embed_tokens.weight"]

    edit(tmp_path, store)
    after = Checkpoint.open(str(tmp_path))
    assert list(after.tensors) == list(before.tensors)
    assert torch.equal(after.load("embed_tokens.weight"), value)
    assert after.fingerprint == before.fingerprint
    assert not after.missing


def test_tied_tensors_of_two_values_are_refused(tmp_path: Path) -> None:
    saved(llama(tie_word_embeddings=False), tmp_path)
    assert "lm_head.weight" in Checkpoint.open(str(tmp_path)).tensors
    configure(tmp_path, tie_word_embeddings=True)
    with refused("lm_head.weight", "two values", '"tie_word_embeddings": false'):
        Checkpoint.open(str(tmp_path))


# Fingerprint, lazy opening, what else a folder says.


def test_the_fingerprint_tells_any_tensors_change(folder: Path) -> None:
    original = Checkpoint.open(str(folder))
    prints = {original.fingerprint}
    for name, info in original.tensors.items():
        copy = shutil.copytree(folder, folder.parent / name)
        edit(copy, lambda tensors, stored=info.stored: tensors[stored].flatten()[-1].add_(1.0))  # type: ignore[misc]
        prints.add(Checkpoint.open(str(copy)).fingerprint)
    assert len(prints) == 1 + len(original.tensors)
    assert Checkpoint.open(str(folder)).fingerprint == original.fingerprint


def test_gigabytes_are_opened_and_fingerprinted_without_reading_them(tmp_path: Path) -> None:
    rows = 1 << 26
    saved(llama(LlamaModel, vocab_size=40), tmp_path)
    configure(tmp_path, vocab_size=rows)
    _stretch(tmp_path / "model.safetensors", "embed_tokens.weight", rows)
    before = psutil.Process().memory_info().rss
    checkpoint = Checkpoint.open(str(tmp_path))
    assert checkpoint.tensors["embed_tokens.weight"].shape == (rows, 16)
    assert len(checkpoint.fingerprint) == 64
    assert psutil.Process().memory_info().rss - before < 1 << 28  # of 4 GiB


def _stretch(path: Path, name: str, rows: int) -> None:
    """Move a tensor to the end of the file and grow it by a hole, which takes no room on the disk."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8 : 8 + size]), raw[8 + size :]
    grown, kept, offset = header.pop(name), b"", 0
    for info in header.values():
        if "data_offsets" in info:
            start, end = info["data_offsets"]
            kept += data[start:end]
            info["data_offsets"] = [offset, offset := offset + end - start]
    width = grown["shape"][1]
    header[name] = {**grown, "shape": [rows, width], "data_offsets": [offset, offset + rows * width * 4]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + kept)
        file.truncate(8 + len(text) + offset + rows * width * 4)


def test_labels_are_the_configs_or_transformers_own_two(tmp_path: Path) -> None:
    def labels(**settings: Any) -> dict[str, int] | None:
        kind = settings.pop("kind", BertForSequenceClassification)
        return Checkpoint.open(str(saved(bert(kind, **settings), tmp_path))).label2id

    assert labels(id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1}) == {"no": 0, "yes": 1}
    assert labels(num_labels=3) == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}
    assert labels() == {"LABEL_0": 0, "LABEL_1": 1}
    assert labels(kind=BertModel) is None


@pytest.mark.parametrize(
    ("card", "license_"),
    [
        ("---\nlicense: mit\n---\n# A model\n", "mit"),
        ("# A model\n", None),
        ("---\n: [\n---\n", None),
        (None, None),
    ],
    ids=["named", "no front matter", "broken", "no card"],
)
def test_the_licence_is_the_model_cards(folder: Path, card: str | None, license_: str | None) -> None:
    if card is not None:
        (folder / "README.md").write_text(card)
    assert Checkpoint.open(str(folder)).license == license_


def test_without_a_class_the_plain_model_of_its_type_is_meant(tmp_path: Path) -> None:
    saved(bert(BertModel), tmp_path)
    configure(tmp_path, architectures=None)
    checkpoint = Checkpoint.open(str(tmp_path))
    assert checkpoint.architecture == "BertModel"
    assert not checkpoint.missing
