from __future__ import annotations

import multiprocessing
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

from searchmerge import statistics
from searchmerge.config import load
from searchmerge.files import user_cache
from searchmerge.objective import cache
from searchmerge.objective.cache import encoded
from searchmerge.objective.tokens import tokenised
from tests.family import tiny_family
from tests.fixtures import WORDS, tiny_tokenizer
from tests.objective.making import objective, random_rows, random_texts, task, write

TEXTS = random_texts(40)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that keeps whatever it is given."""
    monkeypatch.setenv(cache.SWITCH, str(tmp_path / "tokens"))
    monkeypatch.setattr(cache, "FEWEST", 0)
    return tmp_path / "tokens"


class Counted:
    """Notes the calls of a tokenizer's backend."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        inner = PreTrainedTokenizerFast._encode_plus

        def counting(tokenizer: Any, *args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return inner(tokenizer, *args, **kwargs)

        monkeypatch.setattr(PreTrainedTokenizerFast, "_encode_plus", counting)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Any:
    return tiny_tokenizer(tmp_path / "tokenizer")


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("*")) if folder.exists() else []


ASKED: dict[str, dict[str, Any]] = {
    "texts": {},
    "pairs": {"pairs": TEXTS[::-1]},
    "cut": {"truncation": True, "max_length": 5},
    "without special tokens": {"add_special_tokens": False},
    "without types": {"return_token_type_ids": False},
}


@pytest.mark.parametrize("how", ASKED)
def test_what_comes_from_the_cache_is_what_the_tokenizer_says(
    folder: Path, tokenizer: Any, counted: Counted, how: str
) -> None:
    options = dict(ASKED[how])
    made, known = (encoded(tokenizer, TEXTS, **options) for _ in range(2))
    assert (counted.calls, len(kept(folder))) == (1, 1)
    pairs = options.pop("pairs", None)
    plain = dict(tokenizer(TEXTS, pairs, return_attention_mask=False, **options))
    assert made == known == plain
    assert all(type(number) is int for rows in known.values() for row in rows for number in row)


def test_of_words_it_knows_each_tokens_word(folder: Path, tokenizer: Any, counted: Counted) -> None:
    sentences = [text.split() for text in TEXTS]
    made, known = (encoded(tokenizer, sentences, is_split_into_words=True) for _ in range(2))
    assert made == known
    assert counted.calls == 1
    assert known["word_ids"] == [[-1, *range(len(words)), -1] for words in sentences]


NUMBERS = st.lists(st.lists(st.integers(-100, 2**31 - 1), max_size=5), min_size=1, max_size=6)


@given(NUMBERS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rows_come_back_as_they_were(tmp_path: Path, rows: list[list[int]]) -> None:
    columns = {"input_ids": rows, "other": [[7] * len(row) for row in rows]}
    cache._keep(columns, tmp_path / "one.tokens")
    assert cache._read(tmp_path / "one.tokens") == columns


def other_vocabulary(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    tokenizer.add_tokens(["new"])
    return {}


def other_version(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(cache, "VERSIONS", ("99.0",))
    return {}


def other_side(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    tokenizer.truncation_side = "left"
    return {}


CHANGES: dict[str, Any] = {
    "a token": other_vocabulary,
    "a version": other_version,
    "the side": other_side,
    "a length": lambda *_: {"max_length": 6},
    "an option": lambda *_: {"add_special_tokens": False},
    "a text": lambda *_: {"texts": [*TEXTS[:-1], "w1"]},
    "the order": lambda *_: {"texts": TEXTS[::-1]},
    "pairs": lambda *_: {"pairs": TEXTS},
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_tokens_depend_on_makes_another_file(
    folder: Path, tokenizer: Any, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"texts": TEXTS, "truncation": True, "max_length": 5}
    before = encoded(tokenizer, **asked)
    asked |= CHANGES[what](tokenizer, monkeypatch)
    after = encoded(tokenizer, **asked)
    assert len(kept(folder)) == 2
    assert (before == after) == (what in ("a token", "a version"))
    assert after == dict(
        tokenizer(asked.pop("texts"), asked.pop("pairs", None), return_attention_mask=False, **asked)
    )


def test_how_the_call_before_cut_and_padded_is_no_part_of_it(
    folder: Path, tokenizer: Any, counted: Counted
) -> None:
    encoded(tokenizer, TEXTS)
    tokenizer(TEXTS[:3], truncation=True, padding="max_length", max_length=9)
    encoded(tokenizer, TEXTS)
    assert (counted.calls, len(kept(folder))) == (2, 1)


@pytest.mark.parametrize("damage", ["empty", "short", "another byte", "no file of this kind", "a folder"])
def test_a_damaged_file_is_none(folder: Path, tokenizer: Any, counted: Counted, damage: str) -> None:
    right = encoded(tokenizer, TEXTS)
    (path,) = kept(folder)
    content = bytearray(path.read_bytes())
    if damage == "empty":
        content.clear()
    elif damage == "short":
        del content[-10:]
    elif damage == "another byte":
        content[-5] ^= 1
    elif damage == "no file of this kind":
        content[:] = b"tokens"
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    else:
        path.write_bytes(content)
    assert encoded(tokenizer, TEXTS) == right
    assert counted.calls == 2
    assert encoded(tokenizer, TEXTS) == right
    assert counted.calls == (3 if damage == "a folder" else 2)
    assert len(kept(folder)) == 1


def test_few_texts_are_not_kept(folder: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    characters = sum(map(len, TEXTS))
    monkeypatch.setattr(cache, "FEWEST", characters + 1)
    encoded(tokenizer, TEXTS)
    assert not kept(folder)
    encoded(tokenizer, TEXTS, TEXTS)
    assert len(kept(folder)) == 1
    encoded(tokenizer, [text.split() for text in [*TEXTS, "w1 w2 w3"]], is_split_into_words=True)
    assert len(kept(folder)) == 1, "spaces do not count"


def test_it_can_be_turned_off(folder: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setenv(cache.SWITCH, "")
    encoded(tokenizer, TEXTS)
    assert not kept(folder)
    monkeypatch.delenv(cache.SWITCH)
    encoded(tokenizer, TEXTS)
    assert len(kept(folder / "searchmerge" / "tokens")) == 1
    assert user_cache("statistics") == folder / "searchmerge" / "statistics"
    assert statistics._cache(load(tiny_family(folder)).statistics) == folder / "searchmerge" / "statistics"


def test_what_is_kept_is_the_owners_alone(folder: Path, tokenizer: Any) -> None:
    encoded(tokenizer, TEXTS)
    assert stat.S_IMODE(kept(folder)[0].stat().st_mode) & 0o077 == 0


class Stranger(PreTrainedTokenizerFast):  # type: ignore[misc]  # transformers has no types
    """Not of transformers: what its Python does is not known; here it counts."""

    turn = 0

    def _encode_plus(self, text: Any, *args: Any, **kwargs: Any) -> Any:
        self.turn += 1
        return super()._encode_plus([f"w{self.turn}"] * len(text), *args, **kwargs)


class Slow:
    """A tokenizer in Python."""

    is_fast = False
    model_input_names = ("input_ids",)

    def __call__(self, texts: Sequence[str], pairs: Any, **options: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[len(word) for word in text.split()] for text in texts]}


def test_what_cannot_be_hashed_is_not_kept(folder: Path, tokenizer: Any) -> None:
    stranger = Stranger(tokenizer_object=tokenizer.backend_tokenizer, unk_token="[UNK]")
    first, second = (encoded(stranger, TEXTS)["input_ids"][0][1] for _ in range(2))
    assert second == first + 1
    assert encoded(Slow(), ["ab c"])["input_ids"] == [[2, 1]]
    assert not kept(folder)


def test_the_least_used_go_when_there_is_no_room(
    folder: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(number: int) -> None:
        encoded(tokenizer, [f"w{number}"] * 1000)

    ask(0)
    (first,) = kept(folder)
    size = first.stat().st_size
    monkeypatch.setattr(cache, "LARGEST", 3 * size)
    names = [first]
    for number in (1, 2):
        ask(number)
        names += [each for each in kept(folder) if each not in names]
    for age, each in enumerate(names):  # as if they had been made a minute after each other
        os.utime(each, (60 * age, 60 * age))
    ask(0)  # used again: now the second is the oldest
    mine = folder / "model.safetensors"
    mine.write_bytes(b"0" * 10 * size)
    ask(3)
    left = kept(folder)
    assert len(left) == 4
    assert {mine, names[0], names[2]} < set(left)
    monkeypatch.setattr(cache, "LARGEST", size - 1)
    ask(4)
    assert kept(folder) == left, "what is larger than all the room is not kept, and nothing goes for it"


def test_where_nothing_can_be_written_texts_are_tokenised(
    tmp_path: Path, folder: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cache.SWITCH, str(tmp_path / "file"))
    assert len(encoded(tokenizer, TEXTS)["input_ids"]) == len(TEXTS)


def _asks(folder: str, where: str, results: Any) -> None:
    os.environ[cache.SWITCH] = folder
    cache.FEWEST = 0
    cache.LARGEST = 60_000
    tokenizer = PreTrainedTokenizerFast.from_pretrained(where)
    right = True
    for turn in range(60):
        texts = [WORDS[turn % 6]] * 2000
        number = tokenizer.convert_tokens_to_ids(WORDS[turn % 6])
        right &= all(row[1] == number for row in encoded(tokenizer, texts)["input_ids"])
    results.put(right)


def test_two_processes_do_not_disturb_each_other(tmp_path: Path, tokenizer: Any) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    arguments = (str(tmp_path / "tokens"), str(tmp_path / "tokenizer"), results)
    workers = [context.Process(target=_asks, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [results.get(timeout=60), results.get(timeout=60)] == [True, True]
    assert all(path.stat().st_size for path in kept(tmp_path / "tokens"))


def test_an_objective_is_the_same_from_the_cache(folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    dev = task(write(tmp_path / "dev.jsonl", random_rows(30)))
    one = objective(tokenizer, dev)
    assert len(kept(folder)) == 1
    other = objective(tokenizer, dev)
    assert one.fingerprint == other.fingerprint
    assert len(kept(folder)) == 1


def test_zeros_are_left_out_of_what_the_cache_has_too(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)))
    bert = BertTokenizerFast(str(tmp_path / "vocab.txt"))
    for _ in range(2):
        assert set(tokenised(TEXTS, bert, None)) == {"input_ids"}
        assert set(tokenised(TEXTS, bert, None, pairs=TEXTS)) == {"input_ids", "token_type_ids"}
