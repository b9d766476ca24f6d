"""Metrics of any number of labels an example: gold and answers are bool ``[examples, labels]``."""

from __future__ import annotations

import numpy as np

from searchmerge.objective.metrics.metric import Array, Counts, Metric, Values, ratio


def _right(gold: Array, answers: Array) -> Values:
    return np.asarray((gold == answers).all(axis=1), dtype=np.float64)


def _accuracy(gold: Array, answers: Array, counts: Counts) -> Values:
    """Give the fraction of examples whose labels are all right, as ``sklearn.metrics.accuracy_score``."""
    return ratio(counts @ _right(gold, answers), counts.sum(-1))


def _f1_parts(gold: Array, answers: Array, counts: Counts) -> tuple[Values, Values]:
    """Numerators and denominators ``[..., labels]`` of each label's F1."""
    right, total = (gold & answers).astype(np.float64), gold.astype(np.float64) + answers
    return 2 * (counts @ right), counts @ total


def _micro_f1(gold: Array, answers: Array, counts: Counts) -> Values:
    """Give the F1 over all pairs of example and label, as ``f1_score(average="micro", zero_division=0)``."""
    right, total = _f1_parts(gold, answers, counts)
    return ratio(right.sum(-1), total.sum(-1))


def _macro_f1(gold: Array, answers: Array, counts: Counts) -> Values:
    """Give the mean F1 of all labels, as ``f1_score(average="macro", zero_division=0)``."""
    right, total = _f1_parts(gold, answers, counts)
    return np.asarray(ratio(right, total).mean(-1), dtype=np.float64)


ACCURACY = Metric("accuracy", 0.0, 1.0, _accuracy, each=_right)
MICRO_F1 = Metric("micro_f1", 0.0, 1.0, _micro_f1)
MACRO_F1 = Metric("macro_f1", 0.0, 1.0, _macro_f1)
