"""From several tasks' metrics to one score, against naive loops."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.objective.aggregate import aggregate
from searchmerge.objective.metrics import METRICS
from searchmerge.types import UserError

LOSS, ACCURACY = METRICS["language-modeling"]["loss"], METRICS["single-label"]["accuracy"]


def task(name: str, weight: float, lower: bool) -> Any:
    return SimpleNamespace(name=name, weight=weight, metric=LOSS if lower else ACCURACY)


def naive(word: str, tasks: list[Any], metrics: dict[str, float], owners: dict[str, float]) -> float:
    scores = []
    for each in tasks:
        value, own = metrics[each.name], owners[each.name]
        if word == "relative":
            scores.append(own / value if each.metric.lower else value / own)
        else:
            scores.append(-value if each.metric.lower else value)
    if word == "worst":
        return min(scores)
    total = weights = 0.0
    for each, score in zip(tasks, scores, strict=True):
        total, weights = total + each.weight * score, weights + each.weight
    return total / weights


positive = st.floats(0.01, 5)


@pytest.mark.parametrize("word", ["mean", "worst", "relative", "pareto"])
@given(st.lists(st.tuples(positive, st.booleans(), positive, st.tuples(positive, positive)), min_size=1))
def test_equals_a_loop_of_one_and_of_many(word: str, drawn: list[tuple[float, bool, float, Any]]) -> None:
    tasks = [task(str(number), weight, lower) for number, (weight, lower, *_) in enumerate(drawn)]
    owners = {each.name: own for each, (_, _, own, _) in zip(tasks, drawn, strict=True)}
    metrics = {each.name: np.array(values) for each, (*_, values) in zip(tasks, drawn, strict=True)}
    found = aggregate(word, tasks, owners)(metrics)
    assert found.shape == (2,)
    for row in (0, 1):
        alone = {name: values[row] for name, values in metrics.items()}
        assert found[row] == pytest.approx(naive(word, tasks, alone, owners))
        assert float(aggregate(word, tasks, owners)(alone)) == pytest.approx(found[row])


@pytest.mark.parametrize("word", ["mean", "worst", "relative", "pareto"])
def test_what_is_better_is_better_whichever_way_its_metric_goes(word: str) -> None:
    for lower in (False, True):
        combined = aggregate(word, [task("a", 1.0, lower)], {"a": 0.5})
        better, worse = (0.2, 0.4) if lower else (0.4, 0.2)
        assert combined({"a": np.array(better)}) > combined({"a": np.array(worse)})


def test_the_own_expert_scores_one_relative_to_itself() -> None:
    tasks, own = [task("a", 3.0, False), task("b", 1.0, True)], {"a": 0.8, "b": 2.5}
    assert aggregate("relative", tasks, own)({k: np.array(v) for k, v in own.items()}) == pytest.approx(1)


def test_a_loss_that_may_still_be_nothing_leaves_a_relative_score_without_bound() -> None:
    combined = aggregate("relative", [task("a", 1.0, True)], {"a": 2.0})
    assert combined({"a": np.array(0.0)}) == math.inf


@pytest.mark.parametrize("own", [0.0, -0.1, math.nan, math.inf, None])
def test_an_expert_that_nothing_can_be_divided_by_is_refused(own: float | None) -> None:
    owners = {"b": 1.0} if own is None else {"a": own, "b": 1.0}
    tasks = [task("a", 1.0, False), task("b", 1.0, False)]
    with pytest.raises(UserError, match="accuracy above 0 of the own expert of the task a") as caught:
        aggregate("relative", tasks, owners)
    assert caught.value.got == str(own)
    assert "aggregate: mean" in caught.value.cure
    for word in ("mean", "worst", "pareto"):
        assert aggregate(word, tasks, owners)({"a": np.array(0.5), "b": np.array(0.5)}) == 0.5
