from __future__ import annotations

import csv
import math
import statistics as naive
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from searchmerge import journal
from searchmerge.report.comparison import show, writers
from searchmerge.report.comparison.content import Compared
from searchmerge.report.comparison.table import Column, Table
from searchmerge.report.comparison.tables import tables
from tests.report.comparisons import comparison

STRATEGIES = ("de", "random", "tpe")


def read(content: Mapping[str, Any], name: str) -> list[dict[str, str]]:
    table = next(table for table in tables(Compared(content)) if table.name == name)
    return list(csv.DictReader(StringIO(writers.as_csv(table))))


def lasts(content: Mapping[str, Any], space: str, split: str) -> dict[str, list[float]]:
    """The winners' scores by strategy, in the order of seeds."""
    return {
        name: [
            run["best"][split]["score"]
            for run in sorted(content["runs"], key=lambda run: run["seed"])
            if run["strategy"] == name and run["space"] == space
        ]
        for name in content["strategies"]
    }


def mean_ranks(columns: Sequence[Sequence[float]]) -> list[float]:
    """Naively: one more than how many are better, ties sharing."""
    ranks = [
        [1 + sum(o > own for o in row) + (sum(o == own for o in row) - 1) / 2 for own in row]
        for row in zip(*columns, strict=True)
    ]
    return [naive.fmean(column) for column in zip(*ranks, strict=True)]


@pytest.mark.parametrize("spaces", [("small",), ("small", "large")])
def test_the_final_scores_are_those_of_the_runs(spaces: tuple[str, ...]) -> None:
    content = comparison(STRATEGIES, spaces=spaces)
    rows = {(row["space"], row["strategy"]): row for row in read(content, "final")}
    every = {space: [space] for space in spaces} | ({"all spaces": list(spaces)} if spaces[1:] else {})
    assert set(rows) == {(space, name) for space in every for name in STRATEGIES}
    for group, members in every.items():
        for split in ("dev", "test"):
            found = [lasts(content, space, split) for space in members]
            blocks = [[each for scores in found for each in scores[name]] for name in STRATEGIES]
            for name, rank in zip(STRATEGIES, mean_ranks(blocks), strict=True):
                row = rows[group, name]
                values = [naive.fmean(of) for of in zip(*(scores[name] for scores in found), strict=True)]
                assert float(row[f"{split} mean"]) == pytest.approx(naive.fmean(values), rel=1e-10)
                assert float(row[f"{split} deviation"]) == pytest.approx(naive.stdev(values), rel=1e-9)
                assert float(row[f"{split} low"]) < naive.fmean(values) < float(row[f"{split} high"])
                assert float(row[f"mean rank on {split}"]) == pytest.approx(rank)
                assert row["seeds"] == "5"
    last = [row for (group, _), row in rows.items() if group == list(every)[-1]]
    assert [float(row["mean rank on dev"]) for row in last] == sorted(
        content["statistics"]["dev"]["ranks"]["mean"].values()
    )


def test_areas_and_evaluations_follow_from_the_journals(tmp_path: Path) -> None:
    content = comparison(STRATEGIES, seeds=3, spaces=("small", "large"), folder=tmp_path)
    scores = {
        (run["space"], run["strategy"], run["seed"]): [
            trial.score for trial in journal.read(tmp_path / run["folder"] / "journal.jsonl")[1]
        ]
        for run in content["runs"]
    }
    tops = {
        space: max(max(of) for (where, *_), of in scores.items() if where == space)
        for space in ("small", "large")
    }
    hits: dict[tuple[str, str], list[float]] = {}
    areas: dict[tuple[str, str], list[float]] = {}
    for (space, name, _), of in scores.items():
        target = tops[space] - (tops[space] - 0.5) * 10 ** (-26 / 25)
        best = [max(of[: place + 1]) for place in range(len(of))]
        first = next((place for place, score in enumerate(best, 1) if score >= target), math.inf)
        hits.setdefault((space, name), []).append(first)
        areas.setdefault((space, name), []).append((naive.fmean(best) - 0.5) / (tops[space] - 0.5))
    reached = 0
    for row in read(content, "final"):
        where = ["small", "large"] if row["space"] == "all spaces" else [row["space"]]
        evaluations = naive.median(each for space in where for each in hits[space, row["strategy"]])
        assert float(row["evaluations to the median target"]) == evaluations
        area = naive.fmean(each for space in where for each in areas[space, row["strategy"]])
        assert float(row["area mean"]) == pytest.approx(area)
        reached += math.isfinite(evaluations)
    assert 0 < reached < 9


def test_pairs_and_what_is_left_are_the_statistics(tmp_path: Path) -> None:
    content = comparison(STRATEGIES, seeds=8)
    for split in ("dev", "test"):
        rows = read(content, f"pairs-{split}")
        for row, pair in zip(rows, content["statistics"][split]["pairs"], strict=True):
            assert (row["one"], row["other"]) == (pair["one"], pair["other"])
            for part in ("probability", "difference"):
                assert float(row[part]) == pair[part]["value"]
                assert float(row[f"{part} low"]) == pair[part]["low"]
                assert float(row[f"{part} high"]) == pair[part]["high"]
            assert [float(row[f"probability exact {end}"]) for end in ("low", "high")] == pair["exact"]
            assert float(row["p"]) == pair["p"]
            assert float(row["corrected p"]) == pair["corrected"]
            assert row["told apart"] == ("yes" if pair["corrected"] <= 0.05 else "no")
        assert {row["told apart"] for row in rows} == {"yes", "no"}
    selection = content["statistics"]["selection"]
    rows = read(content, "left-on-test")
    for row, found in zip(rows, [*selection["strategies"].values(), selection["field"]], strict=True):
        for head, part in {"gain on dev": "dev", "gain on test": "test", "share left": "share"}.items():
            assert float(row[head]) == found[part]["value"]
            assert float(row[f"{head} low"]) == found[part]["low"]
            assert float(row[f"{head} high"]) == found[part]["high"]


def test_a_left_out_block_counts_in_no_table_but_that_of_runs() -> None:
    content = comparison(leave_out=1)
    assert {row["seeds"] for row in read(content, "final")} == {"4"}
    scores = lasts(content, "task-arithmetic", "dev")["de"][:4]
    row = next(row for row in read(content, "final") if row["strategy"] == "de")
    assert float(row["dev mean"]) == pytest.approx(naive.fmean(scores))
    assert row["dev low"] == ""  # four seeds have no interval
    assert len(read(content, "runs")) == 9


def test_without_test_scores_or_statistics_there_are_fewer_tables() -> None:
    def names(**how: Any) -> list[str]:
        return [table.name for table in tables(Compared(comparison(**how)))]

    assert names(tested=False) == ["final", "pairs-dev", "runs"]
    assert names(leave_out=6) == ["runs"]
    assert names(strategies=("de",), seeds=1) == ["final", "left-on-test", "without-a-search", "runs"]


def test_one_seed_has_no_deviation() -> None:
    row = read(comparison(("de",), seeds=1), "final")[0]
    assert row["dev deviation"] == row["dev low"] == row["area deviation"] == ""
    assert row["mean rank on dev"] == "1.0"


def test_what_needs_no_search_stands_apart() -> None:
    content = comparison(("de", "random"))
    rows = read(content, "without-a-search")
    assert [row["merge or model"] for row in rows] == ["plain average", "expert <b>"]
    for row, each in zip(rows, content["baselines"].values(), strict=True):
        for split in ("dev", "test"):
            assert float(row[split]) == each[split]["score"]
            assert (float(row[f"{split} low"]), float(row[f"{split} high"])) == (
                each[split]["low"],
                each[split]["high"],
            )


HOSTILE = "a_b & 50% [x] {y} $z$ #1 ~ ^ \\ <script>|`"


def test_every_sign_is_text_in_latex_and_markdown() -> None:
    table = Table(
        "t", "T", "", (Column("n_1", words=True), Column("50%", "{:.0%}".format)), (((HOSTILE,), (0.5,)),)
    )
    latex = writers.as_latex(table)
    assert r"n\_1 & 50\% \\" in latex
    escaped = (
        r"a\_b \& 50\% {[}x{]} \{y\} \$z\$ \#1 \textasciitilde{} \textasciicircum{} \textbackslash{} "
        r"\textless{}script\textgreater{}\textbar{}` & 50\% \\"
    )
    assert escaped in latex.splitlines()
    markdown = writers.as_markdown(table).splitlines()[2]
    assert markdown.startswith(r"| a\_b &amp; 50% \[x\] {y} $z$ #1 ~ ^ \\ &lt;script>\|\` | 50% |")


@given(st.text(st.characters(exclude_categories=("C", "Z")), max_size=40))
def test_what_latex_is_given_balances_and_says_the_same(text: str) -> None:
    said = writers.escaped(text)
    bare = said.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    for command, sign in {
        r"\textbackslash{}": "\0", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
        r"\textgreater{}": ">", r"\textbar{}": "|", "{[}": "[", "{]}": "]", "--": "–", r"$\pm$": "±",
    }.items():  # fmt: skip
        said = said.replace(command, sign)
    if "--" not in text:
        assert said.replace("\\", "").replace("\0", "\\") == text


def test_long_tables_break_over_pages_and_short_ones_do_not() -> None:
    content = comparison(tuple(f"s{place}" for place in range(10)), seeds=1)
    written = {table.name: writers.as_latex(table) for table in tables(Compared(content))}
    assert r"\begin{longtable}{llrrrl}" in written["pairs-dev"]
    assert r"\endhead" in written["pairs-dev"]
    assert r"\begin{tabular}" in written["final"]
    for text in written.values():
        assert r"\toprule" in text
        assert r"\bottomrule" in text


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("spaces", [("small",), ("small", "large")])
def test_the_terminal_shows_every_figure_whole(width: int, spaces: tuple[str, ...]) -> None:
    table = tables(Compared(comparison(STRATEGIES, spaces=spaces)))[0]
    console = Console(width=width, record=True, file=StringIO())
    for shown in writers.terminal(table, width):
        console.print(shown)
    text = console.export_text().replace("\u00a0", " ")
    assert max(map(len, text.splitlines())) <= width
    for _, lines in table.groups:
        for name, *figures in lines:
            assert name in text
            assert all(part in text for figure in figures for part in figure.split(" [")[0:1])
            assert all(figure.partition("[")[2] in text for figure in figures)


def test_show_says_the_sentences_and_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    content = comparison(leave_out=1)
    show(content)
    said = capsys.readouterr().out
    assert all(sentence in said for sentence in content["statistics"]["sentences"])
    assert "9 of 10 runs are there" in said
    show(comparison(leave_out=6))
    said = capsys.readouterr().out
    assert "4 of 10 runs have ended" in said
    show(comparison(leave_out=10))
    assert "0 of 10 runs have ended" in capsys.readouterr().out
