from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from searchmerge.report import page as report
from searchmerge.report.table import duration
from searchmerge.types import UserError
from tests.report.runs import result, run_folder, trials

SCORES = (0.5, 0.625, 0.75, None, 0.6875)
HOSTILE = "<script>alert('x')</script>&\"]]> $\\frac$"


class Reader(HTMLParser):
    """Tags with their attributes, and the text that a reader sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data + " "


def written(folder: Path) -> Reader:
    return Reader(report.write(folder).read_text(encoding="utf-8"))


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from numbers(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def test_every_number_of_the_result_stands_on_the_page(tmp_path: Path) -> None:
    found = result()
    page = written(run_folder(tmp_path, trials(SCORES), found))
    seconds = found.pop("seconds")
    assert duration(seconds) in page.text
    for number in numbers(found):
        assert re.search(rf"(?<![\d.]){number if isinstance(number, int) else f'{number:.3f}'}", page.text)
    for text in ("40 evaluations are spent", "numpy 2.4.1", "population: 4", "searchmerge merge recipe.json"):
        assert text in page.text


def test_the_page_refers_to_nothing_outside_and_runs_nothing(tmp_path: Path) -> None:
    page = written(run_folder(tmp_path, trials(SCORES), result()))
    references = [
        attributes[key]
        for _, attributes in page.tags
        for key in ("src", "href", "xlink:href", "data", "action", "srcset")
        if key in attributes
    ]
    assert references  # the figures use their own marks again
    assert all(reference and reference.startswith("#") for reference in references)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "img"}
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "http://" not in content
    assert "https://" not in content
    assert not re.search(r"url\((?!#)|@import", content)


def test_a_hostile_name_is_only_text(tmp_path: Path) -> None:
    experts = (HOSTILE, "tweets")
    made = trials(SCORES, experts)
    made[3] = replace(made[3], error=HOSTILE)
    found = result(experts)
    found["baselines"][HOSTILE] = found["baselines"]["average"]
    found["gain"]["over"] = HOSTILE
    page = written(run_folder(tmp_path, made, found, experts))
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(HOSTILE) >= 7  # headline, both tables, config, recipe, error


def test_equal_runs_give_equal_pages(tmp_path: Path) -> None:
    run_folder(tmp_path, trials(SCORES), result())
    first = report.write(tmp_path).read_bytes()
    assert report.write(tmp_path).read_bytes() == first


@pytest.mark.parametrize("made", [0, 1, 2, 5])
def test_an_interrupted_run_shows_what_there_is(tmp_path: Path, made: int) -> None:
    page = written(run_folder(tmp_path, trials(SCORES)[:made]))
    assert "--resume" in page.text
    if made:
        best = max(score for score in SCORES[:made] if score)
        assert f"The best of {made} evaluations so far scores {best:.3f} on dev" in page.text
    else:
        assert "no trial has ended yet" in page.text


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    run_folder(tmp_path, trials(SCORES))
    journal = tmp_path / "journal.jsonl"
    os.truncate(journal, journal.stat().st_size - 9)
    before = journal.read_bytes()
    assert "The best of 4 evaluations so far scores 0.750 on dev" in written(tmp_path).text
    assert journal.read_bytes() == before


def test_a_run_of_failures_shows_each_error(tmp_path: Path) -> None:
    page = written(run_folder(tmp_path, trials([None, None, None])))
    assert "All 3 trials so far have failed" in page.text
    assert page.text.count("FloatingPointError: <nan>") == 3


def test_without_a_test_split_nothing_is_said_of_test(tmp_path: Path) -> None:
    page = written(run_folder(tmp_path, trials(SCORES), result(test=False)))
    assert "without a test split" in page.text
    assert "dev, task by task" in page.text
    assert "test, task by task" not in page.text
    assert "gain over it" not in page.text


def test_a_space_without_knobs_shows_its_recipe(tmp_path: Path) -> None:
    made = [replace(trial, recipe={"space": "elsewhere", "path": [4, 2]}) for trial in trials(SCORES)]
    page = written(run_folder(tmp_path, made, result()))
    assert '"path"' in page.text
    assert "coefficients of the winner" not in page.text


def test_repeats_are_counted_apart(tmp_path: Path) -> None:
    made = trials(SCORES)
    made.append(replace(made[2], number=5, repeats=2, seconds=0.0))
    page = written(run_folder(tmp_path, made))
    assert "The best of 5 evaluations" in page.text
    assert "A ring is a repeat" in page.text


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"journal\.jsonl"):
        report.write(tmp_path)
    run_folder(tmp_path, [])
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(UserError, match=r"result\.json"):
        report.write(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_the_page_says_what_a_test_has_stopped_and_that_it_is_inexact(tmp_path: Path) -> None:
    made = trials((0.5, 0.625, None, None))
    made[2:] = [replace(trial, error=None) for trial in made[2:]]
    folders = [tmp_path / "floors", tmp_path / "races"]
    for folder in folders:
        folder.mkdir()
    assert "inexact" not in written(run_folder(folders[0], made, {**result(), "rejected": 2})).text
    made[3] = replace(made[3], lost_to=1)
    page = written(run_folder(folders[1], made, {**result(), "rejected": 2}))
    assert "2, 1 of them by a test (racing, inexact)" in page.text
    assert "since a test said that it does worse (a race, inexact)." in page.text
