"""Bootstrap intervals against scipy's, and against resampling in a loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from searchmerge.objective import METRICS, Objective, bootstrap
from searchmerge.objective.bootstrap import gain, interval, sag, task_intervals
from searchmerge.objective.metrics import confusion
from tests.fixtures import tiny_tokenizer
from tests.objective.making import objective, task, write

Labels: TypeAlias = npt.NDArray[np.int64]
Judge: TypeAlias = Callable[..., Objective]

NOISE = 0.012
"""Four standard errors of a percentile of 4000 resamples of the spreads below."""


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """Makes an objective of tasks given as (gold labels, metric, weight); the texts do not matter."""
    tokenizer: Any = tiny_tokenizer(tmp_path)

    def make(*tasks: tuple[Labels, str, float]) -> Objective:
        sections = [
            task(
                write(tmp_path / f"{number}.jsonl", [{"text": "w1", "label": int(label)} for label in gold]),
                name=str(number),
                metric=metric,
                weight=weight,
            )
            for number, (gold, metric, weight) in enumerate(tasks)
        ]
        return objective(tokenizer, *sections, labels={"merged": {"a": 0, "b": 1, "c": 2}})

    return make


def answers(n: int, right: float, seed: int) -> tuple[Labels, Labels]:
    """Gold labels of three kinds, and predictions of which about the fraction ``right`` is right."""
    rng = np.random.default_rng(seed)
    gold = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    return gold, np.where(rng.random(n) < right, gold, rng.integers(0, 3, n))


@pytest.mark.parametrize("metric", METRICS)
def test_interval_is_scipys(judge: Judge, metric: str) -> None:
    gold, predicted = answers(150, 0.7, 0)
    ours = interval(judge((gold, metric, 1.0)), {"0": predicted}, resamples=4000)
    reference = stats.bootstrap(
        (gold, predicted),
        lambda gold, predicted: METRICS[metric].of(confusion(gold, predicted, 3)),
        paired=True,
        vectorized=False,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert ours == pytest.approx((reference.low, reference.high), abs=NOISE)
    assert ours.high - ours.low > 5 * NOISE


def test_tasks_are_resampled_apart_and_averaged_by_weight(judge: Judge) -> None:
    (gold_a, mine_a), (gold_b, mine_b) = answers(80, 0.9, 2), answers(120, 0.4, 3)
    two = judge((gold_a, "accuracy", 3.0), (gold_b, "macro_f1", 1.0))
    rng = np.random.default_rng(4)
    scores = []
    for _ in range(4000):
        a, b = rng.integers(0, 80, 80), rng.integers(0, 120, 120)
        accuracy = METRICS["accuracy"].of(confusion(gold_a[a], mine_a[a], 3))
        f1 = METRICS["macro_f1"].of(confusion(gold_b[b], mine_b[b], 3))
        scores.append((3 * accuracy + f1) / 4)
    expected = np.quantile(scores, [0.05, 0.95])
    assert interval(two, {"0": mine_a, "1": mine_b}, resamples=4000, level=0.9) == pytest.approx(
        expected, abs=NOISE
    )


def test_gain_is_paired(judge: Judge) -> None:
    gold, theirs = answers(150, 0.6, 5)
    ours = np.where(np.arange(150) < 60, gold, theirs)
    one = judge((gold, "accuracy", 1.0))
    found = gain(one, {"0": ours}, {"0": theirs}, resamples=4000)
    difference = (ours == gold).astype(float) - (theirs == gold)
    reference = stats.bootstrap(
        (difference,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(6)
    ).confidence_interval
    assert found == pytest.approx((difference.mean(), reference.low, reference.high), abs=NOISE)
    # Each one's own interval would not tell the two apart.
    assert interval(one, {"0": ours}).low < interval(one, {"0": theirs}).high
    assert found.low > 0


def test_gain_over_itself_is_nothing(judge: Judge) -> None:
    (gold_a, mine_a), (gold_b, mine_b) = answers(50, 0.5, 7), answers(60, 0.5, 8)
    two = judge((gold_a, "macro_f1", 1.0), (gold_b, "matthews", 2.0))
    outcomes = {"0": mine_a, "1": mine_b}
    assert gain(two, outcomes, outcomes) == (0.0, 0.0, 0.0)


def test_gain_turns_with_its_sides(judge: Judge) -> None:
    gold, ours = answers(60, 0.8, 9)
    theirs = answers(60, 0.4, 10)[1]
    one = judge((gold, "macro_f1", 1.0))
    forth, back = (gain(one, {"0": a}, {"0": b}, resamples=4000) for a, b in ((ours, theirs), (theirs, ours)))
    assert forth == pytest.approx((-back.difference, -back.high, -back.low), abs=2 * NOISE)


def test_each_task_has_the_interval_it_has_alone(judge: Judge) -> None:
    (gold_a, mine_a), (gold_b, mine_b) = answers(80, 0.9, 11), answers(120, 0.4, 12)
    both = task_intervals(
        judge((gold_a, "accuracy", 3.0), (gold_b, "matthews", 1.0)), {"0": mine_a, "1": mine_b}
    )
    assert both["0"] == interval(judge((gold_a, "accuracy", 1.0)), {"0": mine_a})
    alone = interval(judge((gold_b, "matthews", 1.0)), {"0": mine_b}, resamples=4000)
    assert both["1"] == pytest.approx(alone, abs=2 * NOISE)


def test_perfect_answers_leave_no_doubt(judge: Judge) -> None:
    gold, _ = answers(40, 1.0, 13)
    assert interval(judge((gold, "accuracy", 1.0)), {"0": gold}) == (1.0, 1.0)


def test_seed_decides(judge: Judge) -> None:
    gold, predicted = answers(100, 0.6, 14)
    one = judge((gold, "matthews", 1.0))
    assert interval(one, {"0": predicted}, seed=1) == interval(one, {"0": predicted}, seed=1)
    assert interval(one, {"0": predicted}, seed=1) != interval(one, {"0": predicted}, seed=2)


def test_many_labels_are_counted_in_blocks(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    gold, predicted = answers(100, 0.6, 15)
    one = judge((gold, "macro_f1", 1.0))
    whole = interval(one, {"0": predicted})
    monkeypatch.setattr(bootstrap, "_ENTRIES", 64)
    assert interval(one, {"0": predicted}) == whole


def test_the_sag_below_a_line_is_that_of_resampled_examples(judge: Judge) -> None:
    gold, first = answers(150, 0.9, 16)
    between, last = answers(150, 0.5, 17)[1], answers(150, 0.6, 18)[1]
    one = judge((gold, "accuracy", 1.0))
    found = sag(one, {"0": between}, ({"0": first}, {"0": last}), 0.25, resamples=4000)
    below = 0.75 * (first == gold) + 0.25 * (last == gold) - (between == gold)
    reference = stats.bootstrap(
        (below,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(19)
    ).confidence_interval
    assert found.difference == pytest.approx(below.mean())
    assert found[1:] == pytest.approx((reference.low, reference.high), abs=NOISE)


def test_below_a_flat_line_the_sag_is_the_lost_gain(judge: Judge) -> None:
    gold, ends = answers(100, 0.8, 20)
    between = answers(100, 0.6, 21)[1]
    one = judge((gold, "macro_f1", 1.0))
    found = sag(one, {"0": between}, ({"0": ends}, {"0": ends}), 0.3)
    assert found == pytest.approx(gain(one, {"0": ends}, {"0": between}))
