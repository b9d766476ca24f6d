"""Reading the examples of a split, whatever file or data set they are in."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from searchmerge.config import Source
from searchmerge.types import UserError

Row: TypeAlias = tuple[str, Mapping[str, Any]]
"""Where an example stands (for error messages), and its columns."""

_NONE: Mapping[str, int] = MappingProxyType({})


def read(source: Source, *, label: str = "", label2id: Mapping[str, int] = _NONE) -> list[Row]:
    """Read the examples of a split.

    Args:
        source: a file (``.jsonl``, ``.json``, ``.csv``, ``.parquet``) or a hub data set.
        label: the column that holds labels. Where a hub data set has names for its numbers, and the head has
            all of them, the names stand in the rows.
        label2id: the labels of the head that will answer.

    Raises:
        UserError: the source cannot be read, or has no examples.
    """
    rows = list(itertools.islice(_rows(source, label, label2id), source.limit))
    if not rows:
        raise UserError(
            expected=f"at least one example in {source.path or source.dataset}",
            got="none",
            cure="give a file or a split that has examples",
        )
    return rows


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
            got=short(row),
            cure='write each example as {"text": …, "label": …}',
        )
    return row


def short(value: Any) -> str:
    """A value as it may stand in a message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
