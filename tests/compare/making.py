"""Runs with planted scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from searchmerge.compare import Run
from searchmerge.compare.field import Field, FloatArray, arrange


def run(
    strategy: str,
    seed: int,
    scores: Sequence[float],
    *,
    seconds: Sequence[float] | None = None,
    test: float | None = None,
    space: str = "",
) -> Run:
    times = np.ones(len(scores)) if seconds is None else np.array(seconds, float)
    return Run(strategy, seed, np.array(scores, float), times, test, space)


def ended(table: FloatArray, test: FloatArray | None = None, seeds: Sequence[int] | None = None) -> list[Run]:
    """Runs of a, b, … that end at ``[blocks, strategies]``; a seed that comes again is in another space."""
    seeds = list(range(len(table))) if seeds is None else seeds
    return [
        run(
            "abcdefghijkl"[j],
            seed,
            [-10.0, table[i, j]],
            test=None if test is None else float(test[i, j]),
            space=f"space {seeds[:i].count(seed)}",
        )
        for i, seed in enumerate(seeds)
        for j in range(table.shape[1])
    ]


def field_of(table: FloatArray) -> Field:
    return arrange(ended(table))


@st.composite
def fields(draw: st.DrawFn) -> list[Run]:
    """Runs of up to four strategies, in one space or two; scores are eighths: exact sums, and often equal."""
    eighths = st.integers(0, 24).map(lambda number: number / 8)
    found = []
    strategies = draw(st.integers(2, 4))
    for space in draw(st.sampled_from([("",), ("small", "large")])):
        default = draw(eighths)
        for seed in range(draw(st.integers(1, 5))):
            for strategy in "abcd"[:strategies]:
                tail = draw(st.lists(eighths | st.just(-np.inf), max_size=5))
                seconds = [draw(eighths) for _ in range(len(tail) + 1)]
                scores, test = [default, *tail], draw(eighths)
                found.append(run(strategy, seed, scores, seconds=seconds, test=test, space=space))
    return found
