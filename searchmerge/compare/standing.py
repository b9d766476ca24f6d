"""Who stands where at the end of the budget, on one split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from searchmerge.compare.field import Field, FloatArray, Split
from searchmerge.compare.pairs import Pair, pairs
from searchmerge.compare.ranks import Ranks, ranks


@dataclass(frozen=True, eq=False)
class Standing:
    """The end of the budget.

    Args:
        split: which scores count.
        scores: ``[blocks]`` by the strategy's name: its winners' scores.
        pairs: each strategy against each later one.
        ranks: all against all.
    """

    split: Split
    scores: Mapping[str, FloatArray]
    pairs: tuple[Pair, ...]
    ranks: Ranks


def standing(field: Field, split: Split) -> Standing | None:
    """Compare the winners; None where one has no score on the split."""
    table = field.table(split)
    if table is None:
        return None
    scores = dict(zip(field.strategies, table.T, strict=True))
    return Standing(split, scores, pairs(field, table), ranks(field, table))
