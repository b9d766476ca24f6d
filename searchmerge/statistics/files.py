"""Statistics as files that can be shared without the data: safetensors, their provenance in the header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from searchmerge.files import output_folder
from searchmerge.types import UserError

Kind: TypeAlias = Literal["gram", "fisher"]

_KEY, _FORMAT = "searchmerge", 1


@dataclass(frozen=True)
class About:
    """Where a statistic comes from.

    Args:
        kind: which one.
        model: the fingerprint of the model.
        data: SHA-256 of the tokens (and labels) that it was run on.
        examples: how many there were.
        tokens: of all examples, without padding.
        precision: as asked for: ``float32``, ``bfloat16``; ``int8``, ``auto``: of the products alone.
        labels: of Fisher information, ``true`` or ``expected``.
        same: of Grams, weights that share another one's, by name to its name.
        input_first: of Grams, weights that are stored ``[in, out]``.
    """

    kind: Kind
    model: str
    data: str
    examples: int
    tokens: int
    precision: str
    labels: str | None = None
    same: Mapping[str, str] = field(default_factory=dict)
    input_first: tuple[str, ...] = ()


@dataclass(frozen=True)
class Statistic:
    """A statistic of one model.

    Args:
        about: where it comes from.
        tensors: float32 by canonical name: Fisher information in the weight's shape, the mean over the
            examples; Grams ``[in, in]``, the sum over the tokens.
    """

    about: About
    tensors: Mapping[str, Tensor]


def write(statistic: Statistic, path: Path) -> None:
    """Write the file, whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    output_folder(path.absolute().parent)
    beside = path.with_name(f".{path.name}.partial")
    # One entry only: safetensors writes several in an order that differs from run to run.
    about = json.dumps({"format": _FORMAT, **asdict(statistic.about)}, sort_keys=True)
    save_file({name: each.contiguous() for name, each in statistic.tensors.items()}, beside, {_KEY: about})
    beside.replace(path)


def read(path: Path, kind: Kind) -> Statistic:
    """Read a file; its tensors are mapped, not yet read.

    Raises:
        UserError: no such file, or not a statistic of that kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(_KEY, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
    except (OSError, SafetensorError) as error:
        raise UserError(
            expected=f"a file of {kind} statistics", got=f"{path}: {error}", cure=_cure(kind)
        ) from error
    if header.pop("format", None) != _FORMAT or header.get("kind") != kind:
        found = header.get("kind", "no statistics of this format")
        raise UserError(expected=f"{kind} statistics in {path}", got=found, cure=_cure(kind))
    return Statistic(About(**{**header, "input_first": tuple(header["input_first"])}), tensors)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cure(kind: Kind) -> str:
    return f"make it with: searchmerge stats {kind} MODEL DATA --out FILE"


def short(about: About) -> dict[str, Any]:
    """What people want to read of it."""
    said = {"examples": about.examples, "tokens": about.tokens, "precision": about.precision}
    return said | ({"labels": about.labels} if about.labels else {})
