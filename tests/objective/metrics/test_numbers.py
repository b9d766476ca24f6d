"""Correlations against SciPy, and how good they can still become against every way to make them so."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import pearsonr, spearmanr

from searchmerge.objective.metrics import METRICS, Array, Seen
from searchmerge.objective.metrics import metric as blocks
from searchmerge.objective.metrics.numbers import PEARSON, PEARSON_SPEARMAN, SPEARMAN
from tests.objective.metrics.checking import Reference, check_bound, check_counts


def by_scipy(correlation: Any) -> Reference:
    def of(gold: Any, answers: Any) -> float:
        if np.ptp(gold) == 0 or np.ptp(answers) == 0:
            return 0.0
        return float(correlation(gold.astype(float), answers.astype(float)).statistic)

    return of


PEARSONR, SPEARMANR = by_scipy(pearsonr), by_scipy(spearmanr)
REFERENCES: dict[str, Reference] = {
    "pearson": PEARSONR,
    "spearman": SPEARMANR,
    "pearson_spearman": lambda gold, answers: (PEARSONR(gold, answers) + SPEARMANR(gold, answers)) / 2,
}


def drawn(seed: int, n: int) -> tuple[Array, Array]:
    """Truth and answers in float32: plain, with ties, constant, nearly constant, far from zero, all alike."""
    rng = np.random.default_rng(seed)

    def some() -> Array:
        plain = rng.standard_normal(n) * rng.choice([1e-3, 1.0, 50.0])
        tied, tail = rng.integers(0, 3, n).astype(float), rng.standard_cauchy(n)
        near = 1 + 1.2e-7 * rng.integers(0, 2, n)  # neighbours in float32
        kinds: list[Array] = [plain, tied, tail, near, plain + 1000, np.full(n, 0.1)]
        return kinds[rng.choice(6, p=[0.4, 0.25, 0.1, 0.05, 0.15, 0.05])]

    gold, answers = some(), some()
    if rng.random() < 0.5:
        answers = gold * rng.choice([1, 1, -1]) + rng.random() * answers
    return gold.astype(np.float32), answers.astype(np.float32)


@pytest.mark.filterwarnings("ignore:An input array is nearly constant")
@pytest.mark.parametrize("name", METRICS["regression"])
@given(st.integers(2, 50), st.integers(0, 2**32))
def test_equals_scipy_also_of_repeated_examples(name: str, examples: int, seed: int) -> None:
    check_counts(METRICS["regression"][name], *drawn(seed, examples), REFERENCES[name], seed)


@pytest.mark.parametrize("name", METRICS["regression"])
@pytest.mark.parametrize("number", [0.1, 1 / 3, 1e9, 1e-30, -7.7])
@pytest.mark.parametrize("n", [1, 3, 7, 10, 1000])
def test_what_is_constant_correlates_with_nothing(name: str, number: float, n: int) -> None:
    metric, rng = METRICS["regression"][name], np.random.default_rng(0)
    constant, other = np.full(n, number), rng.standard_normal(n)
    assert metric.value(constant, other) == metric.value(other, constant) == 0
    assert metric.value(constant, constant) == 0
    # Resamples in which only examples are left that are alike in truth, or in the answers too.
    alike = np.where(np.arange(n) < 4, number, other)
    counts = np.where(np.arange(n) < 4, rng.integers(1, 9, (50, n)), 0)
    assert not metric.of(alike, other, counts).any()
    assert not metric.of(alike, -alike, counts).any()


@pytest.mark.parametrize("name", METRICS["regression"])
def test_many_examples_are_counted_in_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    (gold, answers), counts = drawn(0, 80), rng.multinomial(80, [1 / 80] * 80, 50)
    whole = METRICS["regression"][name].of(gold, answers, counts)
    monkeypatch.setattr(blocks, "_ENTRIES", 200)
    assert METRICS["regression"][name].of(gold, answers, counts) == pytest.approx(whole, abs=1e-12)


# How good they can still become.


def line(gold: Array, answers: Array, seen: Seen) -> tuple[float, Array]:
    """The slope of the regression of truth on the seen answers, and answers that lie on that line."""
    known, given = gold[seen].astype(float), answers[seen].astype(float)
    given_about, known_about = given - given.mean(), known - known.mean()
    slope = float((given_about * known_about).sum() / ((given_about**2).sum() or 1.0))
    if slope <= 0:
        flat = np.ptp(given) + 1e-6 * np.abs(given).max() + 1
        return slope, given.mean() + 1e7 * flat * (gold - known.mean()) / (np.ptp(gold) or 1.0)
    return slope, given.mean() + (gold - known.mean()) / slope


def completions(gold: Array, answers: Array, rng: np.random.Generator) -> list[Array]:
    n = len(gold)
    scale = np.ptp(answers) + 1.0
    random = [rng.standard_normal(n) * scale * 10.0**power for power in (-6, -1, 0, 1, 6)]
    ties = [rng.choice(answers, n), np.full(n, answers[0]), np.full(n, 1e30), -1e30 * np.sign(gold)]
    return [gold, -gold, 1e6 * gold, 1e30 * gold, np.argsort(np.argsort(gold)) + 0.0, *random, *ties]


@pytest.mark.parametrize("name", METRICS["regression"])
def test_no_completion_is_better_than_the_bound(name: str) -> None:
    rng = np.random.default_rng(2)
    for seed in range(700):
        n = int(rng.integers(1, 25))
        gold, answers = drawn(seed, n)
        answers = answers.astype(rng.choice(["float32", "float64"]))
        seen = rng.random(n) < rng.random()
        best = [line(gold, answers, seen)[1]] if seen.any() else []
        check_bound(
            METRICS["regression"][name], gold, answers, seen, [*best, *completions(gold, answers, rng)]
        )


def test_answers_on_the_line_of_the_seen_reach_the_bound_of_pearson() -> None:
    rng, rising = np.random.default_rng(3), 0
    for seed in range(1000):
        n = int(rng.integers(2, 25))
        gold, answers = (each.astype(np.float64) for each in drawn(seed, n))
        seen = rng.random(n) < rng.random()
        seen[0], seen[1] = True, False
        slope, best = line(gold, answers, seen)
        # Where the unseen are as the seen on average, all far away are as good as a flat line.
        reached = max(PEARSONR(gold, np.where(seen, answers, rest)) for rest in (best, np.full(n, 1e9)))
        if np.ptp(answers[seen]) > 1e-5:
            rising += slope > 0
            within = 1e-6 if slope > 0 else 1e-3
            assert PEARSON.bound(gold, answers, seen) == pytest.approx(reached, abs=within)
    assert rising > 250


def test_no_climb_over_all_answers_passes_the_bound_of_pearson_and_many_come_near() -> None:
    rng, near = np.random.default_rng(4), 0
    for seed in range(30):
        gold, answers = rng.standard_normal((2, 6))
        unseen = int(rng.integers(1, 5))
        seen = np.arange(6) >= unseen

        def fall(rest: Array) -> float:
            return -float(np.corrcoef(gold, np.append(rest, answers[unseen:]))[0, 1])  # noqa: B023  # here only

        climbs = [minimize(fall, 3 * rng.standard_normal(unseen), method="BFGS") for _ in range(2)]
        best, bound = max(-climb.fun for climb in climbs), PEARSON.bound(gold, answers, seen)
        assert best <= bound, seed
        near += bound - best < 1e-2
    assert near > 20


def every_order(answers: Array, unseen: int) -> Array:
    """Answers to the unseen in every place among the seen and each other, ties too."""
    seen = np.unique(answers[unseen:])
    between = np.concatenate([[seen[0] - 2], seen, [seen[-1] + 2]])
    steps = np.arange(1, unseen + 1) / (unseen + 1)
    places = np.concatenate([seen, (between[:-1, None] + np.diff(between)[:, None] * steps).ravel()])
    return np.array(list(product(places, repeat=unseen)))


@pytest.mark.parametrize("unseen", [1, 2])
def test_no_order_of_answers_passes_the_bound_of_spearman(unseen: int) -> None:
    rng, reached = np.random.default_rng(5), 0
    for _ in range(150):
        n = unseen + int(rng.integers(1, 5))
        gold, answers = rng.integers(0, rng.choice([2, 4, 20]), (2, n)).astype(np.float64)
        values = [
            SPEARMAN.value(gold, np.append(rest, answers[unseen:])) for rest in every_order(answers, unseen)
        ]
        bound = SPEARMAN.bound(gold, answers, np.arange(n) >= unseen)
        assert max(values) <= bound
        reached += bound - max(values) < 1e-6
    assert reached > 40


def test_answers_in_the_right_order_leave_spearman_everything() -> None:
    rng = np.random.default_rng(6)
    for _ in range(100):
        n = int(rng.integers(2, 20))
        gold = rng.permutation(n).astype(np.float32)
        answers = np.exp(gold / 3)  # in the right order, on no line
        seen = rng.random(n) < 0.5
        assert SPEARMAN.bound(gold, answers, seen) == pytest.approx(1, abs=1e-8)
        assert SPEARMAN.value(gold, np.where(seen, answers, np.exp(gold / 3))) == pytest.approx(1)


@pytest.mark.parametrize("name", METRICS["regression"])
def test_worst_cases(name: str) -> None:
    metric, none = METRICS["regression"][name], np.zeros(4, bool)
    gold, constant = np.array([1.0, 2.0, 4.0, 3.0]), np.full(4, 0.1)
    answers, one = np.array([5.0, 1.0, 0.0, 7.0]), np.array([0.0, 0.0, 1.0, 0.0])
    assert metric.bound(gold, answers, none) == 1
    assert metric.bound(gold, answers, one == 1) == pytest.approx(1)
    for seen in (none, one == 1, one == 0):
        assert metric.bound(constant, answers, seen) == 0
    # All but one seen and alike: that one's distance from the others is all there is to explain.
    assert metric.bound(gold, constant, one == 0) == pytest.approx(REFERENCES[name](gold, one), abs=1e-6)


def test_where_nothing_can_be_gained_the_bound_is_nothing() -> None:
    """Rounding must not stand for what is left: gold of the unseen is the mean, the seen fall."""
    gold, answers = np.array([-0.3, 0.1, 0.5, 0.1]), np.array([3.0, 2.0, 1.0, 0.0])
    seen = np.arange(4) < 3
    for metric in (PEARSON, SPEARMAN, PEARSON_SPEARMAN):
        assert metric.bound(gold, answers, seen) == pytest.approx(0, abs=2e-8)
        check_bound(metric, gold, answers, seen, completions(gold, answers, np.random.default_rng(7)))
