"""Checks of a strategy's options, each answered with one message of three parts."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

from searchmerge.types import UserError

RACING = 0.1
"""Level of races where none is given: the threshold of Optuna's ``WilcoxonPruner``."""


def whole(name: str, value: Any, *, least: int) -> int:
    """Take an option that is a whole number of at least ``least``.

    Raises:
        UserError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(
            expected=f"{name}: a whole number of at least {least}",
            got=repr(value),
            cure=f"set strategy.{name} to {least} or more",
        )
    return value


def real(name: str, value: Any, *, low: float, high: float) -> float:
    """Take an option that is a number with ``low <= number <= high``.

    Raises:
        UserError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UserError(
            expected=f"{name}: a number from {low:g} to {high:g}",
            got=repr(value),
            cure=f"set strategy.{name} within that range",
        )
    return float(value)


def flag(name: str, value: Any) -> bool:
    """Take an option that is true or false.

    Raises:
        UserError: it is neither.
    """
    if not isinstance(value, bool):
        raise UserError(
            expected=f"{name}: true or false", got=repr(value), cure=f"set strategy.{name} to one of the two"
        )
    return value


def level(value: Any) -> float | None:
    """Take the option ``racing``: the level of the tests, None for no races.

    Raises:
        UserError: it is neither true nor false nor a level.
    """
    if value is False:
        return None
    if value is True:
        return RACING
    if not isinstance(value, int | float) or not 0 < value < 1:
        raise UserError(
            expected="racing: true, false, or a level between 0 and 1",
            got=repr(value),
            cure=f"set strategy.racing to one of these; true is {RACING}",
        )
    return float(value)


def one_of(name: str, value: Any, valid: Collection[str]) -> str:
    """Take an option that is one of the names ``valid``.

    Raises:
        UserError: it is none of them; where they are many, the message lists those that look like it.
    """
    if not isinstance(value, str) or value not in valid:
        shown = sorted(valid) if len(valid) <= 12 else get_close_matches(str(value), valid, n=8, cutoff=0.4)
        raise UserError(
            expected=f"{name}: one of {len(valid)} names"
            + (f", such as {', '.join(shown)}" if shown else ""),
            got=repr(value),
            cure=f"correct strategy.{name}",
        )
    return str(value)
