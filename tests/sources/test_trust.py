from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import (
    BertForSequenceClassification,
    BertModel,
)

from searchmerge.sources.checkpoint import Checkpoint
from tests.sources.zoo import (
    bert,
    configure,
    near,
    refused,
    saved,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small BERT classifier in one safetensors file."""
    return saved(bert(num_labels=3), tmp_path / "model")


class Bomb:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False], ids=["today's format", "before torch 1.6"])
def test_pickled_weights_are_read_only_where_allowed(folder: Path, zipped: bool) -> None:
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    safe = Checkpoint.open(str(folder), allow_pickle=True)
    assert {info.file.suffix for info in safe.tensors.values()} == {".safetensors"}
    expected = safe.fingerprint
    (folder / "model.safetensors").unlink()
    with refused(f"safetensors weights in {folder}", "pickled weights", "models.allow_pickle: true"):
        Checkpoint.open(str(folder))
    pickled = Checkpoint.open(str(folder), allow_pickle=True)
    assert pickled.fingerprint == expected
    assert torch.equal(pickled.load("classifier.weight"), weights["classifier.weight"])


def test_a_pickle_that_would_run_code_is_refused_even_where_pickles_are_allowed(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Bomb(folder / "exploded")}, folder / "pytorch_model.bin")
    with refused("nothing but tensors", "Weights only load failed", "safetensors"):
        Checkpoint.open(str(folder), allow_pickle=True)
    assert not (folder / "exploded").exists()


def test_code_of_a_checkpoint_runs_only_where_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = saved(near(bert(BertModel), seed=1), tmp_path / "model")
    (folder / "custom.py").write_text(
        "from pathlib import Path\n"
        "from transformers import BertConfig, BertModel\n"
        f"Path({str(tmp_path / 'ran')!r}).touch()\n"
        "class CustomConfig(BertConfig):\n    model_type = 'custom-bert'\n"
        "class CustomModel(BertModel):\n    config_class = CustomConfig\n"
    )
    auto_map = {"AutoConfig": "custom.CustomConfig", "AutoModel": "custom.CustomModel"}
    configure(folder, model_type="custom-bert", architectures=["CustomModel"], auto_map=auto_map)
    with refused("an architecture that transformers", "code of the checkpoint", "trust_remote_code: true"):
        Checkpoint.open(str(folder))
    assert not (tmp_path / "ran").exists()
    trusted = Checkpoint.open(str(folder), trust_remote_code=True)
    assert (tmp_path / "ran").exists()
    assert set(trusted.tensors) == set(bert(BertModel).state_dict())


def test_a_known_architecture_is_transformers_own_whatever_code_lies_beside(folder: Path) -> None:
    (folder / "custom.py").write_text("raise RuntimeError('ran')\n")
    auto_map = {"AutoConfig": "custom.C", "AutoModelForSequenceClassification": "custom.M"}
    configure(folder, auto_map=auto_map)
    for trust in (False, True):
        assert isinstance(
            Checkpoint.open(str(folder), trust_remote_code=trust).model.model, BertForSequenceClassification
        )


def test_a_class_that_only_the_checkpoint_defines_is_refused_whatever_its_type(folder: Path) -> None:
    (folder / "custom.py").write_text("raise RuntimeError('ran')\n")
    auto_map = {"AutoModelForSequenceClassification": "custom.Mine"}
    configure(folder, architectures=["Mine"], auto_map=auto_map)
    with refused("an architecture that", "Mine of type bert", "trust_remote_code: true"):
        Checkpoint.open(str(folder))
    with refused("can read", "ran", "config.json"):
        Checkpoint.open(str(folder), trust_remote_code=True)
    configure(folder, auto_map={"AutoModel": "custom.Other"})
    with refused("an architecture that", "which auto_map does not list", "correct auto_map"):
        Checkpoint.open(str(folder), trust_remote_code=True)
    configure(folder, auto_map=None)
    with refused("an architecture that", "Mine of type bert", "install the transformers"):
        Checkpoint.open(str(folder), trust_remote_code=True)
