"""What chance alone would do: intervals and p values from few repetitions, and many of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from searchmerge.compare.field import FloatArray

LEVEL = 0.05
"""The share of false alarms that is put up with; intervals have the confidence 1 - LEVEL."""

_FEWEST = 5
"""Of fewer seeds there is no bootstrap interval: even from the least to the largest of n values the median
lies in only 1 - 2^(1-n) of all cases, 87.5% with four."""

_SEED = 0
_DRAWS = 5_000
_EXACT = 16
"""Up to so many differences all sign patterns are gone through (32,768 of them)."""
_PATTERNS = 2**16 - 1
"""Sign patterns that are drawn where there are more differences."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its interval; no number (NaN) where seeds are too few."""

    value: float
    low: float
    high: float


def estimate(values: FloatArray) -> Estimate:
    """Give the mean of ``[seeds]`` and its bootstrap interval."""
    return Estimate(float(values.mean()), *expanded(resampled(values[:, None])[:, 0], len(values)))


def resampled(values: FloatArray) -> FloatArray:
    """Means of ``[seeds, figures]`` over seeds that are drawn again with replacement, ``[draws, figures]``.

    The seeds' order has no influence: they are sorted by their figures first.
    """
    return _weights(len(values)) @ values[np.lexsort(values.T)]


@lru_cache
def _weights(seeds: int) -> FloatArray:
    """How much each seed counts in each draw, ``[draws, seeds]``.

    Each draw comes forwards and backwards, so that the interval of ``1 - x`` mirrors that of ``x``.
    """
    rng = np.random.default_rng(_SEED)
    weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=_DRAWS) / seeds
    return np.concatenate([weights, weights[:, ::-1]])


def expanded(draws: FloatArray, seeds: int) -> tuple[float, float]:
    """Give the expanded percentile interval of a bootstrap distribution ``[draws]``; NaN with few seeds.

    Percentiles keep a share within [0, 1], which the basic interval does not. Of few values they lie too
    close together: 95% intervals of five normal ones hold the mean in 85% of all cases. So the tails are
    made smaller until the width is that of Student's t interval, and these five reach 93%: Hesterberg
    (2015), "What teachers should know about the bootstrap", The American Statistician 69.
    Values that are all the same still look certain.
    """
    if seeds < _FEWEST:
        return np.nan, np.nan
    tail = _tail(seeds)
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


@lru_cache
def _tail(seeds: int) -> float:
    return float(stats.norm.cdf(np.sqrt(seeds / (seeds - 1)) * stats.t.ppf(LEVEL / 2, seeds - 1)))


def sign_flips(differences: FloatArray) -> float:
    """The two-sided p value of paired differences ``[seeds]``: Fisher's randomisation test of their mean.

    If both sides of a pair are drawn alike, each difference is as likely to have the other sign. p is the
    share of sign patterns whose sum is no nearer to 0 than the one observed: of all up to 16 seeds; beyond,
    of drawn ones, the observed one included: Phipson & Smyth (2010), "Permutation p-values should never be
    zero".
    """
    sizes = np.sort(np.abs(differences))
    observed = abs(differences.sum()) - 1e-9 * sizes.sum()  # equal sums are equal in spite of rounding
    if len(sizes) > _EXACT:
        rng = np.random.default_rng(_SEED)
        signs = rng.integers(0, 2, (_PATTERNS, len(sizes)), dtype=np.int8) * 2 - 1
        return float((1 + (np.abs(signs @ sizes) >= observed).sum()) / (1 + _PATTERNS))
    sums = sizes[:1]  # a pattern and its opposite are as far from 0, so one sign may stay
    for size in sizes[1:]:
        sums = np.concatenate([sums + size, sums - size])
    return float((np.abs(sums) >= observed).mean())


def holm(p: Sequence[float]) -> list[float]:
    """Correct p values so that no more than ``LEVEL`` of all families hold a false alarm.

    Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    order = np.argsort(p, kind="stable")
    scaled = np.asarray(p, float)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return [float(each) for each in corrected]


def smallest(strategies: int, seeds: int) -> float:
    """The smallest corrected p value that so many seeds can give for any pair."""
    pairs = strategies * (strategies - 1) / 2
    return min(1.0, pairs * 2.0 ** (1 - min(seeds, _EXACT + 1)))  # of drawn patterns there are 2^16


def seeds_needed(strategies: int) -> int:
    """The fewest seeds that can tell two of so many strategies apart."""
    return next(seeds for seeds in range(1, _EXACT + 1) if smallest(strategies, seeds) <= LEVEL)
