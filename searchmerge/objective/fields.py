"""What examples are made of: texts, labels, numbers and words, taken from their columns and checked."""

from __future__ import annotations

import itertools
import math
import string
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from searchmerge.objective.data import Row, short
from searchmerge.types import UserError

_LARGEST = float(np.finfo(np.float32).max)


def text(row: Row, spec: str, key: str = "text") -> str:
    r"""Take a text: that of a column or, where ``spec`` has braces, of a template of columns.

    Args:
        row: the example.
        spec: ``text``, or ``"Review: {text}\nSentiment:"``.
        key: what the config calls it.

    Raises:
        UserError: no such column, or no text in it.
    """
    if "{" not in spec:
        return _text(row, spec, key)
    values = {name: str(column(row, name, key)) for name in _names(spec, key)}
    return _checked(row, string.Formatter().vformat(spec, (), values), spec)


def _names(template: str, key: str) -> list[str]:
    try:
        return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise UserError(
            expected=f"a template as {key}, its columns in braces",
            got=f"{short(template)} ({error})",
            cure="write {column} for a column, and {{ or }} for a brace that is meant",
        ) from error


def _text(row: Row, name: str, key: str) -> str:
    return _checked(row, column(row, name, key), name)


def _checked(row: Row, value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip() or not _encodable(value):
        raise _wrong(row, "a text", name, value)
    return value


def _encodable(value: str) -> bool:
    # JSON can hold one half of a surrogate pair, as a cut emoji leaves behind; no tokenizer takes it.
    return not any("\ud800" <= character <= "\udfff" for character in value)


def label(row: Row, name: str, label2id: Mapping[str, int], key: str = "label") -> int:
    """Take the number of a label: a name of ``label2id``, or one of its numbers; what can be both is a name.

    Raises:
        UserError: no such column, or no label of the head in it.
    """
    return _number_of(row, column(row, name, key), name, label2id)


def labels(row: Row, name: str, label2id: Mapping[str, int], key: str = "label") -> list[int]:
    """Take the numbers of a list of labels, each as :func:`label`; the list may be empty."""
    return [_number_of(row, each, name, label2id) for each in _list(row, name, key)]


def number(row: Row, name: str, key: str = "label") -> float:
    """Take a number that float32 can hold.

    Raises:
        UserError: no such column, or no such number in it.
    """
    value = column(row, name, key)
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not abs(found) <= _LARGEST:
        raise _wrong(row, "a number", name, value)
    return found


def words(row: Row, name: str, key: str = "tokens") -> list[str]:
    """Take a list of words or other texts, at least one.

    Raises:
        UserError: no such column, or no list of texts in it.
    """
    value = _list(row, name, key)
    if not value:
        raise _wrong(row, "a list of texts, at least one", name, value)
    return [_checked(row, each, name) for each in value]


def column(row: Row, name: str, key: str) -> Any:
    """Take the value of a column; ``key`` is what the config calls it.

    Raises:
        UserError: no such column.
    """
    where, columns = row
    if name not in columns:
        raise UserError(
            expected=f"a column {name} in {where}",
            got=f"the columns {', '.join(map(str, columns))}",
            cure=f"name the column that holds the {key}, as {key}: in the task",
        )
    return columns[name]


def _list(row: Row, name: str, key: str) -> Sequence[Any]:
    value = column(row, name, key)
    if not isinstance(value, list | tuple):
        raise _wrong(row, "a list", name, value)
    return value


def _number_of(row: Row, value: Any, name: str, label2id: Mapping[str, int]) -> int:
    names = [str(value)] if isinstance(value, str | int) else []
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        names.append(str(int(value)))  # a column of integers with a gap is stored as floats
    for each in names:
        if each in label2id:
            return label2id[each]
    if names and names[-1].isdecimal() and int(names[-1]) in label2id.values():
        return int(names[-1])
    raise UserError(
        expected=f"as {name} in {row[0]} a label of the head: {_listed(label2id)}",
        got=short(value),
        cure="correct that label, or score the task with a head that has it",
    )


def _listed(label2id: Mapping[str, int]) -> str:
    named = [f"{name} ({number})" for name, number in itertools.islice(label2id.items(), 20)]
    return ", ".join(named + ["…"] * (len(label2id) > len(named)))


def _wrong(row: Row, expected: str, name: str, value: Any) -> UserError:
    return UserError(
        expected=f"{expected} as {name} in {row[0]}",
        got=short(value),
        cure="correct or remove that example",
    )
