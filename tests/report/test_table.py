from __future__ import annotations

import re
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from searchmerge.report.table import (
    duration,
    headline,
    markdown,
    plain,
    show,
    show_standing,
    tabulate,
    terminal,
)
from tests.report.runs import EXPERTS, result


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def printed(found: dict[str, object], width: int) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(terminal(found))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_markdown_has_a_row_a_model_and_a_column_a_mean_and_a_task() -> None:
    found = result()
    head, rule, *lines = [cells(line) for line in markdown(found).splitlines()]
    assert head == ["", "dev mean", "test mean", *EXPERTS, "gain over it on test"]
    assert rule == ["---", *["---:"] * 5]
    assert [line[0] for line in lines] == [
        "expert reviews",
        "expert tweets",
        "best single expert",
        "plain average",
        "one tuned coefficient",
        "default TIES",
        "searched merge",
    ]
    average = found["baselines"]["average"]
    dev = average["dev"]
    assert lines[3][1].replace("*", "") == f"{dev['score']:.3f} [{dev['low']:.3f}, {dev['high']:.3f}]"
    assert lines[3][3].replace("*", "") == f"{average['test']['tasks']['reviews']['value']:.3f}"
    assert lines[3][5] == "+0.052 [0.021, 0.083]"
    assert lines[-1][5] == ""


def test_of_a_metric_that_is_better_when_lower_the_lowest_is_bold() -> None:
    found = {**result(), "lower": ["tweets"]}
    table = tabulate(found)
    assert table.columns[-2:] == ("reviews", "tweets ↓")
    column = [row.cells[-1] for row in table.rows]
    values = {cell.value: cell.stands_out for cell in column if cell}
    assert len(values) > 1
    assert [value for value, out in values.items() if out] == [min(values)]


def test_the_highest_of_each_column_is_bold_and_ties_share_it() -> None:
    found = result()
    found["baselines"]["ties"]["test"]["score"] = 0.98004
    found["baselines"]["average"]["test"]["score"] = 0.97996
    lines = [cells(line) for line in markdown(found).splitlines()[2:]]
    for column in range(1, 5):
        values = [float(line[column].replace("*", "").split()[0]) for line in lines]
        bold = ["**" in line[column] for line in lines]
        assert bold == [value == max(values) for value in values]
    assert [line[0] for line in lines if "**" in line[2]] == ["plain average", "default TIES"]


def test_without_test_the_tasks_are_those_of_dev() -> None:
    found = result(test=False)
    table = tabulate(found)
    assert table.columns == ("dev", *EXPERTS)
    assert not table.gains
    cell = table.rows[-1].cells[1]
    assert cell is not None
    assert cell.value == found["best"]["dev"]["tasks"]["reviews"]["value"]


def test_the_terminal_table_shows_the_gain_over_each_row() -> None:
    found = result()
    (line,) = [line for line in printed(found, 200).splitlines() if "plain average" in line]
    assert line.split()[-1] == f"{found['baselines']['average']['gain']['mean']:+.3f}"
    assert "gain over it" not in printed(result(test=False), 200)


def test_a_name_is_only_text_in_markdown() -> None:
    name = "a|b\n<i>*x*`[y](z)"
    lines = markdown(result((name, "tweets"))).splitlines()
    assert {len(cells(line)) for line in lines} == {6}
    assert plain(name) == r"a\|b &lt;i>\*x\*\`\[y\](z)"


def test_the_terminal_table_breaks_no_figure_in_80_columns() -> None:
    found = result(("sentiment", "reuters", "newsgroup", "sarcasm [red]"))
    text = printed(found, 80)
    assert max(map(len, text.splitlines())) <= 80
    for scores in [*(found["baselines"][name] for name in found["baselines"]), found["best"]]:
        for split in ("dev", "test"):
            assert f"{scores[split]['score']:.3f}" in text
            assert f"{scores[split]['low']:.3f}–{scores[split]['high']:.3f}" in text
    assert "[red]" in text


def test_show_prints_headline_and_table(capsys: pytest.CaptureFixture[str]) -> None:
    found = result()
    show(found)
    out = capsys.readouterr().out
    assert out.splitlines()[0] == headline(found)
    assert "one tuned coefficient" in out


def test_show_of_baselines_alone_has_no_headline(capsys: pytest.CaptureFixture[str]) -> None:
    found = {key: value for key, value in result().items() if key in ("baselines", "tasks")}
    show(found)
    out = capsys.readouterr().out
    assert "searched" not in out
    assert "plain average" in out


def test_show_standing_prints_every_score(capsys: pytest.CaptureFixture[str]) -> None:
    standing = result()["best"]["dev"]
    show_standing(standing)
    out = capsys.readouterr().out
    for scores, value in [(standing, "score"), *((task, "value") for task in standing["tasks"].values())]:
        assert f"{scores[value]:.3f} {scores['low']:.3f}–{scores['high']:.3f}" in out


@pytest.mark.parametrize(
    ("low", "mean", "high", "words"),
    [
        (0.02, 0.05, 0.08, "the gain of 0.050 [0.020, 0.080] is beyond noise"),
        (-0.01, 0.002, 0.012, "the difference of +0.002 [-0.010, 0.012] is within noise"),
        (-0.01, -0.002, 0.012, "the difference of -0.002 [-0.010, 0.012] is within noise"),
        (-0.08, -0.05, -0.02, "the loss of 0.050 (difference [-0.080, -0.020]) is beyond noise"),
    ],
)
def test_the_headline_claims_what_the_interval_allows(
    low: float, mean: float, high: float, words: str
) -> None:
    found = result()
    found["gain"] = {"over": "average", "test": {"mean": mean, "low": low, "high": high}, "seen": low > 0}
    said = headline(found)
    assert f"; {words}." in said
    test, average = found["best"]["test"], found["baselines"]["average"]["test"]
    assert said.startswith(f"The searched merge scores {test['score']:.3f} [{test['low']:.3f}, ")
    assert f"plain average {average['score']:.3f} [" in said


def test_the_headline_without_test_or_baseline_or_winner() -> None:
    assert "without a test split" in headline(result(test=False))
    assert "noise" not in headline({**result(), "gain": None})
    assert (
        headline({**result(), "best": None}) == "No candidate could be scored, so there is no merge to show."
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (245, "4 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(0, 1e6))
def test_a_duration_is_right_to_its_last_unit(seconds: float) -> None:
    units = {"h": 3600.0, "min": 60.0, "s": 1.0}
    words = duration(seconds).split()
    total = sum(float(value) * units[unit] for value, unit in zip(words[::2], words[1::2], strict=True))
    assert abs(total - seconds) <= {"h": 30.0, "min": 0.5, "s": 0.05}[words[1]] + 1e-9


def test_the_headline_names_the_merge_that_does_better_without_a_search() -> None:
    found = result()
    for entry in found["baselines"].values():
        entry["test"]["score"] = 0.1
    assert "Without a search" not in headline(found)
    found["baselines"]["ensemble"] = {
        **found["baselines"]["ties"],
        "test": {"score": 1.2, "low": 1, "high": 1},
    }
    assert "Without a search" not in headline(found)  # it is not one model
    found["baselines"]["ties"]["test"]["score"] = 1.1
    assert "Without a search default TIES scores more: 1.100 [" in headline(found)
