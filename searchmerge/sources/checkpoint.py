"""One source model, opened lazily: what it is by its headers, its tensors on demand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import metadata_load
from torch import Tensor

from searchmerge.sources.architecture import Architecture, empty_model
from searchmerge.sources.hub import folder_of
from searchmerge.sources.weights import TensorInfo, WeightFile, open_weights
from searchmerge.types import UserError

_PIECES, _PIECE = 4, 1 << 14
"""A fingerprint takes so many pieces of so many bytes from each tensor: megabytes of a model of gigabytes."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """One source model.

    Args:
        ref: what the user called it, a folder or a hub id.
        folder: where its files are.
        config: its ``config.json``.
        model: the names and shapes that its class has, see :class:`Architecture`.
        tensors: what is stored, by canonical name, in the model's order; of tied tensors only one.
        extra: the canonical names among them that its class does not have (left by another head, or buffers
            that the class computes today).
        missing: the canonical names that its class needs and that are not stored.
    """

    ref: str
    folder: Path
    config: dict[str, Any]
    model: Architecture
    tensors: Mapping[str, TensorInfo]
    extra: frozenset[str]
    missing: frozenset[str]
    _files: Mapping[str, WeightFile]

    @classmethod
    def open(cls, ref: str, *, allow_pickle: bool = False, trust_remote_code: bool = False) -> Checkpoint:
        """Open a checkpoint by its headers; reads weights only where a tied tensor is stored twice.

        Args:
            ref: a Hugging Face folder or a hub id.
            allow_pickle: whether pickled weights may be read where there are no others.
            trust_remote_code: whether code that came with the checkpoint may run.

        Raises:
            UserError: no such checkpoint, a file that is missing or damaged, pickled or quantised weights,
                remote code, or weights that are not what ``config.json`` says.
        """
        folder = folder_of(ref, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
        config = _read_config(folder)
        files = open_weights(folder, allow_pickle=allow_pickle)
        model = Architecture(empty_model(folder, config, trust_remote_code=trust_remote_code))
        tensors = _canonical_tensors(model, files)
        _check_shapes(folder, model, tensors)
        return cls(
            ref=ref,
            folder=folder,
            config=config,
            model=model,
            tensors={name: tensors[name] for name in [*model.parameters, *tensors] if name in tensors},
            extra=frozenset(tensors) - frozenset(model.parameters),
            missing=model.needed() - frozenset(tensors),
            _files=files,
        )

    def load(self, name: str) -> Tensor:
        """Give the tensor of that canonical name, in its storage type, on the CPU.

        It is backed by the mapped file, so that it costs nothing until it is read: do not write into it.
        """
        stored = self.tensors[name].stored
        return self._files[stored].load(stored)

    def canonical(self, parameter: str) -> str:
        """The canonical name of a parameter of its model class."""
        return self.model.canonical(parameter)

    @cached_property
    def fingerprint(self) -> str:
        """A hash that tells models apart, the same however the file is sharded; see :meth:`digest`."""
        return self.digest(name for name in self.tensors if name not in self.extra)

    def digest(self, names: Iterable[str]) -> str:
        """The SHA-256 of some tensors' names, types and shapes, and of a fixed sample of each one's bytes."""
        digest = hashlib.sha256()
        for name in sorted(names):
            info = self.tensors[name]
            digest.update(f"{name} {info.dtype} {info.shape}\n".encode())
            digest.update(_sample(self.load(name)))
        return digest.hexdigest()

    @property
    def architecture(self) -> str:
        """The name of its model class: the one in ``config.json``, or the plain model of its type."""
        return type(self.model.model).__name__

    @property
    def label2id(self) -> dict[str, int] | None:
        """The labels of its classifier, None if it is no classifier and names no labels.

        A classifier of two unnamed labels is saved without any: it gets ``LABEL_0`` and ``LABEL_1``, the
        names that transformers gives it.
        """
        named = "label2id" in self.config or "id2label" in self.config
        if not named and "Classification" not in self.architecture:
            return None
        config = self.model.model.config
        # Of a config.json with id2label alone, transformers does not fill in the other.
        labels = config.label2id or {label: number for number, label in config.id2label.items()}
        return {str(label): int(number) for label, number in labels.items()}

    @property
    def encoder_decoder(self) -> bool:
        """Whether it has an encoder and a decoder."""
        return bool(self.model.model.config.is_encoder_decoder)

    @cached_property
    def license(self) -> str | None:
        """The licence that its model card's front matter names."""
        try:
            card = metadata_load(self.folder / "README.md") or {}
        except (OSError, ValueError, yaml.YAMLError):  # no card, or none that can be read
            return None
        return card.get("license") if isinstance(card.get("license"), str) else None


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise TypeError(f"{type(config).__name__} instead of an object")
    except FileNotFoundError as error:
        adapter = (folder / "adapter_config.json").is_file()
        raise UserError(
            expected=f"a model with its config.json in {folder}",
            got="an adapter (adapter_config.json)" if adapter else "no config.json",
            cure="fold it into its base with peft's merge_and_unload() and save the result"
            if adapter
            else "point to a folder that save_pretrained wrote",
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            expected=f"JSON in {path}", got=str(error), cure="download or save the checkpoint again"
        ) from error
    if "quantization_config" in config:
        raise UserError(
            expected=f"floating-point weights in {folder}",
            got="quantised ones (quantization_config in config.json)",
            cure="take the checkpoint from before quantisation, or dequantise and save it",
        )
    return config


def _canonical_tensors(model: Architecture, files: Mapping[str, WeightFile]) -> dict[str, TensorInfo]:
    """Name the stored tensors canonically and drop the second copies of tied ones."""
    found: dict[str, TensorInfo] = {}
    for stored, file in files.items():
        parameter = model.parameter(stored)
        name, info = model.canonical(parameter), file.infos[stored]
        twin = found.get(name)
        if twin is not None and not _equal(files[twin.stored].load(twin.stored), file.load(stored)):
            raise UserError(
                expected=f"one value for {twin.stored} and {stored} in {info.file.parent}, "
                "which this model ties (tie_word_embeddings)",
                got="two values",
                cure='set "tie_word_embeddings": false in its config.json if they are meant to differ, '
                "else save the model again",
            )
        if twin is None or parameter == model.parameters.get(name):
            found[name] = info
    return found


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and _sample(one) == _sample(other)


def _check_shapes(folder: Path, model: Architecture, tensors: Mapping[str, TensorInfo]) -> None:
    for name, shape in model.shapes.items():
        if name in tensors and tensors[name].shape != shape:
            raise UserError(
                expected=f"{tensors[name].stored} of shape {list(shape)}, as config.json in {folder} says",
                got=f"{list(tensors[name].shape)} in {tensors[name].file.name}",
                cure="take config.json and weights from one save",
            )


def _sample(tensor: Tensor) -> bytes:
    """Evenly spread pieces of a tensor's bytes; all of them where it is small."""
    data = tensor.contiguous().flatten().view(torch.uint8)
    if data.numel() <= _PIECES * _PIECE:
        return data.numpy().tobytes()
    step = (data.numel() - _PIECE) // (_PIECES - 1)
    return b"".join(data[at * step : at * step + _PIECE].numpy().tobytes() for at in range(_PIECES))
