from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from transformers import (
    MixtralConfig,
    MixtralForCausalLM,
)

from searchmerge.sources.checkpoint import Checkpoint
from tests.sources.zoo import (
    bert,
    configure,
    refused,
    saved,
)

SAVE_AGAIN = "download or save the checkpoint again"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small BERT classifier in one safetensors file."""
    return saved(bert(num_labels=3), tmp_path / "model")


# Where it comes from.


def test_a_hub_id_is_answered_from_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--org--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    cached = Path(shutil.copytree(folder, repository / "snapshots" / ("0" * 40)))
    checkpoint = Checkpoint.open("org/tiny")
    assert (checkpoint.ref, checkpoint.folder) == ("org/tiny", cached)
    (cached / "model.safetensors").unlink()
    with refused(f"model.safetensors.index.json in {cached}", "neither", "hf download"):
        Checkpoint.open("org/tiny")


def test_a_hub_id_that_cannot_be_had_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with refused("hub id org/nothing", "", "hf download org/nothing"):
        Checkpoint.open("org/nothing")


def test_a_path_that_is_no_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    with refused(f"a model folder at {tmp_path / 'nowhere'}", "no such folder", "check the path"):
        Checkpoint.open(str(tmp_path / "nowhere"))
    with refused("a model folder", "a file", "check the path"):
        Checkpoint.open(str(folder / "config.json"))


# Damaged folders.


def test_a_folder_without_a_config_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    with refused(f"config.json in {folder}", "no config.json", "save_pretrained"):
        Checkpoint.open(str(folder))
    (folder / "adapter_config.json").write_text("{}")
    with refused(f"config.json in {folder}", "an adapter", "merge_and_unload"):
        Checkpoint.open(str(folder))


@pytest.mark.parametrize("text", ["{", "[]", "\xff"], ids=["cut off", "no object", "no text"])
def test_a_config_that_is_no_json_object_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    with refused(f"JSON in {folder / 'config.json'}", "", SAVE_AGAIN):
        Checkpoint.open(str(folder))


@pytest.mark.parametrize(
    ("settings", "got"),
    [
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"num_attention_heads": 3}, "multiple"),
    ],
)
def test_a_config_that_transformers_cannot_use_is_refused(
    folder: Path, settings: dict[str, Any], got: str
) -> None:
    configure(folder, **settings)
    with refused(str(folder), got, "config.json"):
        Checkpoint.open(str(folder))


def test_an_architecture_that_transformers_lacks_is_refused(folder: Path) -> None:
    configure(folder, model_type="nosuch")
    with refused("an architecture that transformers", "of type nosuch", "install the transformers"):
        Checkpoint.open(str(folder))


def test_weights_of_another_shape_than_the_configs_are_refused(folder: Path) -> None:
    configure(folder, vocab_size=41)
    with refused("word_embeddings.weight of shape [41, 16]", "[40, 16] in model.safetensors", "one save"):
        Checkpoint.open(str(folder))


@pytest.mark.parametrize(
    ("damage", "got"),
    [
        (lambda raw: raw[:-1], "not fully covered"),
        (lambda raw: raw[:100], "header"),
        (lambda _: b"", "header"),
        (lambda raw: raw[:8] + b"?" + raw[9:], "JSON"),
        (lambda raw: raw + b"more", "not fully covered"),
    ],
    ids=["a byte short", "cut in the header", "empty", "corrupt header", "too long"],
)
def test_a_damaged_file_is_refused(folder: Path, damage: Callable[[bytes], bytes], got: str) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with refused(f"a whole safetensors file at {path}", got, "cut off or corrupt"):
        Checkpoint.open(str(folder))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return saved(bert(), tmp_path / "shards", max_shard_size="8KB")


def index(folder: Path, change: Callable[[dict[str, str]], Any]) -> None:
    path = folder / "model.safetensors.index.json"
    content = json.loads(path.read_text())
    change(content["weight_map"])
    path.write_text(json.dumps(content))


def test_a_missing_shard_is_refused(shards: Path) -> None:
    shard = sorted(shards.glob("model-*.safetensors"))[1]
    shard.unlink()
    with refused(f"the shard {shard}", "no such file", "all of its shards"):
        Checkpoint.open(str(shards))


def test_an_index_that_names_what_its_shard_lacks_is_refused(shards: Path) -> None:
    first = min(shards.glob("model-*.safetensors")).name
    index(shards, lambda placed: placed.update({"nosuch.weight": first}))
    with refused(f"nosuch.weight in {shards / first}", "other tensors", "not of one save"):
        Checkpoint.open(str(shards))


def test_an_index_that_leads_out_of_the_folder_is_refused(shards: Path) -> None:
    index(shards, lambda placed: placed.update({"x": "../outside.safetensors"}))
    with refused("shards that lie beside", "outside.safetensors elsewhere", SAVE_AGAIN):
        Checkpoint.open(str(shards))


@pytest.mark.parametrize("text", ["{", "{}", '{"weight_map": {}}', '{"weight_map": []}'])
def test_an_index_without_a_map_is_refused(shards: Path, text: str) -> None:
    path = shards / "model.safetensors.index.json"
    path.write_text(text)
    with refused(f"weight_map in {path}", "", SAVE_AGAIN):
        Checkpoint.open(str(shards))


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with refused(f"model.safetensors.index.json in {folder}", "neither", "save_pretrained"):
        Checkpoint.open(str(folder))


def test_quantised_weights_are_refused(folder: Path) -> None:
    configure(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    with refused("floating-point weights", "quantised", "before quantisation"):
        Checkpoint.open(str(folder))


def test_layouts_that_transformers_converts_are_refused(tmp_path: Path) -> None:
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    config = MixtralConfig(**sizes, num_attention_heads=2, num_key_value_heads=1, num_local_experts=2)
    saved(MixtralForCausalLM(config), tmp_path)
    with refused("one by one", "MixtralForCausalLM fuses or splits", "dense architecture"):
        Checkpoint.open(str(tmp_path))
