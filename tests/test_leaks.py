"""The same texts in two places: found, counted, said at the right time, and left in the run's files."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.config import Config, load, validate
from searchmerge.leaks import Leak, leaks, normalised
from searchmerge.optimize import optimize
from searchmerge.types import UserError
from tests.family import rewrite, tiny_family
from tests.fixtures import Run

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


def written(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def texts(path: Path, *found: str) -> str:
    return written(path, [{"text": text, "label": "cat"} for text in found])


def config(*tasks: Mapping[str, Any], **data: str) -> Config:
    return validate(
        {
            "models": {"experts": {"a": "a", "b": "b"}},
            "space": {"kind": "coefficients"},
            "objective": {"tasks": list(tasks)},
            "statistics": {"data": data},
        }
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Good film", "good FILM"),
        ("good film", "  good\t\n film "),
        ("good film", "good\u00a0film"),  # a space that does not break
        ("Straße", "STRASSE"),
        ("café", "cafe\u0301"),  # one character, or a letter and its accent
        ("ﬁne １２", "fine 12"),  # a ligature, digits of full width
    ],
)
def test_the_same_text_written_otherwise_is_found(tmp_path: Path, one: str, other: str) -> None:
    dev, test = texts(tmp_path / "dev.jsonl", one, "else"), texts(tmp_path / "test.jsonl", "more", other)
    (leak,) = leaks(config({"name": "t", "dev": dev, "test": test}), "test")
    assert (leak.between, leak.count, leak.of, leak.examples) == ("dev of t and test", 1, 2, (one,))


@given(st.lists(WORDS, min_size=1, max_size=4), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_a_text_is_itself_in_every_form(words: list[str], form: Any) -> None:
    text = " ".join(words)
    assert normalised(normalised(text)) == normalised(text)
    assert normalised(f" {unicodedata.normalize(form, text)}\n") == normalised(text)
    assert normalised(text.upper().casefold()) == normalised(text.casefold().upper().casefold())


def test_other_texts_are_no_leak(tmp_path: Path) -> None:
    dev = texts(tmp_path / "dev.jsonl", "good film", "a bad one")
    test = texts(tmp_path / "test.jsonl", "good films", "a good film", "goodfilm", "bad one")
    assert list(leaks(config({"name": "t", "dev": dev, "test": test}), "test")) == []


def test_it_says_how_many_of_how_many_and_shows_the_first_three(tmp_path: Path) -> None:
    long = "word " * 30
    dev = texts(tmp_path / "dev.jsonl", "one", "two", long, "three", "three", "mine")
    test = texts(tmp_path / "test.jsonl", "THREE", long.upper(), "two", "ONE", "its")
    (leak,) = leaks(config({"name": "t", "dev": dev, "test": test}), "test")
    assert (leak.count, leak.of) == (5, 6)
    assert leak.examples == ("one", "two", long[:57] + "...")
    assert str(leak).startswith("5 of 6 texts are the same in dev of t and test: 'one'; 'two'; 'word word")
    assert Leak(**{**leak.record, "examples": tuple(leak.record["examples"])}) == leak


def test_each_experts_training_texts_are_looked_through(tmp_path: Path) -> None:
    tasks = [
        {"name": "first", "dev": texts(tmp_path / "first.jsonl", "one", "two")},
        {"name": "second", "dev": texts(tmp_path / "second.jsonl", "three", "four")},
    ]
    data = {
        "a": texts(tmp_path / "a.jsonl", "TWO", "one", "five"),
        "b": texts(tmp_path / "b.jsonl", "two", "four"),
    }
    found = [(leak.between, leak.count) for leak in leaks(config(*tasks, **data), "training")]
    place = "the training data of the expert"
    assert found == [
        (f"dev of first and {place} a", 2),
        (f"dev of first and {place} b", 1),
        (f"dev of second and {place} b", 1),
    ]


KINDS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "pairs": (
        {"pair": "second"},
        {"text": "One", "second": "two", "label": 0},
        {"text": "one two", "second": "two", "label": 0},
    ),
    "a template": (
        {"text": "{title}: {text}"},
        {"title": "A", "text": "b", "label": 0},
        {"title": "c", "text": "b", "label": 0},
    ),
    "words": (
        {"kind": "token-classification"},
        {"tokens": ["One", "two"], "tags": [0, 0]},
        {"tokens": ["two", "One"], "tags": [0, 0]},
    ),
    "a prompt and its text": (
        {"kind": "language-modeling", "prompt": "before"},
        {"before": "One", "text": "two"},
        {"before": "two", "text": "two"},
    ),
    "choices": (
        {"kind": "multiple-choice"},
        {"prompt": "One", "choices": ["a", "b"], "label": 0},
        {"prompt": "two", "choices": ["a", "b"], "label": 0},
    ),
    "an answer": (
        {"kind": "generation"},
        {"prompt": "One", "answer": "1"},
        {"prompt": "two", "answer": "1"},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_of_every_kind_of_task_it_is_what_the_models_read(tmp_path: Path, kind: str) -> None:
    options, mine, other = KINDS[kind]
    dev, test = written(tmp_path / "dev.jsonl", [mine]), tmp_path / "test.jsonl"
    shouted = {key: value.upper() if isinstance(value, str) else value for key, value in mine.items()}
    task = {"name": "t", **options, "dev": dev, "test": written(test, [other, shouted])}
    assert [leak.count for leak in leaks(config(task), "test")] == [1]
    written(test, [other])
    assert list(leaks(config(task), "test")) == []


def test_a_function_of_the_users_reads_what_it_likes(tmp_path: Path) -> None:
    dev = texts(tmp_path / "dev.jsonl", "one")
    task = {"name": "t", "kind": "python", "function": "m:f", "dev": dev, "test": dev}
    assert list(leaks(config(task), "test")) == []


def test_what_is_out_of_domain_has_no_dev(tmp_path: Path) -> None:
    dev = texts(tmp_path / "dev.jsonl", "one")
    tasks: list[dict[str, Any]] = [{"name": "t", "dev": dev}, {"name": "far", "ood": True, "test": dev}]
    assert list(leaks(config(*tasks), "test")) == []


# Runs.


def leaky(folder: Path, **sections: Any) -> Path:
    """A family whose task animals has two of its dev texts in test, and whose experts saw dev of colours."""
    path = rewrite(tiny_family(folder), budget={"evaluations": 4}, baselines=["average"], **sections)
    dev = (folder / "data/animals.dev.jsonl").read_text().splitlines()
    with (folder / "data/animals.test.jsonl").open("a") as file:
        file.write("\n".join(line.replace("w", "W") for line in dev[:2]) + "\n")
    return path


SEEN = {"statistics": {"data": {"colours": "data/colours.dev.jsonl"}}}


def test_a_run_looks_into_the_test_split_after_its_search_and_not_before(tmp_path: Path) -> None:
    config = load(leaky(tmp_path, **SEEN))
    files = {path: path.read_bytes() for path in (tmp_path / "data").glob("*.test.jsonl")}
    for path in files:
        path.unlink()  # whoever opens it now is refused
    said: list[str] = []
    trials = []

    def watch(trial: Any, best: Any) -> None:
        trials.append(trial.number)
        if len(trials) == 4:
            assert [line for line in said if line.startswith("leak")] == said[:1]
            for path, content in files.items():
                path.write_bytes(content)

    result = optimize(config, tmp_path / "out", resume=False, watch=watch, say=said.append)
    training, test = [line for line in said if line.startswith("leak")]
    assert "24 of 24 texts are the same in dev of colours and the training data of the expert" in training
    assert "2 of 24 texts are the same in dev of animals and test" in test
    assert said.index(test) == said.index("judging the winner and the baselines") + 1
    assert [leak["count"] for leak in result["leaks"]] == [24, 2]
    assert json.loads((tmp_path / "out/result.json").read_text())["leaks"] == json.loads(
        json.dumps(result["leaks"])
    )
    page = (tmp_path / "out/report.html").read_text()
    (warning,) = (line for line in page.splitlines() if 'class="warning"' in line)
    assert "24 of 24 in dev of colours" in warning
    assert "2 of 24 in dev of animals and test" in warning


def test_where_there_is_none_nothing_is_said(tmp_path: Path) -> None:
    path = rewrite(tiny_family(tmp_path), budget={"evaluations": 2}, baselines=[])
    for number, split in enumerate(("dev", "test")):  # the family's texts are random and may meet
        for file in (tmp_path / "data").glob(f"*.{split}.jsonl"):
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            written(file, [{**row, "text": f"{row['text']} w{number}"} for row in rows])
    said: list[str] = []
    result = optimize(load(path), tmp_path / "out", resume=False, watch=lambda *_: None, say=said.append)
    assert result["leaks"] == []
    assert not any("leak" in line for line in said)
    assert 'class="warning"' not in (tmp_path / "out/report.html").read_text()


def test_the_check_looks_into_both(tmp_path: Path, run: Run) -> None:
    code, out, _ = run("check", leaky(tmp_path, **SEEN))
    assert code == 0
    found = [line for line in out.splitlines() if line.startswith("leak")]
    assert ["colours" in line for line in found] == [True, False]
    assert "2 of 24" in found[1]


def test_texts_that_are_named_and_not_there_are_refused_before_the_search(tmp_path: Path) -> None:
    config = load(leaky(tmp_path, statistics={"data": {"colours": "data/gone.jsonl"}}))
    with pytest.raises(UserError, match=r"gone\.jsonl"):
        optimize(config, tmp_path / "out", resume=False, watch=lambda *_: None, say=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_the_pages_warning_is_text_and_no_markup(tmp_path: Path) -> None:
    path = leaky(tmp_path)
    content = yaml.safe_load(path.read_text())
    content["objective"]["tasks"][0].update(name="<b>animals", expert="animals")
    optimize(
        load(rewrite(path, **content)),
        tmp_path / "out",
        resume=False,
        watch=lambda *_: None,
        say=lambda _: None,
    )
    page = (tmp_path / "out/report.html").read_text()
    assert "dev of &lt;b&gt;animals and test" in page
