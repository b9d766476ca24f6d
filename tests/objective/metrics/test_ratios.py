"""Metrics that are one sum over another: against loops, and how good they can still become."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.objective.metrics import METRICS, Array, ratios
from searchmerge.objective.metrics.metric import Metric
from tests.objective.metrics.checking import check_bound, check_counts

Examples = tuple[Array, Array]
"""What right answers add above and below the line, and what those given add: ``[examples, 2]``."""

Draw = Callable[[np.random.Generator, int], Examples]


def words(rng: np.random.Generator, n: int) -> Examples:
    """Words right, and words."""
    length = rng.integers(0, 9, n)
    return np.stack([length, length], 1), np.stack([rng.integers(0, length + 1), length], 1)


def entities(rng: np.random.Generator, n: int) -> Examples:
    """Twice those found, and those there plus those answered."""
    there, answered = rng.integers(0, 5, (2, n))
    found = rng.integers(0, np.minimum(there, answered) + 1)
    return np.stack([2 * there, 2 * there], 1), np.stack([2 * found, there + answered], 1)


def tokens(rng: np.random.Generator, n: int) -> Examples:
    """Nats, and tokens."""
    count = rng.integers(1, 30, n).astype(np.float64)
    return np.stack([0 * count, count], 1), np.stack([count * rng.exponential(2.0, n), count], 1)


def scores(rng: np.random.Generator, n: int) -> Examples:
    """A score in [0, 1], and 1."""
    drawn = rng.choice([0.0, 1 / 3, rng.random(), 1.0], n)
    return np.ones((n, 2)), np.stack([drawn, np.ones(n)], 1)


KINDS: dict[str, tuple[Metric, Draw]] = {
    "words right": (ratios.ACCURACY, words),
    "entity_f1": (ratios.ENTITY_F1, entities),
    "loss": (ratios.LOSS, tokens),
    "perplexity": (ratios.PERPLEXITY, tokens),
    "exact_match": (ratios.EXACT_MATCH, scores),
    "numeric": (ratios.NUMERIC, scores),
    "rouge_l": (ratios.ROUGE_L, scores),
    "mean": (ratios.MEAN, scores),
}
ALL = pytest.mark.parametrize("kind", KINDS)


def loop(gold: Array, answers: Array) -> float:
    above = below = 0.0
    for over, under in answers.tolist():
        above, below = above + over, below + under
    return above / below if below else 0.0


@ALL
@given(st.integers(1, 40), st.integers(0, 2**32))
def test_equals_a_loop_also_of_repeated_examples(kind: str, examples: int, seed: int) -> None:
    metric, draw = KINDS[kind]
    reference = (lambda *drawn: math.exp(loop(*drawn))) if kind == "perplexity" else loop
    # Perplexities are large and compared in relation to their size.
    gold, answers = draw(np.random.default_rng(seed), examples)
    answers = answers * [0.1, 1] if kind == "perplexity" else answers
    check_counts(metric, gold, answers, reference, seed)


def test_all_metrics_of_ratios_are_here() -> None:
    drawn = {metric for metric, _ in KINDS.values()}
    for kind in ("token-classification", "language-modeling", "generation", "python"):
        assert set(METRICS[kind].values()) <= drawn


def test_which_are_better_when_lower() -> None:
    lower = {kind for kind, (metric, _) in KINDS.items() if metric.lower}
    assert lower == {"loss", "perplexity"}
    assert (ratios.LOSS.best, ratios.PERPLEXITY.best, ratios.ENTITY_F1.best) == (0.0, 1.0, 1.0)


def test_a_perplexity_beyond_all_numbers_is_infinite() -> None:
    assert ratios.PERPLEXITY.value(np.array([[0.0, 1.0]]), np.array([[1e4, 1.0]])) == math.inf


# How good they can still become.


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mean"])
def test_no_completion_is_better_than_the_bound_and_right_answers_reach_it(kind: str) -> None:
    metric, draw = KINDS[kind]
    for seed in range(1000):
        n = seed % 15 + 1
        gold, answers = draw(np.random.default_rng(seed), n)
        seen = np.random.default_rng([seed, 1]).random(n) < seed % 10 / 9
        completions = [gold, answers, *others(kind, gold, np.random.default_rng([seed, 2]))]
        bound = check_bound(metric, gold, answers, seen, completions)
        assert bound == metric.value(gold, np.where(seen[:, None], answers, gold))


def others(kind: str, gold: Array, rng: np.random.Generator) -> list[Array]:
    """Other answers to the same examples: none right, and some right."""
    if kind == "entity_f1":
        there = gold[:, 1] // 2
        answered = rng.integers(0, 9, (4, len(gold)))
        found = np.minimum(answered, there)  # as many as can be right
        return [np.stack([2 * right, there + given], 1) for right, given in zip(found, answered, strict=True)]
    worst = gold[:, 1] * (9.0 if kind in ("loss", "perplexity") else 0.0)
    share = rng.random((3, len(gold), 1))
    wrong = np.stack([worst, gold[:, 1]], 1).astype(gold.dtype)
    return [wrong, *((1 - share) * wrong + share * gold).astype(gold.dtype)]


def test_of_scores_of_which_nothing_is_known_there_is_no_bound() -> None:
    gold, answers = scores(np.random.default_rng(0), 8)
    assert check_bound(ratios.MEAN, gold, answers, np.arange(8) < 7, [gold, 100 * answers]) == math.inf
