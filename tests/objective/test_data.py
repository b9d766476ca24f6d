"""Examples from every kind of source, and what is said of bad ones."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from searchmerge.config import Source
from searchmerge.objective import fields
from searchmerge.objective.data import read
from searchmerge.types import UserError
from tests.objective.making import write

NAMES = {"negative": 0, "positive": 1}
ROWS = [
    {"text": "dull, and long", "label": "negative"},
    {"text": 'a "joy"\nto see', "label": "positive"},
    {"text": "größer", "label": "positive"},
]


def write_json(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text(json.dumps(rows), encoding="utf-8")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(list(rows)), path)


WRITERS: dict[str, Callable[[Path, Sequence[Mapping[str, Any]]], object]] = {
    ".jsonl": write,
    ".json": write_json,
    ".csv": write_csv,
    ".parquet": write_parquet,
}


def taken(
    source: Source, label2id: Mapping[str, int] = NAMES, text: str = "text", label: str = "label"
) -> list[tuple[str, int]]:
    """The texts and labels of a split's examples, as a task takes them."""
    rows = read(source, label=label, label2id=label2id)
    return [(fields.text(row, text), fields.label(row, label, label2id)) for row in rows]


def examples(
    path: Path, *, limit: int | None = None, text: str = "text", label: str = "label"
) -> list[tuple[str, int]]:
    return taken(Source(path=str(path), limit=limit), text=text, label=label)


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        examples(path, **options)
    return str(caught.value)


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_gives_the_same_examples(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    WRITERS[suffix](path, ROWS)
    assert examples(path) == [(row["text"], NAMES[row["label"]]) for row in ROWS]


@pytest.mark.parametrize("suffix", WRITERS)
def test_limit_takes_the_first(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    WRITERS[suffix](path, ROWS)
    assert [label for _, label in examples(path, limit=2)] == [0, 1]


def test_other_columns(tmp_path: Path) -> None:
    write(tmp_path / "data.jsonl", [{"title": "t", "verdict": "positive", "text": 3}])
    assert examples(tmp_path / "data.jsonl", text="title", label="verdict") == [("t", 1)]


def test_blank_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(f"\n{json.dumps(ROWS[0])}\n\n{{", encoding="utf-8")
    assert examples(path, limit=1) == [("dull, and long", 0)]
    assert "line 4" in refusal(path)


def test_where_an_example_stands_is_told(tmp_path: Path) -> None:
    # A record of a CSV is named by its last line.
    places = {".jsonl": "line 2", ".json": "example 2", ".csv": "line 4", ".parquet": "row 2"}
    for suffix, place in places.items():
        path = tmp_path / f"data{suffix}"
        WRITERS[suffix](path, [ROWS[0], {"text": "two\nlines", "label": "positive"}])
        assert read(Source(path=str(path)))[1][0] == f"{path}, {place}"


def test_columns_of_lists_and_numbers_are_kept(tmp_path: Path) -> None:
    rows = [{"tokens": ["a", "b"], "tags": [1, 0], "score": 2.5, "none": None}]
    for suffix in (".jsonl", ".json", ".parquet"):
        path = tmp_path / f"data{suffix}"
        WRITERS[suffix](path, rows)
        assert [dict(row) for _, row in read(Source(path=str(path)))] == rows


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("column", ["text", "label"])
def test_missing_column(tmp_path: Path, suffix: str, column: str) -> None:
    path = tmp_path / f"data{suffix}"
    WRITERS[suffix](path, ROWS)
    message = refusal(path, **{column: "body"})
    assert "a column body" in message
    assert "the columns text, label" in message
    assert f"{column}: in the task" in message


def test_missing_cell_of_a_csv(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("label,text\npositive,fine\nnegative\n", encoding="utf-8")
    assert "line 3" in refusal(tmp_path / "data.csv")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.jsonl", b""),
        ("data.jsonl", b"\n\n"),
        ("data.json", b"[]"),
        ("data.csv", b""),
        ("data.csv", b"text,label\n"),
    ],
)
def test_no_examples(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert f"at least one example in {tmp_path / name}" in refusal(tmp_path / name)


def test_parquet_without_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "data.parquet")
    assert "at least one example" in refusal(tmp_path / "data.parquet")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("data.jsonl", b'{"text": "t", "label": 1}\n{"text": \n', "line 2"),
        ("data.jsonl", b'["t", 1]\n', "an object of columns in"),
        ("data.json", b'{"text": "t", "label": 1}', "a list of examples"),
        ("data.json", b"[1]", "example 1"),
        ("data.json", b"[", "JSON in"),
        ("data.jsonl", '{"text": "größer", "label": 1}'.encode("latin-1"), "in UTF-8"),
        ("data.csv", b"text,label\n" + b"a" * 140_000 + b",1\n", "field larger than"),
        ("data.parquet", b"PAR1 but cut", "a Parquet file at"),
        ("data.tsv", b"", ".jsonl, .json, .csv, .parquet"),
    ],
)
def test_malformed_file(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    message = refusal(tmp_path / name)
    assert said in message
    assert str(tmp_path / name) in message


@pytest.mark.parametrize("suffix", WRITERS)
def test_missing_file(tmp_path: Path, suffix: str) -> None:
    assert f"missing{suffix}" in refusal(tmp_path / f"missing{suffix}")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder laid out as a data set of the hub; its numbers are the head's the other way round."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features(
        text=datasets.Value("string"), label=datasets.ClassLabel(names=["positive", "negative"])
    )
    data = datasets.Dataset.from_list(ROWS, features=features)
    (tmp_path / "set").mkdir()
    data.to_parquet(tmp_path / "set" / "validation.parquet")
    return str(tmp_path / "set")


def test_hub_labels_go_by_name(hub: str) -> None:
    source = Source(dataset=hub, split="validation", limit=2)
    assert [label for _, label in taken(source)] == [0, 1]


def test_hub_labels_go_by_number_where_the_head_has_other_names(hub: str) -> None:
    source = Source(dataset=hub, split="validation")
    label2id = {"LABEL_0": 0, "LABEL_1": 1}
    assert [label for _, label in taken(source, label2id)] == [1, 0, 0]


@pytest.mark.parametrize(
    ("column", "split", "said"),
    [
        ("body", "validation", "the columns text, label"),
        ("text", "train", "split train of the data set"),
    ],
)
def test_hub_mistakes(hub: str, column: str, split: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        taken(Source(dataset=hub, split=split), text=column)
