"""Metrics against scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from searchmerge.objective.metrics import METRICS, confusion

REFERENCES = {
    "accuracy": accuracy_score,
    "macro_f1": lambda gold, predicted: f1_score(gold, predicted, average="macro", zero_division=0),
    "matthews": matthews_corrcoef,
}


@st.composite
def answers(draw: st.DrawFn) -> tuple[int, np.ndarray, np.ndarray]:
    n_labels = draw(st.integers(2, 7))
    label = st.integers(0, n_labels - 1)
    pairs = draw(st.lists(st.tuples(label, label), min_size=1, max_size=60))
    gold, predicted = np.array(pairs).T
    return n_labels, gold, predicted.astype(np.uint8)


@given(answers())
def test_equals_scikit_learn(drawn: tuple[int, np.ndarray, np.ndarray]) -> None:
    n_labels, gold, predicted = drawn
    counts = confusion(gold, predicted, n_labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a single label
        expected = {name: reference(gold, predicted) for name, reference in REFERENCES.items()}
    assert {name: metric.of(counts) for name, metric in METRICS.items()} == pytest.approx(expected, abs=1e-12)


@given(st.integers(2, 5), st.integers(0, 2**32))
def test_many_at_once_equal_one_by_one(n_labels: int, seed: int) -> None:
    counts = np.random.default_rng(seed).poisson(1.0, (4, 3, n_labels, n_labels))
    counts[..., 0, 0] += 1
    for metric in METRICS.values():
        values = metric.of(counts)
        assert values.shape == (4, 3)
        assert values[2, 1] == metric.of(counts[2, 1])
        assert (values >= metric.low).all()
        assert (values <= metric.high + 1e-12).all()


def test_range_is_reached() -> None:
    right, wrong = np.diag([3, 3]), np.fliplr(np.diag([3, 3]))
    for metric in METRICS.values():
        assert metric.of(right) == metric.high
        assert metric.of(wrong) == metric.low
