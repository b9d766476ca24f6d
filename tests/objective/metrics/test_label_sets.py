"""Metrics of any number of labels an example against scikit-learn, and how good they can still become."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from searchmerge.objective.metrics import METRICS, Array
from tests.objective.metrics.checking import check_bound, check_counts

MULTI = METRICS["multi-label"]
REFERENCES = {
    "accuracy": accuracy_score,
    "micro_f1": lambda gold, answers: f1_score(gold, answers, average="micro", zero_division=0),
    "macro_f1": lambda gold, answers: f1_score(gold, answers, average="macro", zero_division=0),
}


def sets(rng: np.random.Generator, examples: int, labels: int) -> tuple[Array, Array]:
    """Truth and answers, anything between none of the labels and all of them."""
    gold, answers = rng.random((2, examples, labels)) < rng.random((2, 1, labels)) ** 2
    return gold, answers


# Fewer than two labels are no set of them to scikit-learn.
@pytest.mark.parametrize("name", MULTI)
@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 2**32))
def test_equals_scikit_learn_also_of_repeated_examples(
    name: str, examples: int, labels: int, seed: int
) -> None:
    check_counts(MULTI[name], *sets(np.random.default_rng(seed), examples, labels), REFERENCES[name], seed)


@pytest.mark.parametrize("name", MULTI)
def test_range_is_reached(name: str) -> None:
    gold = np.array([[True, False], [False, True]])
    assert MULTI[name].value(gold, gold) == MULTI[name].high == 1
    assert MULTI[name].value(gold, ~gold) == MULTI[name].low == 0


@pytest.mark.parametrize("name", MULTI)
def test_no_completion_is_better_than_the_bound_and_right_answers_reach_it(name: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(1000):
        n, labels = int(rng.integers(1, 12)), int(rng.integers(1, 6))
        gold, answers = sets(rng, n, labels)
        seen = rng.random(n) < rng.random()
        extreme = [gold, ~gold, np.zeros_like(gold), np.ones_like(gold)]
        guesses = rng.random((4, n, labels)) < 0.5
        bound = check_bound(MULTI[name], gold, answers, seen, [*extreme, *guesses])
        assert bound == MULTI[name].value(gold, np.where(seen[:, None], answers, gold))


@pytest.mark.parametrize("name", MULTI)
def test_of_few_examples_the_bound_is_the_best_of_all_completions(name: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        gold, answers = sets(rng, 5, 3)
        completions = np.array(list(product([False, True], repeat=6))).reshape(-1, 2, 3)
        wholes = [np.concatenate([answers[:3], rest]) for rest in completions]
        best = max(REFERENCES[name](gold, whole) for whole in wholes)
        assert MULTI[name].bound(gold, answers, np.arange(5) < 3) == pytest.approx(best, abs=1e-12)
