"""The sources' formats are read, and no text or document stands in two splits."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.demo.sources import SOURCES
from searchmerge.demo.texts import (
    CASES,
    PACKAGES,
    SPLITS,
    VADER_MARGIN,
    Example,
    Split,
    clean,
    parse_sarcasm,
    parse_tab,
    parse_vader,
    write,
)
from searchmerge.demo.texts import split as draw


def test_vader_labels_by_the_sign_and_leaves_out_what_is_near_zero() -> None:
    lines = [
        f"1_1\t{VADER_MARGIN}\tgood\tindeed",
        "1_2\t-2.5\tbad\r",
        "2_1\t0.2\tdull",
        "12_3\t-0.49\tdull",
        "",
    ]
    assert list(parse_vader(lines, documents=True, domain="nyt")) == [
        Example("good\tindeed", "positive", "nyt:1"),
        Example("bad", "negative", "nyt:1"),
    ]


def test_vader_without_documents_gives_each_text_its_own_group() -> None:
    read = list(parse_vader(["7\t1.0\ta", "8\t-1.0\tb"], documents=False))
    assert [one.group for one in read] == [":7", ":8"]


def test_tab_skips_three_header_lines_and_knows_no_quotes() -> None:
    lines = ["Category\tText", "d\tstring", "class\t", 'earn\tshares "up', "acq\tbuys\tfirm", ""]
    assert [(one.label, one.text) for one in parse_tab(lines, held_out=True)] == [
        ("earn", 'shares "up'),
        ("acq", "buys\tfirm"),
    ]
    assert all(one.held_out for one in parse_tab(lines, held_out=True))


def test_sarcasm_takes_the_headline_and_the_ideal_answer() -> None:
    lines = [
        json.dumps(
            {"input": [{"role": "system", "content": "?"}, {"role": "user", "content": text}], "ideal": ideal}
        )
        for text, ideal in [("area man wins", "1"), ("senate votes", "0")]
    ]
    assert [(one.text, one.label) for one in parse_sarcasm([*lines, ""])] == [
        ("area man wins", "sarcastic"),
        ("senate votes", "plain"),
    ]


def test_clean_cuts_and_drops_repeats_in_favour_of_the_official_test() -> None:
    examples = [
        Example("A  b c d", "x", "0"),
        Example("a b c e", "y", "1", held_out=True),
        Example("  ", "x", "2"),
        Example("f", "x", "3"),
    ]
    assert clean(examples, 3) == [Example("a b c", "y", "1", held_out=True), Example("f", "x", "3")]


SIZES: Mapping[Split, int] = {"train": 20, "dev": 5, "test": 10}


@given(groups=st.lists(st.integers(0, 12), max_size=60), seed=st.integers(0, 2**32))
def test_no_group_and_no_text_stands_in_two_splits(groups: list[int], seed: int) -> None:
    examples = [Example(f"text {i}", "x", str(group)) for i, group in enumerate(groups)]
    drawn = draw(examples, SIZES, np.random.default_rng(seed))
    held = [{one.group for one in drawn[name]} for name in SPLITS]
    assert sum(map(len, held)) == len(set().union(*held))
    everything = [one.text for name in SPLITS for one in drawn[name]]
    assert len(everything) == len(set(everything))
    assert all(len(drawn[name]) <= SIZES[name] for name in SPLITS)
    again = draw(examples, SIZES, np.random.default_rng(seed))
    assert again == drawn


def test_another_seed_draws_otherwise() -> None:
    examples = [Example(f"text {i}", "x", str(i)) for i in range(40)]
    first, second = (draw(examples, SIZES, np.random.default_rng(seed)) for seed in (0, 1))
    assert first != second
    assert [len(first[name]) for name in SPLITS] == [20, 5, 10]


def test_an_official_test_split_is_kept_apart() -> None:
    examples = [Example(f"text {i}", "x", str(i), held_out=i % 2 == 0) for i in range(30)]
    drawn = draw(examples, SIZES, np.random.default_rng(0))
    assert all(one.held_out == (name != "train") for name in SPLITS for one in drawn[name])
    assert [len(drawn[name]) for name in SPLITS] == [15, 5, 10]


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """The four VADER files, more than the demo takes of them: 300 documents of 10 sentences each."""
    raw = tmp_path / "hutto_ICWSM_2014"
    raw.mkdir()
    for domain in ("amazonReviewSnippets", "movieReviewSnippets", "nytEditorialSnippets", "tweets"):
        lines = [
            f"{d}_{s}\t{(-1) ** s * 1.5}\t{domain} {d} caf\u00e9 {s}" for d in range(300) for s in range(10)
        ]
        (raw / f"{domain}_GroundTruth.txt").write_text("\n".join(lines), "latin-1")
    with tarfile.open(tmp_path / "hutto_ICWSM_2014.tar.gz", "w:gz") as archive:
        archive.add(raw, raw.name)
    return {"vaderSentiment": tmp_path}


def test_write_leaves_a_file_a_task_and_split_and_no_document_leaks(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    write("domains", folders, tmp_path / "out")
    names = {f"{task.name}.{name}.jsonl" for task in CASES["domains"] for name in SPLITS}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    for task in ("amazon", "nyt"):
        rows = [
            [
                json.loads(line)
                for line in (tmp_path / "out" / f"{task}.{name}.jsonl").read_text("utf-8").splitlines()
            ]
            for name in SPLITS
        ]
        assert all(row.keys() == {"text", "label"} and "café" in row["text"] for part in rows for row in part)
        (sizes,) = [known.sizes for known in CASES["domains"] if known.name == task]
        assert [len(part) for part in rows] == [sizes[name] for name in SPLITS]
        documents = [{row["text"].split()[1] for row in part} for part in rows]
        assert not documents[1] & documents[2]
        assert not documents[0] & (documents[1] | documents[2])


def test_questions_of_one_source_keep_its_texts_and_answer_by_its_labels(folders: dict[str, Path]) -> None:
    (film,) = [task for task in CASES["answers"] if task.name == "film"]
    read = list(film.read(folders))
    assert len(read) == 2 * 3000
    assert {(one.text.split()[0], one.label) for one in read} == {
        ("movieReviewSnippets", "yes"),
        ("tweets", "no"),
    }


def test_what_a_case_reads_is_brought_for_it() -> None:
    assert CASES.keys() == PACKAGES.keys()
    assert {name for names in PACKAGES.values() for name in names} <= {one.name for one in SOURCES}


def test_write_is_seeded(folders: dict[str, Path], tmp_path: Path) -> None:
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        write("domains", folders, tmp_path / out, seed)
    read = [(tmp_path / out / "tweets.dev.jsonl").read_bytes() for out in "abc"]
    assert read[0] == read[1] != read[2]
