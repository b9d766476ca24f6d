from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.baselines import baselines
from searchmerge.bench import Bench
from searchmerge.compatibility.line import STEPS, drops, evaluations, lines
from searchmerge.config import load
from searchmerge.types import Evaluation, Recipe
from tests.family import tiny_family

scores = st.lists(st.floats(0, 1), min_size=5, max_size=5)


@given(scores)
def test_a_drop_is_measured_from_the_straight_line(planted: list[float]) -> None:
    found = drops(planted)
    for place, drop in enumerate(found):
        assert drop == pytest.approx(planted[0] + (planted[4] - planted[0]) * place / 4 - planted[place])
    assert found[0] == found[4] == 0


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(load(tiny_family(tmp_path_factory.mktemp("family"))))


def test_the_ends_are_the_experts_and_the_middle_their_mean(bench: Bench) -> None:
    said: list[str] = []
    (found,) = lines(bench, said.append).values()
    known = {rival.name: rival.on("dev")[0].score for rival in baselines(bench)}
    assert (found.scores[0], found.scores[4]) == (known["expert animals"], known["expert colours"])
    assert found.scores[2] == known["average"]
    assert found.barrier == max(0, *drops(found.scores))
    assert [line.split()[0] for line in said] == ["1/5", "2/5", "5/5"]


def planted(at: dict[float, float], bench: Bench) -> Any:
    """Scores by how much of ``colours`` is in a merge; answers that are right as often."""
    dev = bench.objective("dev")

    def evaluated(recipe: Recipe) -> Evaluation:
        weights = recipe["knobs"]["weight"]
        assert sum(weights.values()) == 1
        right = at[weights["colours"]]
        if math.isnan(right):
            raise FloatingPointError("logits")
        outcomes = {
            task.name: np.where(
                np.arange(task.gold.size) < right * task.gold.size, task.gold, task.gold.max()
            )
            for task in dev.tasks
        }
        return Evaluation(right, {}, outcomes)

    return evaluated


def test_the_barrier_is_the_deepest_drop_of_planted_scores(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = dict(zip(STEPS, (0.25, 0.75, 0.25, 0.5, 1.0), strict=True))
    monkeypatch.setattr(bench, "evaluate", planted(at, bench))
    found = lines(bench, lambda _: None)["animals", "colours"]
    assert found.scores == tuple(at.values())
    assert found.barrier == pytest.approx(0.5 * 0.25 + 0.5 * 1.0 - 0.25)
    assert 0 < found.low < found.barrier


def test_without_a_drop_there_is_no_barrier(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    at = dict(zip(STEPS, (0.25, 0.75, 0.75, 0.75, 0.25), strict=True))
    monkeypatch.setattr(bench, "evaluate", planted(at, bench))
    found = lines(bench, lambda _: None)["animals", "colours"]
    assert (found.barrier, found.low) == (0, 0)


def test_a_model_that_cannot_be_scored_leaves_no_barrier(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = dict(zip(STEPS, (0.5, math.nan, 0.5, 0.5, 0.5), strict=True))
    monkeypatch.setattr(bench, "evaluate", planted(at, bench))
    found = lines(bench, lambda _: None)["animals", "colours"]
    assert math.isnan(found.barrier)
    assert math.isnan(found.scores[1])


@pytest.mark.parametrize(("experts", "count"), [(1, 1), (2, 5), (3, 12), (4, 22)])
def test_what_is_told_beforehand(experts: int, count: int) -> None:
    assert evaluations(experts) == count
