from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from click.testing import CliRunner
from PIL import Image

from searchmerge.cli import cli
from searchmerge.report import comparison as report
from searchmerge.types import UserError
from tests.report.comparisons import comparison
from tests.report.test_report import HOSTILE, Reader

FIGURES = {
    "best-by-evaluations",
    "best-by-seconds",
    "targets",
    "ranks",
    "dev-and-test",
    "coefficients-task-arithmetic",
}
TABLES = {"final", "pairs-dev", "pairs-test", "left-on-test", "without-a-search", "runs"}


def written(folder: Path) -> Reader:
    return Reader(report.write(folder).read_text(encoding="utf-8"))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def assert_sound(page: Reader, folder: Path) -> None:
    """Nothing is run or fetched, every id is there once, and every link into the folder leads somewhere."""
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "img"}
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        for key in ("src", "xlink:href", "data", "action", "srcset"):
            assert str(attributes.get(key, "#")).startswith("#")
        if href := attributes.get("href"):
            if tag != "a":
                assert href[1:] in ids
            elif not href.startswith("https://"):
                assert href.startswith("./")
                assert (folder / unquote(href)).exists(), href
    content = (folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"url\((?!#)|@import|http://", content)
    fetched = re.findall(r"https://[^\s\"<]+", re.sub(r'<a href="[^"]*">[^<]*</a>', "", content))
    assert not fetched


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A comparison with all that a page may show of coefficients, and its page."""
    folder = tmp_path_factory.mktemp("whole")
    content = comparison(("de", "random", "tpe"), seeds=8, folder=folder)
    report.write(folder)
    return folder, content


def test_the_page_has_every_sentence_figure_and_table(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, content = whole
    page = Reader((folder / "report.html").read_text(encoding="utf-8"))
    assert_sound(page, folder)
    for sentence in content["statistics"]["sentences"]:
        assert sentence in page.text
    assert page.text.index(content["statistics"]["sentences"][0]) < page.text.index("Final scores")
    assert names(folder / "figures") == {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")}
    assert names(folder / "tables") == {f"{name}.{kind}" for name in TABLES for kind in ("csv", "md", "tex")}
    links = {attributes.get("href") for tag, attributes in page.tags if tag == "a"}
    assert {f"./figures/{name}" for name in names(folder / "figures")} <= links
    assert {f"./tables/{name}" for name in names(folder / "tables")} <= links
    assert {f"./{run['folder']}/" for run in content["runs"]} <= links
    for text in ("0.500 on dev and 0.490 on test", "numpy 2.4.1", "in searchmerge 0.1.0", "2 min 03 s"):
        assert text in page.text
    assert "24 of 24" in page.text
    assert "has not ended" not in page.text
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 2 * len(FIGURES)


def test_equal_comparisons_give_equal_files(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = whole
    made = [folder / "report.html", *(folder / "figures").iterdir(), *(folder / "tables").iterdir()]
    first = {path: path.read_bytes() for path in made}
    report.write(folder)
    assert {path: path.read_bytes() for path in made} == first


def test_figures_as_files_are_whole_drawings(whole: tuple[Path, dict[str, Any]]) -> None:
    for name in FIGURES:
        drawn = (whole[0] / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        assert drawn.startswith("<?xml")
        assert "var(" not in drawn
        assert "#fefefe" in drawn
        with Image.open(whole[0] / "figures" / f"{name}.png") as image:
            assert image.size[0] > 200


def test_a_hostile_name_is_only_text(tmp_path: Path) -> None:
    comparison((HOSTILE, "de_50%", "a & b"), spaces=(HOSTILE, "javascript:alert(1)"), folder=tmp_path)
    content = json.loads((tmp_path / "comparison.json").read_text())
    content |= {
        "name": HOSTILE,
        "leaks": [{"count": 1, "of": 2, "between": HOSTILE}],
        "versions": {HOSTILE: HOSTILE},
    }
    content["references"][HOSTILE]["name"] = HOSTILE
    content["statistics"]["sentences"][0] = HOSTILE
    (tmp_path / "comparison.json").write_text(json.dumps(content))
    page = written(tmp_path)
    assert_sound(page, tmp_path)
    assert page.text.count(HOSTILE) > 20
    assert "<script" not in (tmp_path / "report.html").read_text()
    for path in (tmp_path / "figures").glob("*.svg"):
        assert "<script" not in path.read_text()


@pytest.mark.parametrize("leave_out", [6, 9, 10])
def test_an_unfinished_comparison_says_how_far_it_is(tmp_path: Path, leave_out: int) -> None:
    comparison(leave_out=leave_out, folder=tmp_path)
    page = written(tmp_path)
    assert_sound(page, tmp_path)
    assert f"Nothing can be compared yet: {10 - leave_out} of 10 runs" in page.text
    assert "--resume" in page.text
    assert "Final scores" not in page.text
    assert not names(tmp_path / "figures")
    assert names(tmp_path / "tables") == {"runs.csv", "runs.md", "runs.tex"}


def test_a_comparison_of_the_seeds_so_far_is_marked_as_one(tmp_path: Path) -> None:
    comparison(seeds=2, leave_out=1, folder=tmp_path)
    page = written(tmp_path)
    assert "The comparison has not ended: 3 of 4 runs are there" in page.text
    assert "Final scores" in page.text


@pytest.mark.parametrize("tested", [True, False])
def test_one_strategy_with_one_seed(tmp_path: Path, tested: bool) -> None:
    comparison(("de",), seeds=1, tested=tested, folder=tmp_path)
    page = written(tmp_path)
    assert_sound(page, tmp_path)
    made = {path.partition(".")[0] for path in names(tmp_path / "figures")}
    assert made == FIGURES - {"ranks"} - (set() if tested else {"dev-and-test"})
    assert "Pairs" not in page.text
    assert ("What is left on test" in page.text) == tested


def test_many_strategies_have_their_bands_one_by_one(tmp_path: Path) -> None:
    comparison(tuple(f"strategy {place}" for place in range(7)), seeds=1, budget=3, folder=tmp_path)
    page = written(tmp_path)
    assert_sound(page, tmp_path)
    assert {"bands-by-evaluations.svg", "bands-by-seconds.png"} <= names(tmp_path / "figures")
    assert "Pairs on dev, 21 in all" in page.text


def test_where_nothing_beats_the_default_merge_there_are_no_targets(tmp_path: Path) -> None:
    content = comparison(budget=1, folder=tmp_path)
    assert content["statistics"]["targets"] is None
    page = written(tmp_path)
    assert "targets.svg" not in names(tmp_path / "figures")
    assert "No run found anything better than the default merge" in page.text


def test_paths_are_drawn_one_by_one(tmp_path: Path) -> None:
    content = comparison(("de", "de ", "random"), kind="paths", seeds=2, budget=5, folder=tmp_path)
    page = written(tmp_path)
    assert_sound(page, tmp_path)
    for stem in ("de", "de-2", "random"):
        assert {f"path-task-arithmetic-{stem}.{kind}" for kind in ("png", "svg")} < names(
            tmp_path / "figures"
        )
    assert "A lane is a model" in page.text
    for name in ("de", "de ", "random"):
        runs = [run for run in content["runs"] if run["strategy"] == name]
        best = max(runs, key=lambda run: run["best"]["dev"]["score"])
        steps = best["recipe"]["stacks"]["encoder.layer"]
        assert ", ".join(f"{source} {place}" for source, place in steps) in page.text


def test_a_journal_that_is_missing_is_named(tmp_path: Path) -> None:
    content = comparison(kind="paths", folder=tmp_path)
    for run in content["runs"]:
        (tmp_path / run["folder"] / "journal.jsonl").unlink()
    with pytest.raises(UserError, match=r"journal\.jsonl"):
        report.write(tmp_path)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"name": "a"}'])
def test_a_folder_without_a_whole_comparison_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "comparison.json").write_text(content)
    with pytest.raises(UserError, match=r"comparison\.json"):
        report.write(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_the_command_writes_the_page_of_what_lies_there(tmp_path: Path) -> None:
    comparison(("de",), seeds=1, folder=tmp_path)
    called: Any = CliRunner().invoke(cli, ["report", str(tmp_path)])
    assert called.exit_code == 0, called.output
    assert called.output.strip() == str(tmp_path / "report.html")
    assert "searchmerge: comparison tasks" in (tmp_path / "report.html").read_text()
