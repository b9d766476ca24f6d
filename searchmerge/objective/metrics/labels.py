"""Metrics of one label an example: gold and answers are label numbers ``[examples]``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from searchmerge.objective.metrics.metric import Array, Counts, Metric, Values, in_blocks, ratio


def confusions(gold: Array, answers: Array, counts: Counts) -> Counts:
    """Count ``[rows, truth, answer]`` over examples of which each counts ``[rows, examples]`` times."""
    labels = int(max(gold.max(), answers.max())) + 1
    cells = gold.astype(np.int64) * labels + answers
    order = np.argsort(cells, kind="stable")
    found, starts = np.unique(cells[order], return_index=True)
    matrices = np.zeros((len(counts), labels**2), dtype=np.int64)
    matrices[:, found] = np.add.reduceat(counts[:, order], starts, axis=1)
    return matrices.reshape(-1, labels, labels)


def _by_confusion(of: Callable[[Counts], Values], gold: Array, answers: Array, counts: Counts) -> Values:
    labels = int(max(gold.max(), answers.max())) + 1
    return in_blocks(lambda rows: of(confusions(gold, answers, rows)), counts, labels**2)


def accuracy(confusion: Counts) -> Values:
    """Give the fraction of examples answered right."""
    return ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum((-2, -1)))


def f1(confusion: Counts) -> Values:
    """Give the F1 of the label of number 1, as GLUE and ``sklearn.metrics.f1_score`` of two labels."""
    if confusion.shape[-1] < 2:
        return np.zeros(confusion.shape[:-2])
    true, answered = confusion.sum(-1), confusion.sum(-2)
    return ratio(2 * confusion[..., 1, 1], true[..., 1] + answered[..., 1])


def macro_f1(confusion: Counts) -> Values:
    """Give the mean F1 of the labels that occur in truth or answers.

    As ``sklearn.metrics.f1_score(average="macro", zero_division=0)``.
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    # 2·precision·recall / (precision + recall) = 2·right / (true + answered)
    total = confusion.sum(-1) + confusion.sum(-2)
    return ratio(ratio(2 * right, total).sum(-1), (total > 0).sum(-1))


def matthews(confusion: Counts) -> Values:
    """Give the correlation of truth and answers, 0 where truth or answers are constant.

    Gorodkin (2004), "Comparing two K-category assignments by a K-category correlation coefficient", the
    statistic R_K; as ``sklearn.metrics.matthews_corrcoef``.
    """
    true, answered = (confusion.sum(axis).astype(np.float64) for axis in (-1, -2))
    n = true.sum(-1)
    right = np.trace(confusion, axis1=-2, axis2=-1)
    covariance = right * n - (true * answered).sum(-1)
    spread = (n**2 - (true**2).sum(-1)) * (n**2 - (answered**2).sum(-1))
    return ratio(covariance, np.sqrt(spread))


def _right(gold: Array, answers: Array) -> Values:
    return np.asarray(gold == answers, dtype=np.float64)


ACCURACY = Metric("accuracy", 0.0, 1.0, partial(_by_confusion, accuracy), each=_right)
F1 = Metric("f1", 0.0, 1.0, partial(_by_confusion, f1))
MACRO_F1 = Metric("macro_f1", 0.0, 1.0, partial(_by_confusion, macro_f1))
MATTHEWS = Metric("matthews", -1.0, 1.0, partial(_by_confusion, matthews))


MATTHEWS_OF_MANY = Metric("matthews", -1.0, 1.0, MATTHEWS.of, lambda *_: 1.0)
"""Of three labels or more, where wrong answers can raise it (11 examples suffice): 1 is the only bound."""
