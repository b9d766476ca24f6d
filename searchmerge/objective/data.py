"""The examples of one split: read from a local file or a hub data set, every label checked."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from searchmerge.config import Source
from searchmerge.types import UserError

Row: TypeAlias = tuple[str, Mapping[str, Any]]
"""Where an example stands (for error messages), and its columns."""


@dataclass(frozen=True)
class Examples:
    """The examples of one split.

    Args:
        texts: one an example.
        labels: int64 ``[examples]``, the number of each one's label.
    """

    texts: tuple[str, ...]
    labels: npt.NDArray[np.int64]


def read(source: Source, *, text: str, label: str, label2id: Mapping[str, int]) -> Examples:
    """Read the labelled texts of a split.

    A label is a name of ``label2id``, or one of its numbers; what can be both is a name.

    Args:
        source: a file (``.jsonl``, ``.json``, ``.csv``, ``.parquet``) or a hub data set.
        text: the column that holds the text.
        label: the column that holds the label.
        label2id: the labels of the head that will answer.

    Raises:
        UserError: the source cannot be read, has no examples, lacks a column, or has a text or a label that
            is none; it names the file and the line.
    """
    texts: list[str] = []
    labels: list[int] = []
    for where, row in itertools.islice(_rows(source, label, label2id), source.limit):
        texts.append(_text(row, text, where))
        labels.append(_label(row, label, label2id, where))
    if not texts:
        raise _no_example(source)
    return Examples(tuple(texts), np.array(labels, dtype=np.int64))


def read_texts(source: Source, *, text: str) -> tuple[str, ...]:
    """Read the texts of a split; arguments and errors as :func:`read`, labels are not looked at."""
    rows = itertools.islice(_rows(source, "", {}), source.limit)
    texts = tuple(_text(row, text, where) for where, row in rows)
    if not texts:
        raise _no_example(source)
    return texts


def _no_example(source: Source) -> UserError:
    return UserError(
        expected=f"at least one example in {source.path or source.dataset}",
        got="none",
        cure="give a file or a split that has examples",
    )


def _rows(source: Source, label: str, label2id: Mapping[str, int]) -> Iterator[Row]:
    if source.path is None:
        return _hub(source, label, label2id)
    path = Path(source.path)
    readers = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}
    if path.suffix.lower() not in readers:
        raise UserError(
            expected=f"a data file that ends in {', '.join(readers)}",
            got=str(path),
            cure="convert the file, or rename it if it is one of these",
        )
    return _guarded(path, readers[path.suffix.lower()](path))


def _guarded(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    try:
        yield from rows
    except OSError as error:
        raise UserError(
            expected="a readable data file", got=f"{path}: {error.strerror or error}", cure="check the path"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            expected=f"well-formed {path.suffix} in UTF-8: {path}", got=str(error), cure="convert the file"
        ) from error


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                where = f"{path}, line {number}"
                yield where, _mapping(_parsed(line, where), where)


def _json(path: Path) -> Iterator[Row]:
    rows = _parsed(path.read_text(encoding="utf-8-sig"), str(path))
    if not isinstance(rows, list):
        raise UserError(
            expected=f"a list of examples in {path}",
            got=f"a JSON {type(rows).__name__}",
            cure="give a list of objects, or name the file .jsonl if it holds an object a line",
        )
    for number, row in enumerate(rows, start=1):
        where = f"{path}, example {number}"
        yield where, _mapping(row, where)


def _csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            yield f"{path}, line {reader.line_num}", row


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            rows = itertools.chain.from_iterable(batch.to_pylist() for batch in file.iter_batches())
            for number, row in enumerate(rows, start=1):
                yield f"{path}, row {number}", row
    except pyarrow.ArrowException as error:
        raise UserError(
            expected=f"a Parquet file at {path}", got=str(error), cure="write the file anew"
        ) from error


def _hub(source: Source, label: str, label2id: Mapping[str, int]) -> Iterator[Row]:
    import datasets

    what = f"split {source.split} of the data set {source.dataset}"
    try:
        split = datasets.load_dataset(source.dataset, source.name, split=source.split)
    except Exception as error:  # whatever the hub, the network or the data set's files raise
        raise UserError(
            expected=what,
            got=f"{type(error).__name__}: {' '.join(str(error).split())}",
            cure="correct dataset, name or split; without a network, give a local file as path",
        ) from error
    # The data set's numbers need not be the head's: where both have the names, go by these.
    names = getattr(split.features.get(label), "names", [])
    by_name = all(name in label2id for name in names)
    for number, row in enumerate(split, start=1):
        if by_name and row.get(label) in range(len(names)):
            row = {**row, label: names[row[label]]}
        yield f"{what}, row {number}", row


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(expected=f"JSON in {where}", got=str(error), cure="mend it there") from error


def _mapping(row: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(row, dict):
        raise UserError(
            expected=f"an object of columns in {where}",
            got=_short(row),
            cure='write each example as {"text": …, "label": …}',
        )
    return row


def _column(row: Mapping[str, Any], column: str, kind: str, where: str) -> Any:
    if column not in row:
        raise UserError(
            expected=f"a column {column} in {where}",
            got=f"the columns {', '.join(map(str, row))}",
            cure=f"name the column that holds the {kind}, as {kind}: in the task",
        )
    return row[column]


def _text(row: Mapping[str, Any], column: str, where: str) -> str:
    value = _column(row, column, "text", where)
    if not isinstance(value, str) or not value.strip() or not _encodable(value):
        raise UserError(
            expected=f"a text as {column} in {where}",
            got=_short(value),
            cure="correct or remove that example",
        )
    return value


def _encodable(text: str) -> bool:
    # JSON can hold one half of a surrogate pair, as a cut emoji leaves behind; no tokenizer takes it.
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _label(row: Mapping[str, Any], column: str, label2id: Mapping[str, int], where: str) -> int:
    value = _column(row, column, "label", where)
    names = [str(value)] if isinstance(value, str | int) else []
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        names.append(str(int(value)))  # a column of integers with a gap is stored as floats
    for name in names:
        if name in label2id:
            return label2id[name]
    if names and names[-1].isdecimal() and int(names[-1]) in label2id.values():
        return int(names[-1])
    raise UserError(
        expected=f"as {column} in {where} a label of the head: {_listed(label2id)}",
        got=_short(value),
        cure="correct that label, or score the task with a head that has it",
    )


def _listed(label2id: Mapping[str, int]) -> str:
    named = [f"{name} ({number})" for name, number in itertools.islice(label2id.items(), 20)]
    return ", ".join(named + ["…"] * (len(label2id) > len(named)))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
