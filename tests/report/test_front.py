"""The front on the page: every point in the table, and drawn where it lies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from searchmerge.pareto import front as on_front
from searchmerge.pareto import signed
from searchmerge.report import card, front, front_figure, page
from searchmerge.report.figures import NARROW, WIDE, svg
from searchmerge.report.run import read
from searchmerge.types import Evaluation
from tests.report.runs import result, run_folder, trials
from tests.report.test_card import FILE
from tests.report.test_report import HOSTILE, Reader, written


def apart(
    folder: Path, tasks: tuple[str, ...], *, lower: tuple[str, ...] = (), test: bool = True, made: int = 30
) -> dict[str, Any]:
    """Write a run of so many trials whose metrics are random, and give its result."""
    drawn = np.random.default_rng(len(tasks)).uniform(0.2, 0.9, (made, len(tasks)))
    metrics = [dict(zip(tasks, row.tolist(), strict=True)) for row in drawn]
    scores = [float(np.mean(signed(each, tasks, lower))) for each in metrics]
    listed = [
        replace(trial, evaluation=Evaluation(score, each))
        for trial, score, each in zip(trials([0.0] * made, tasks), scores, metrics, strict=True)
    ]
    listed.append(replace(listed[0], number=made, repeats=0))
    places = on_front([signed(each, tasks, lower) for each in metrics])
    found = result(tasks, test=test, trial=int(np.argmax(scores)))
    found["lower"] = list(lower)
    found["front"] = [
        {"trial": n, "dev": metrics[n], "test": {t: v / 3 for t, v in metrics[n].items()} if test else None}
        for n in places
    ]
    found["hypervolume"] = {"reference": dict.fromkeys(tasks, 0.2), "front": 0.12345, "average": 0.0678}
    run_folder(folder, listed, found, tasks)
    return found


def test_every_point_stands_on_the_page_the_best_mean_first(tmp_path: Path) -> None:
    found = apart(tmp_path, ("reviews", "tweets", "news"))
    text = written(tmp_path).text
    assert "searchmerge merge front/trial-" in text
    rows = text[text.index("points of the front, task by task") if len(found["front"]) > front.FEW else 0 :]
    for point in found["front"]:
        row = rows[rows.index(f"trial {point['trial']} ") :] if f"trial {point['trial']} " in rows else ""
        assert all(f"{value:.3f}" in row for value in (*point["dev"].values(), *point["test"].values()))
    for part in (
        f"{len(found['front'])} of its merges are on the front",
        "0.123",
        "0.0678",
        "chosen by test",
    ):
        assert part in text
    listed = front.found(read(tmp_path))
    assert listed is not None
    means = [sum(point["dev"].values()) for point in listed.points]
    assert means == sorted(means, reverse=True)
    assert listed.winner == listed.points[0]["trial"] == found["best"]["trial"]


def test_a_run_of_one_score_and_one_that_goes_on_have_no_front(tmp_path: Path) -> None:
    run_folder(tmp_path, trials([0.5, 0.625]), result(trial=1))
    assert front.found(read(tmp_path)) is None
    assert "The front" not in written(tmp_path).text
    (tmp_path / "result.json").unlink()
    assert front.found(read(tmp_path)) is None


def test_without_test_and_without_baselines_it_is_still_shown(tmp_path: Path) -> None:
    found = apart(tmp_path, ("reviews", "tweets"), test=False)
    found["baselines"] = {"ties": found["baselines"]["ties"]}
    del found["hypervolume"]
    (tmp_path / "journal.jsonl").unlink()
    listed = [
        replace(trial, evaluation=Evaluation(0.5, {"reviews": 0.5, "tweets": 0.5})) for trial in trials([0.5])
    ]
    found["front"], found["best"]["trial"] = (
        [{"trial": 0, "dev": {"reviews": 0.5, "tweets": 0.5}, "test": None}],
        0,
    )
    run_folder(tmp_path, listed, found)
    text = written(tmp_path).text
    assert "1 of its merges is on the front" in text
    for absent in ("volume", "chosen by test", "plain average", "Diamonds"):
        assert absent not in text[text.index("The front") : text.index("The coefficients")]


@pytest.mark.parametrize("lower", [(), ("tweets",), ("reviews", "tweets")])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_two_tasks_are_points_joined_by_steps(tmp_path: Path, lower: tuple[str, ...], width: int) -> None:
    result = apart(tmp_path, ("reviews", "tweets"), lower=lower)
    found = front.found(read(tmp_path))
    assert found is not None
    (axes,) = front_figure.draw(found, width=width).axes
    pairs = sorted((point["dev"]["reviews"], point["dev"]["tweets"]) for point in result["front"])
    (line,) = [line for line in axes.lines if line.get_drawstyle() == "steps-pre"]
    assert sorted(map(tuple, np.asarray(line.get_xydata()).tolist())) == pairs
    x, y = (np.asarray(each) for each in line.get_data())
    up = [-1 if task in lower else 1 for task in ("reviews", "tweets")]
    assert (np.diff(up[0] * x) > 0).all()
    assert (np.diff(up[1] * y) < 0).all()
    assert (axes.xaxis_inverted(), axes.yaxis_inverted()) == ("reviews" in lower, "tweets" in lower)
    others, dots, ring, *_ = axes.collections
    assert len(np.asarray(others.get_offsets())) == 30 - len(pairs), "repeats are not drawn"
    assert len(np.asarray(dots.get_offsets())) == len(pairs)
    best = next(point["dev"] for point in result["front"] if point["trial"] == result["best"]["trial"])
    assert np.asarray(ring.get_offsets()).tolist() == [[best["reviews"], best["tweets"]]]
    texts = {text.get_text() for text in axes.texts}
    assert texts == {f"trial {result['best']['trial']}", "reviews", "tweets", "plain average"}


@pytest.mark.parametrize("count", [3, 4, 6])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_more_tasks_are_lines_over_an_axis_each(tmp_path: Path, count: int, width: int) -> None:
    tasks = tuple(f"task {number}" for number in range(count))
    result = apart(tmp_path, tasks, lower=tasks[1:2])
    found = front.found(read(tmp_path))
    assert found is not None
    figure = front_figure.draw(found, width=width)
    (axes,) = figure.axes
    lines = [line for line in axes.lines if len(np.asarray(line.get_xdata())) == count]
    assert len(lines) == 30 + 1, "the trials and the average"
    best = next(point["dev"] for point in result["front"] if point["trial"] == result["best"]["trial"])
    (thick,) = [line for line in lines if line.get_linewidth() > 2]
    for place in range(count):
        # On each axis, heights are in proportion to the values, and the better is higher: its y is less.
        heights = {float(np.asarray(line.get_ydata())[place]) for line in lines if line.get_alpha() == 0.6}
        drawn = sorted({*heights, float(np.asarray(thick.get_ydata())[place])})
        values = sorted(
            {signed(point["dev"], tasks, found.lower)[place] for point in result["front"]}, reverse=True
        )
        assert len(drawn) == len(values) > 2
        assert np.corrcoef(values, drawn)[0, 1] == pytest.approx(-1)
        rank = values.index(signed(best, tasks, found.lower)[place])
        assert np.asarray(thick.get_ydata())[place] == pytest.approx(drawn[rank])
    texts = [text.get_text() for text in axes.texts]
    assert f"trial {result['best']['trial']}" in texts
    assert [text.endswith("↓") for text in texts].count(True) == 1


def test_a_hostile_task_is_only_text(tmp_path: Path) -> None:
    for count in (2, 3):
        folder = tmp_path / str(count)
        folder.mkdir()
        tasks = (HOSTILE, "tweets", "news")[:count]
        apart(folder, tasks)
        found = front.found(read(folder))
        assert found is not None
        drawn = svg(front_figure.draw(found), "front")
        assert "<script" not in drawn
        content = page.page(read(folder))
        assert "script" not in {tag for tag, _ in Reader(content).tags}


def test_the_card_says_which_point_it_is(tmp_path: Path) -> None:
    found = apart(tmp_path, ("reviews", "tweets"))
    said = card.text(FILE, found)
    assert (
        f"It is trial {found['best']['trial']} of the search, the one of {len(found['front'])} such" in said
    )
    point = {"trial": 7, "of": 9, "dev": {"reviews": 0.8125, "tw|eets": 0.5}}
    said = card.text({**FILE, "point": point}, None)
    assert "trial 7, one of 9 such: reviews 0.812, tw\\|eets 0.500 on dev" in said
    assert "apart" not in card.text(FILE, result())
