"""The Brown corpus is read as it is written, and none of its texts or sentences stands in two splits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.demo import brown
from searchmerge.demo.brown import GENRES, TAGS, Sentence, draw, parse, universal, write
from searchmerge.demo.sources import BROWN_TEXTS
from searchmerge.demo.texts import SPLITS


def test_a_sentence_a_line_and_a_word_may_hold_a_stroke() -> None:
    lines = ["", "\n", "\tThe/at jury/nn ,/, 1/2/cd ''/'' ./.", "  "]
    assert list(parse(lines)) == [
        Sentence(("The", "jury", ",", "1/2", "''", "."), ("DET", "NOUN", ".", "NUM", ".", "."))
    ]


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("nn-tl", "NOUN"),
        ("np$", "NOUN"),
        ("nr-hl", "NOUN"),
        ("ppss+bem", "PRON"),
        ("pp$$", "PRON"),
        ("wp$", "PRON"),
        ("md*", "VERB"),
        ("hvz*", "VERB"),
        ("bedz-nc", "VERB"),
        ("dt+bez", "DET"),
        ("in-tl-hl", "ADP"),
        ("*", "ADV"),
        ("*-hl", "ADV"),
        ("--", "."),
        (",-hl", "."),
        ("(-hl", "."),
        ("``", "."),
        ("'", "."),
        ("fw-nn", "X"),
        ("fw-in+at", "X"),
        ("nil", "X"),
        ("to", "PRT"),
        ("cc-tl", "CONJ"),
        ("od-tl", "ADJ"),
    ],
)
def test_tags_become_universal(tag: str, expected: str) -> None:
    assert universal(tag) == expected
    assert len(TAGS) == len(set(TAGS)) == 12


def sentence(text: int, number: int, words: int = 5) -> Sentence:
    return Sentence((f"t{text}", f"n{number}", *["w"] * (words - 2)), ("X",) * words)


@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=40), seed=st.integers(0, 2**32))
def test_no_text_stands_in_two_splits(sizes: list[int], seed: int) -> None:
    texts = [[sentence(t, n) for n in range(size)] for t, size in enumerate(sizes)]
    drawn = draw(texts, np.random.default_rng(seed))
    held = [{one.tokens[0] for one in drawn[name]} for name in SPLITS]
    assert sum(map(len, held)) == len(set().union(*held))
    everything = [one.tokens for name in SPLITS for one in drawn[name]]
    assert len(everything) == len(set(everything))
    assert all(len(drawn[name]) <= brown.SIZES[name] for name in SPLITS)
    assert draw(texts, np.random.default_rng(seed)) == drawn


def test_the_piles_are_as_large_as_their_shares_and_give_of_every_text() -> None:
    texts = [[sentence(t, n) for n in range(100)] for t in range(40)]
    drawn = draw(texts, np.random.default_rng(0))
    assert [len(drawn[name]) for name in SPLITS] == [1500, 100, 300]
    assert [len({one.tokens[0] for one in drawn[name]}) for name in SPLITS] == [26, 6, 8]


def test_repeats_and_what_is_too_short_or_long_are_left_out() -> None:
    texts = [[sentence(0, 0), sentence(1, 1, 3), sentence(2, 2, 41), sentence(3, 3, 40)]] * 20
    drawn = draw(texts, np.random.default_rng(0))
    left = [one for name in SPLITS for one in drawn[name]]
    assert sorted(one.tokens[0] for one in left) == ["t0", "t3"]


def test_write_leaves_a_file_a_genre_and_split(tmp_path: Path) -> None:
    for letter, count in BROWN_TEXTS:
        for number in range(1, count + 1):
            lines = [f"\t{letter}{number}/np says/vbz {n}/cd ./." for n in range(120)]
            (tmp_path / f"c{letter}{number:02}").write_text("\n\n".join(lines), "utf-8")
    write(tmp_path, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{genre}.{split}.jsonl" for genre in GENRES for split in SPLITS
    }
    rows = [
        json.loads(line) for line in (tmp_path / "out" / "learned.dev.jsonl").read_text("utf-8").splitlines()
    ]
    assert len(rows) == brown.SIZES["dev"]
    assert all(row["tokens"][0].startswith("j") for row in rows)
    assert all(row["tags"] == ["NOUN", "VERB", "NUM", "."] for row in rows)
