"""Texts, labels, numbers and words from the columns of an example, and what is said of bad ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.objective import fields
from searchmerge.types import UserError

NAMES = {"negative": 0, "positive": 1}


def row(**columns: Any) -> tuple[str, Mapping[str, Any]]:
    return "data.jsonl, line 2", columns


def refusal(take: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        take(*arguments)
    assert caught.value.cure
    return str(caught.value)


# Texts.


def test_a_text_is_that_of_a_column_as_it_stands() -> None:
    assert fields.text(row(body=" a {b}\n"), "body") == " a {b}\n"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{title}", "T"),
        ("Review: {title}\n{body}\nSentiment:", "Review: T\nB {x}\nSentiment:"),
        ("{stars} of 5 {{stars}}", "4 of 5 {stars}"),
        ("{title}{title}", "TT"),
    ],
)
def test_a_template_is_filled_with_columns(template: str, expected: str) -> None:
    assert fields.text(row(title="T", body="B {x}", stars=4), template) == expected


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_what_stands_in_a_column_is_no_template(body: str) -> None:
    assert fields.text(row(body=body), "{body}") == fields.text(row(body=body), "body") == body


@pytest.mark.parametrize("text", [None, 3, ["a"], "", " \n", "half a pair \ud83d"])
def test_text_that_is_none(text: object) -> None:
    message = refusal(fields.text, row(text=text), "text")
    assert "a text as text in data.jsonl, line 2" in message
    assert f"got: {text!r}" in message


@pytest.mark.parametrize("template", ["{a", "{a} }", "{", "{a!}"])
def test_a_template_that_is_none(template: str) -> None:
    message = refusal(fields.text, row(a="x"), template, "prompt")
    assert "a template as prompt" in message
    assert "{{ or }} for a brace" in message


@pytest.mark.parametrize("template", ["{a.__class__}", "{a[0]}", "{}", "{0}"])
def test_a_template_reaches_into_nothing(template: str) -> None:
    assert "a column" in refusal(fields.text, row(a="x"), template)


def test_a_template_that_leaves_nothing_is_refused() -> None:
    assert "a text as {a}{b}" in refusal(fields.text, row(a=" ", b="\n"), "{a}{b}")


@pytest.mark.parametrize(
    ("take", "key"),
    [
        (lambda given: fields.text(given, "body", "pair"), "pair"),
        (lambda given: fields.text(given, "{body}", "prompt"), "prompt"),
        (lambda given: fields.label(given, "body", NAMES), "label"),
        (lambda given: fields.labels(given, "body", NAMES, "tags"), "tags"),
        (lambda given: fields.number(given, "body"), "label"),
        (lambda given: fields.words(given, "body"), "tokens"),
        (lambda given: fields.column(given, "body", "answer"), "answer"),
    ],
)
def test_missing_column(take: Callable[..., Any], key: str) -> None:
    message = refusal(take, row(text="t", label=1))
    assert "a column body in data.jsonl, line 2" in message
    assert "the columns text, label" in message
    assert f"{key}: in the task" in message


# Labels.


def test_labels_by_name_or_number() -> None:
    given = ["positive", "1", 1, 1.0, True, 0, False]
    assert [fields.label(row(label=each), "label", NAMES) for each in given] == [1, 1, 1, 1, 1, 0, 0]
    assert fields.labels(row(label=given), "label", NAMES) == [1, 1, 1, 1, 1, 0, 0]


def test_names_that_are_digits_come_before_numbers() -> None:
    stars = {"1": 0, "2": 1, "3": 2}
    found = [fields.label(row(label=each), "label", stars) for each in ("1", 2, 3.0, "0")]
    assert found == [0, 1, 2, 0]


def test_names_that_are_true_and_false_go_by_name() -> None:
    assert [fields.label(row(label=each), "label", {"True": 0, "False": 1}) for each in (True, False)] == [
        0,
        1,
    ]


@pytest.mark.parametrize("label", ["neutral", 2, -1, "-1", 0.5, None, ["positive"], "", math.nan, "²", "1.0"])
def test_label_outside_the_head(label: object) -> None:
    for take, value in ((fields.label, label), (fields.labels, ["positive", label])):
        message = refusal(take, row(label=value), "label", NAMES)
        assert "data.jsonl, line 2" in message
        assert "negative (0), positive (1)" in message
        assert f"got: {label!r}" in message


def test_of_many_labels_the_first_are_listed() -> None:
    many = {f"label{number}": number for number in range(100)}
    message = refusal(fields.label, row(label="none"), "label", many)
    assert "label19 (19), …" in message
    assert "label20" not in message


def test_no_labels_are_a_list_and_one_alone_is_none() -> None:
    assert fields.labels(row(label=[]), "label", NAMES) == []
    for value in ("positive", 1, None, {"positive": True}):
        assert "a list as label" in refusal(fields.labels, row(label=value), "label", NAMES)


# Numbers and words.


@pytest.mark.parametrize(
    ("value", "expected"), [(3, 3.0), (2.5, 2.5), ("-1e3", -1000.0), (" 4 ", 4.0), (0, 0)]
)
def test_numbers(value: object, expected: float) -> None:
    assert fields.number(row(label=value), "label") == expected


@pytest.mark.parametrize(
    "value",
    [None, "four", "", True, math.nan, math.inf, "nan", "-inf", [1.0], 10**400],
    ids=lambda value: str(value)[:9],
)
def test_number_that_is_none(value: object) -> None:
    message = refusal(fields.number, row(label=value), "label")
    assert "a number as label in data.jsonl, line 2" in message


def test_words() -> None:
    assert fields.words(row(tokens=["Not", "1"]), "tokens") == ["Not", "1"]
    assert fields.words(row(choices=("a b", "c")), "choices", "choices") == ["a b", "c"]


@pytest.mark.parametrize("value", [[], "a text", None, ["a", ""], ["a", 3], ["a", None], ["half \ud83d"]])
def test_words_that_are_none(value: object) -> None:
    message = refusal(fields.words, row(tokens=value), "tokens")
    assert "as tokens in data.jsonl, line 2" in message
