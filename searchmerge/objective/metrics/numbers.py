"""Metrics of one number an example: gold and answers are floats ``[examples]``."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import rankdata

from searchmerge.objective.metrics.metric import Array, Counts, Metric, Seen, Values, in_blocks, ratio

_SLACK = 1e-9
"""Added to bounds, so that rounding never puts one below what is reached."""

_NOISE = 1e-12
"""A distance from the mean below this share of the largest is rounding."""


def _correlation(one: Values, other: Values, counts: Counts) -> Values:
    """Pearson's correlation ``[rows]`` of ``[examples]`` or ``[rows, examples]``, 0 where one is constant."""
    left, right = (_centred(each, counts) for each in (one, other))
    products = (counts * left * right).sum(-1)
    spread = np.sqrt((counts * left**2).sum(-1) * (counts * right**2).sum(-1))
    return np.clip(ratio(products, spread), -1.0, 1.0)


def _centred(values: Values, counts: Array) -> Values:
    """Take the mean of what counts off, and rounding: of constant numbers nothing is left."""
    values = values - values.mean(-1, keepdims=True)
    centred = values - ((counts * values).sum(-1) / counts.sum(-1))[..., None]
    scale = np.abs(values).max(-1, keepdims=True)
    return np.where(np.abs(centred) > _NOISE * scale, centred, 0.0)


def pearson(gold: Array, answers: Array, counts: Counts) -> Values:
    """Give Pearson's correlation, as ``scipy.stats.pearsonr``; 0 where gold or answers are constant."""
    one, other = gold.astype(np.float64), answers.astype(np.float64)
    return in_blocks(lambda rows: _correlation(one, other, rows), counts, len(gold))


def spearman(gold: Array, answers: Array, counts: Counts) -> Values:
    """Give Spearman's correlation of ranks, as ``scipy.stats.spearmanr``; 0 where one is constant."""
    return in_blocks(
        lambda rows: _correlation(_ranks(gold, rows), _ranks(answers, rows), rows), counts, len(gold)
    )


def _ranks(values: Array, counts: Counts) -> Values:
    """Mean ranks ``[rows, examples]`` among examples of which each stands there ``counts`` times."""
    order = np.argsort(values, kind="stable")
    _, starts, place = np.unique(values[order], return_index=True, return_inverse=True)
    together = np.add.reduceat(counts[:, order], starts, axis=1)  # how many share each value
    ranks = np.empty(counts.shape)
    ranks[:, order] = (np.cumsum(together, axis=1) - (together - 1) / 2)[:, place]
    return ranks


def pearson_bound(gold: Array, answers: Array, seen: Seen) -> float:
    """The supremum of Pearson's correlation over all answers to the examples not seen.

    The squared correlation is the share of gold's variance that a line through the answers explains. For any
    line of positive slope, answers to the unseen can be put onto it: with slope and intercept of the seen's
    own regression line, ``(gold − intercept) / slope``. So only what that line leaves of the seen stays
    unexplained; where it falls or there is none, a line as flat as one likes explains nothing of the seen.
    """
    if not seen.any():
        return float(np.ptp(gold) > 0)
    gold, answers = gold.astype(np.float64), answers.astype(np.float64)
    known, given = (_centred(values[seen], np.ones(seen.sum())) for values in (gold, answers))
    explained = ratio(np.maximum((known * given).sum(), 0.0) ** 2, (given**2).sum())
    return _correlation_of(gold, seen, float(explained))


def spearman_bound(gold: Array, answers: Array, seen: Seen) -> float:
    """A bound of Spearman's correlation over all answers to the examples not seen.

    Whatever those are, the ranks of the seen rise with their answers, equal ones together. Of all numbers
    that do, isotonic regression leaves the least residual to gold's ranks. Ranks are numbers of a special
    kind, so the bound is not always reached.
    """
    if not seen.any():
        return float(np.ptp(gold) > 0)
    ranks = rankdata(gold)
    _, place, together = np.unique(answers[seen], return_inverse=True, return_counts=True)
    fitted = isotonic_regression(np.bincount(place, ranks[seen]) / together, weights=together).x
    return _correlation_of(ranks, seen, float((together * (fitted - ranks[seen].mean()) ** 2).sum()))


def _correlation_of(gold: Values, seen: Seen, explained: float) -> float:
    """The correlation that explains so much of the squares among the seen, and all the others."""
    away = gold[~seen] - gold[seen].mean()
    others = max(0.0, float((away**2).sum() - away.sum() ** 2 / len(gold)))
    total = (_centred(gold, np.ones(len(gold))) ** 2).sum()
    # Of sums, not differences: rounding is small beside the root, however small that is.
    return min(1.0, math.sqrt((explained + others) / total) + _SLACK) if total else 0.0


PEARSON = Metric("pearson", -1.0, 1.0, pearson, pearson_bound)
SPEARMAN = Metric("spearman", -1.0, 1.0, spearman, spearman_bound)
PEARSON_SPEARMAN = Metric(
    "pearson_spearman",
    -1.0,
    1.0,
    lambda gold, answers, counts: (pearson(gold, answers, counts) + spearman(gold, answers, counts)) / 2,
    lambda gold, answers, seen: (
        (pearson_bound(gold, answers, seen) + spearman_bound(gold, answers, seen)) / 2
    ),
)
"""The mean of both, as GLUE scores STS-B."""
