"""The files that hold a checkpoint's weights: what is in them by their headers, tensors on demand."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from searchmerge.types import UserError

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class TensorInfo:
    """What is known of a tensor before it is read.

    Args:
        dtype: the type that it is stored in.
        shape: its sizes.
        file: the file that holds it.
        stored: its name in that file.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    file: Path
    stored: str


class WeightFile(Protocol):
    """One open file of weights."""

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """What the file holds, by stored name."""

    def load(self, stored: str) -> Tensor:
        """Give one tensor in its storage type, backed by the mapped file: not to be written into."""


class _Safetensors:
    def __init__(self, path: Path) -> None:
        self._handle = _mapped(path)
        self.infos = {name: self._info(path, name) for name in self._handle.keys()}  # noqa: SIM118 (no dict)

    def _info(self, path: Path, name: str) -> TensorInfo:
        header = self._handle.get_slice(name)
        if header.get_dtype() not in _DTYPES:
            raise UserError(
                expected=f"tensors of the types {', '.join(_DTYPES)} in {path}",
                got=f"{name} of type {header.get_dtype()}",
                cure="save the checkpoint in float32, bfloat16 or float16",
            )
        return TensorInfo(_DTYPES[header.get_dtype()], tuple(header.get_shape()), path, name)

    def load(self, stored: str) -> Tensor:
        tensor: Tensor = self._handle.get_tensor(stored)
        return tensor


def _mapped(path: Path) -> Any:
    try:
        # Checks the header, and that it accounts for every byte of the file; reads no weight.
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise UserError(
            expected=f"a whole safetensors file at {path}",
            got=str(error),
            cure="download or save the checkpoint again: the file is cut off or corrupt",
        ) from error


class _Pickle:
    def __init__(self, path: Path) -> None:
        try:
            # Files of before torch 1.6 are no zip archives and cannot be mapped.
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
            self._tensors: dict[str, Tensor] = {k: v for k, v in state.items() if isinstance(v, Tensor)}
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, AttributeError) as error:
            raise UserError(
                expected=f"a pickle of nothing but tensors at {path}",
                got=str(error).splitlines()[0] if str(error) else type(error).__name__,
                cure="take the checkpoint's safetensors files, or download it again",
            ) from error
        self.infos = {
            name: TensorInfo(tensor.dtype, tuple(tensor.shape), path, name)
            for name, tensor in self._tensors.items()
        }

    def load(self, stored: str) -> Tensor:
        return self._tensors[stored]


def weight_files(folder: Path, *, allow_pickle: bool = False) -> dict[Path, tuple[str, ...] | None]:
    """List the files that hold a folder's weights, in the order of preference that transformers has.

    Args:
        folder: of the checkpoint.
        allow_pickle: whether ``pytorch_model.bin`` counts where there is no safetensors file.

    Returns:
        Each file with the tensors that the index places there, or None where there is one file and no index.
        Empty if there are no weights. The files of an index need not exist.

    Raises:
        UserError: an index that cannot be read.
    """
    for name in ("model.safetensors", *(["pytorch_model.bin"] if allow_pickle else [])):
        if (folder / name).is_file():
            return {folder / name: None}
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _read_index(index)
    return {}


def _read_index(index: Path) -> dict[Path, tuple[str, ...] | None]:
    placed: dict[Path, list[str]] = {}
    for name, file in _weight_map(index).items():
        placed.setdefault(index.parent / str(file), []).append(name)
    # A name with folders in it could point out of the checkpoint.
    strays = [file.name for file in placed if file.parent != index.parent]
    if strays:
        raise UserError(
            expected=f"shards that lie beside {index}",
            got=f"a path to {strays[0]} elsewhere",
            cure="download or save the checkpoint again",
        )
    return {file: tuple(names) for file, names in placed.items()}


def _weight_map(index: Path) -> dict[str, Any]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if not isinstance(weight_map, dict) or not weight_map:
            raise TypeError("weight_map names no tensor")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            expected=f"JSON with a weight_map in {index}",
            got=f"{type(error).__name__}: {error}",
            cure="download or save the checkpoint again",
        ) from error
    return weight_map


def open_weights(folder: Path, *, allow_pickle: bool = False) -> dict[str, WeightFile]:
    """Open every file of weights in a folder by its header.

    Returns:
        The open file of each tensor, by the tensor's stored name.

    Raises:
        UserError: no weights, or only pickled ones that are not allowed; a shard that is missing, cut off,
            corrupt, or lacks a tensor that the index places there.
    """
    files = weight_files(folder, allow_pickle=allow_pickle)
    if not files:
        raise _no_weights(folder)
    found: dict[str, WeightFile] = {}
    for path, names in files.items():
        if not path.is_file():
            raise UserError(
                expected=f"the shard {path}, which the index names",
                got="no such file",
                cure="download the checkpoint again, all of its shards",
            )
        file = _open(path)
        for name in file.infos if names is None else names:
            if name not in file.infos:
                raise UserError(
                    expected=f"the tensor {name} in {path}, where the index places it",
                    got=f"a file of {len(file.infos)} other tensors",
                    cure="download or save the checkpoint again: index and shards are not of one save",
                )
            found[name] = file
    return found


def _open(path: Path) -> WeightFile:
    return _Safetensors(path) if path.suffix == ".safetensors" else _Pickle(path)


def _no_weights(folder: Path) -> UserError:
    if weight_files(folder, allow_pickle=True):
        return UserError(
            expected=f"safetensors weights in {folder}",
            got="pickled weights (pytorch_model.bin) only, which can run code when read",
            cure="save the model with save_pretrained of a current transformers, "
            "or set models.allow_pickle: true if you trust where it comes from",
        )
    if (folder / "adapter_config.json").is_file():
        return UserError(
            expected=f"a whole model in {folder}",
            got="an adapter (adapter_config.json)",
            cure="fold it into its base with peft's merge_and_unload() and save the result",
        )
    return UserError(
        expected=f"model.safetensors or model.safetensors.index.json in {folder}",
        got="neither",
        cure="point to a folder that save_pretrained wrote, or fetch the model whole with hf download; "
        "where a repository holds pickled weights only, set models.allow_pickle: true if you trust it",
    )
