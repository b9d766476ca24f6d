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
"""A variance below this share of the mean square is rounding: the numbers are constant."""


def _correlation(one: Values, other: Values, counts: Counts) -> Values:
    """Pearson's correlation ``[rows]`` of ``[examples]`` or ``[rows, examples]``, 0 where one is constant."""
    n = counts.sum(-1)
    left, right = (_centred(each, counts, n) for each in (one, other))
    products = (counts * left * right).sum(-1)
    spread = np.sqrt((counts * left**2).sum(-1) * (counts * right**2).sum(-1))
    return ratio(products, spread)


def _centred(values: Values, counts: Counts, n: Counts) -> Values:
    values = values - values.mean(-1, keepdims=True)
    centred = values - ((counts * values).sum(-1) / n)[..., None]
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
    line of positive slope, answers to the unseen can be put onto it; so only the seen leave a residual, and
    least is left by their own regression line, or by a nearly flat one where that falls.
    """
    gold = gold.astype(np.float64)
    known, given = gold[seen], answers[seen].astype(np.float64)
    total = ((gold - gold.mean()) ** 2).sum()
    if not total or not seen.any():
        return float(total > 0)
    known, given = known - known.mean(), given - given.mean()
    slope = max(0.0, float((known * given).sum())) / max(float((given**2).sum()), np.finfo(float).tiny)
    left = float(((known - slope * given) ** 2).sum())
    return min(1.0, math.sqrt(max(0.0, 1 - left / total)) + _SLACK)


def spearman_bound(gold: Array, answers: Array, seen: Seen) -> float:
    """A bound of Spearman's correlation over all answers to the examples not seen.

    Whatever those are, the ranks of the seen rise with their answers, equal ones together. Of all numbers
    that do, isotonic regression leaves the least residual to gold's ranks. Ranks are numbers of a special
    kind, so the bound is not always reached.
    """
    ranks = rankdata(gold)
    total = ((ranks - ranks.mean()) ** 2).sum()
    if not total or not seen.any():
        return float(total > 0)
    _, place, together = np.unique(answers[seen], return_inverse=True, return_counts=True)
    means = np.bincount(place, ranks[seen]) / together
    fitted = isotonic_regression(means, weights=together).x
    left = float(((ranks[seen] - fitted[place]) ** 2).sum())
    return min(1.0, math.sqrt(max(0.0, 1 - left / total)) + _SLACK)


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
