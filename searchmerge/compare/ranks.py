"""Mean ranks over blocks, and which of them chance explains.

Demšar (2006), "Statistical comparisons of classifiers over multiple data sets", JMLR 7, section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from searchmerge.compare.field import Field, FloatArray
from searchmerge.compare.resampling import LEVEL

_ENOUGH_BLOCKS, _ENOUGH_STRATEGIES = 10, 5
"""Demšar's rule: with more of both, chi-square and normal distributions are near the true ones."""

_SEED = 0
_DRAWS = 9_999


@dataclass(frozen=True, eq=False)
class Ranks:
    """Who came first how often.

    Args:
        mean: the mean rank over all blocks by the strategy's name, 1 the best, ties sharing theirs.
        friedman: Friedman's chi-square, corrected for ties.
        p: its p value, by exchanging the strategies within seeds; NaN with fewer than three strategies.
        chi_square_p: the same by the chi-square distribution, where the field is large enough for that.
        critical: Nemenyi's critical difference of two mean ranks; None where there is a reason.
        reason: why there is none.
        groups: strategies, the best first, that are not told apart; one may be in several groups, one that is
            in none is told apart from all. All are in one where there is no critical difference.
    """

    mean: Mapping[str, float]
    friedman: float
    p: float
    chi_square_p: float | None
    critical: float | None
    reason: str | None
    groups: tuple[tuple[str, ...], ...]


def ranks(field: Field, table: FloatArray) -> Ranks:
    """Rank the strategies in every block.

    Args:
        field: whose runs they are.
        table: ``[blocks, strategies]``: the last scores.
    """
    blocks, strategies = table.shape
    ranked = stats.rankdata(-table, axis=1)
    mean = dict(zip(field.strategies, map(float, ranked.mean(0)), strict=True))
    friedman = _friedman(ranked)
    p = _permuted(field.by_seed(ranked)) if strategies > 2 else np.nan
    alone = blocks == len(field.seeds)  # blocks that share a seed are not independent
    large = alone and blocks > _ENOUGH_BLOCKS and strategies > _ENOUGH_STRATEGIES
    chi_square_p = float(stats.chi2.sf(friedman, strategies - 1)) if large else None
    reason = _reason(strategies, len(field.seeds), p)
    critical = None if reason else critical_difference(strategies, len(field.seeds))
    return Ranks(mean, friedman, p, chi_square_p, critical, reason, _groups(mean, critical))


def critical_difference(strategies: int, blocks: int) -> float:
    """Nemenyi's: the distance of two mean ranks that chance exceeds in ``LEVEL`` of all fields."""
    q = stats.studentized_range.ppf(1 - LEVEL, strategies, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(strategies * (strategies + 1) / (6 * blocks)))


def _friedman(ranked: FloatArray) -> float:
    """The variance between the mean ranks over the variance within blocks, scaled to a chi-square."""
    strategies = ranked.shape[1]
    apart = ranked - (strategies + 1) / 2
    within = np.square(apart).sum()
    return float((strategies - 1) * np.square(apart.sum(0)).sum() / within) if within else 0.0


def _permuted(ranked: FloatArray) -> float:
    """The share of fields with Friedman's statistic as large, had the strategies been exchanged within seeds.

    Exchanging leaves the ranks within seeds what they are, so the sums' squares alone decide. The field
    itself is one of those drawn: Phipson & Smyth (2010), "Permutation p-values should never be zero".

    Args:
        ranked: ``[seeds, strategies]``: mean ranks; all blocks of a seed are exchanged alike.
    """
    seeds = np.sort(ranked, axis=1)
    seeds = seeds[np.lexsort(seeds.T)]  # so that neither the order of seeds nor of strategies matters
    rng = np.random.default_rng(_SEED)
    drawn = np.zeros((_DRAWS, ranked.shape[1]))
    for seed in seeds:
        drawn += rng.permuted(np.broadcast_to(seed, drawn.shape), axis=1)
    least = np.square(ranked.sum(0)).sum() * (1 - 1e-12)  # equal in spite of rounding
    return float((1 + (np.square(drawn).sum(1) >= least).sum()) / (1 + _DRAWS))


def _reason(strategies: int, seeds: int, p: float) -> str | None:
    if strategies < 3:
        return "two strategies are a pair, and compared as such"
    if seeds <= _ENOUGH_BLOCKS:
        few = "1 seed is" if seeds == 1 else f"{seeds} seeds are"
        return f"{few} too few: it takes more than {_ENOUGH_BLOCKS} (Demšar 2006)"
    if p > LEVEL:
        return f"the Friedman test sees no difference (p = {p:.2g})"
    return None


def _groups(mean: Mapping[str, float], critical: float | None) -> tuple[tuple[str, ...], ...]:
    """The longest stretches of the order that are no wider than the critical difference."""
    order = sorted(mean, key=lambda name: mean[name])
    if critical is None:
        return (tuple(order),)
    found: list[tuple[str, ...]] = []
    for start, first in enumerate(order):
        group = tuple(name for name in order[start:] if mean[name] - mean[first] <= critical)
        if len(group) > 1 and not (found and set(group) <= set(found[-1])):
            found.append(group)
    return tuple(found)
