"""Checks of the options of the ``space`` section, each answered with one message of three parts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch

from searchmerge.types import UserError

STORAGES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""The types that task vectors or individuals may be stored in; the arithmetic is in float32."""


def known(options: Mapping[str, Any], valid: Iterable[str], of: str) -> None:
    """Refuse keys that are not there.

    Raises:
        UserError: one of the options is not ``valid``.
    """
    for name in options:
        if name not in valid:
            raise UserError(
                expected=f"one of the keys of {of}: {', '.join(valid)}",
                got=f"unknown key space.{name}",
                cure="correct or remove that key",
            )


def one_of(name: str, value: Any, valid: Collection[str]) -> str:
    """Take an option that is one of the words ``valid``.

    Raises:
        UserError: it is none of them.
    """
    if not isinstance(value, str) or value not in valid:
        raise UserError(
            expected=f"space.{name}: one of {', '.join(valid)}", got=repr(value), cure=f"correct space.{name}"
        )
    return value


def some_of(name: str, value: Any, valid: Collection[str]) -> tuple[str, ...]:
    """Take an option that is a list of one or more of the words ``valid``, each once.

    Raises:
        UserError: it is no such list.
    """
    words = list(value) if isinstance(value, list | tuple) else []
    wrong = [word for word in words if not isinstance(word, str) or word not in valid]
    if not words or wrong or len(set(words)) < len(words):
        raise UserError(
            expected=f"space.{name}: a list of one or more of {', '.join(valid)}, each once",
            got=f"{value!r}, where {wrong[0]!r} is none of them" if wrong else repr(value),
            cure=f"correct space.{name}",
        )
    return tuple(words)


def whole(name: str, value: Any, *, least: int) -> int:
    """Take an option that is a whole number of at least ``least``.

    Raises:
        UserError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(
            expected=f"space.{name}: a whole number of at least {least}",
            got=repr(value),
            cure=f"set space.{name} to {least} or more",
        )
    return value


def number(value: Any) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def fraction(name: str, value: Any) -> float:
    """Take an option that is a number between 0 and 1, both excluded.

    Raises:
        UserError: it is not.
    """
    if not number(value) or not 0 < value < 1:
        raise UserError(
            expected=f"space.{name}: a number between 0 and 1, both excluded",
            got=repr(value),
            cure=f"set space.{name} within that range",
        )
    return float(value)
