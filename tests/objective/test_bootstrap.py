"""Bootstrap intervals against scipy's, and against resampling in a loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats

from searchmerge.objective import METRICS, Objective
from searchmerge.objective.bootstrap import gain, interval, sag, task_intervals, unseen
from tests.fixtures import tiny_tokenizer
from tests.objective.making import CPU, objective, task, write

Labels: TypeAlias = npt.NDArray[Any]
Judge: TypeAlias = Callable[..., Objective]

SINGLE = METRICS["single-label"]
THREE = [name for name in SINGLE if name != "f1"]
"""Metrics of three labels."""

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


@pytest.mark.parametrize("metric", THREE)
def test_interval_is_scipys(judge: Judge, metric: str) -> None:
    gold, predicted = answers(150, 0.7, 0)
    ours = interval(judge((gold, metric, 1.0)), {"0": predicted}, resamples=4000)
    reference = stats.bootstrap(
        (gold, predicted),
        SINGLE[metric].value,
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
        accuracy = SINGLE["accuracy"].value(gold_a[a], mine_a[a])
        f1 = SINGLE["macro_f1"].value(gold_b[b], mine_b[b])
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


def test_what_is_unseen_is_half_an_interval(judge: Judge) -> None:
    gold, predicted = answers(100, 0.6, 22)
    low, high = interval(judge((gold, "accuracy", 1.0)), {"0": predicted})
    assert unseen(judge((gold, "accuracy", 1.0)), {"0": predicted}) == (high - low) / 2 > 0


# Examples of other kinds, whose metrics need more than a label each.


def other(base: Objective, kind: str, metric: str, gold: Labels, **options: Any) -> Objective:
    """An objective of one task with another metric and truth."""
    task = replace(base.tasks[0], metric=METRICS[kind][metric], gold=gold)
    return Objective([task], precision=torch.float32, device=CPU, **options)


def drawn(kind: str, metric: str) -> tuple[Labels, Labels]:
    rng = np.random.default_rng(23)
    if kind == "multi-label":
        gold = rng.random((150, 4)) < 0.4
        return gold, gold ^ (rng.random((150, 4)) < 0.2)
    if kind == "regression":
        gold = np.round(rng.standard_normal(150), 1).astype(np.float32)  # with ties
        return gold, (gold + rng.standard_normal(150)).astype(np.float32)
    words = rng.integers(1, 10, 150)
    nats = np.stack([0.2 * words * rng.random(150), words], 1)
    right = np.stack([rng.integers(0, words + 1), words], 1)
    return np.stack([words, words], 1), nats if kind == "language-modeling" else right


@pytest.mark.parametrize(
    ("kind", "metric"),
    [
        (kind, metric)
        for kind in ("multi-label", "regression", "token-classification", "language-modeling")
        for metric in METRICS[kind]
    ],
)
def test_examples_of_every_kind_are_drawn_again_whole(judge: Judge, kind: str, metric: str) -> None:
    gold, mine = drawn(kind, metric)
    one = other(judge((np.arange(150) % 2, "accuracy", 1.0)), kind, metric, gold)
    rng, scored, value = np.random.default_rng(24), [], METRICS[kind][metric].value
    for _ in range(2000):
        again = rng.integers(0, 150, 150)
        scored.append(value(gold[again], mine[again]))
    expected = np.quantile(scored, [0.025, 0.975])
    found = task_intervals(one, {"0": mine}, resamples=2000)["0"]
    assert found == pytest.approx(expected, abs=0.12 * (expected[1] - expected[0]))
    sign = -1 if one.tasks[0].metric.lower else 1
    assert sorted(sign * each for each in interval(one, {"0": mine}, resamples=2000)) == pytest.approx(found)


@pytest.mark.parametrize("word", ["worst", "relative"])
def test_resampled_scores_are_combined_resample_by_resample(judge: Judge, word: str) -> None:
    """The worst of two that are about as good is mostly worse than either: not as their intervals."""
    (gold_a, mine_a), (gold_b, mine_b) = answers(80, 0.6, 25), answers(120, 0.6, 26)
    own = {"0": 0.9, "1": 0.5}
    plain = judge((gold_a, "accuracy", 3.0), (gold_b, "macro_f1", 1.0))
    two = Objective(plain.tasks, precision=torch.float32, device=CPU, combine=word, owners=own)
    rng, scores, gains = np.random.default_rng(27), [], []
    theirs_a = np.where(np.arange(80) < 20, (gold_a + 1) % 3, mine_a)
    for _ in range(4000):
        a, b = rng.integers(0, 80, 80), rng.integers(0, 120, 120)
        f1 = SINGLE["macro_f1"].value(gold_b[b], mine_b[b])
        both = [(gold_a[a] == of[a]).mean() for of in (mine_a, theirs_a)]
        ours, theirs = (
            min(accuracy, f1) if word == "worst" else (3 * accuracy / 0.9 + f1 / 0.5) / 4 for accuracy in both
        )
        scores.append(ours)
        gains.append(ours - theirs)
    outcomes = {"0": mine_a, "1": mine_b}
    assert interval(two, outcomes, resamples=4000) == pytest.approx(
        np.quantile(scores, [0.025, 0.975]), abs=1.5 * NOISE
    )
    found = gain(two, outcomes, {**outcomes, "0": theirs_a}, resamples=4000)
    assert found[1:] == pytest.approx(np.quantile(gains, [0.025, 0.975]), abs=1.5 * NOISE)
    assert found.difference == two.score_of(outcomes).score - two.score_of({**outcomes, "0": theirs_a}).score
