"""How many evaluations a target takes, drawn as COCO does.

Hansen et al. (2016), "COCO: performance assessment", arXiv:1605.03560, but without its simulated restarts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from searchmerge.compare.field import Field, FloatArray

_SHARES = np.append(10.0 ** (-np.arange(1, 51) / 25), 0.0)
"""What is still missing at each target, of the way from the default merge to the best score reached: 50
shares in equal ratios down to 1%, and nothing. COCO has 51 targets in equal ratios too; equal steps would
only draw the mean of the best scores so far again, and not show the last stretch."""


@dataclass(frozen=True, eq=False)
class Targets:
    """When each target was reached.

    Args:
        scores: ``[targets]``, rising, by the space's name.
        hits: ``[runs, targets]`` by the strategy's name: the number of the first evaluation that reached it,
            from 1; infinity where none did. Runs stand in the order of spaces, then of seeds.
        reached: ``[budget]`` by the strategy's name: the share of pairs of run and target with a hit by then.
    """

    scores: Mapping[str, FloatArray]
    hits: Mapping[str, FloatArray]
    reached: Mapping[str, FloatArray]


def targets(field: Field) -> Targets | None:
    """Time every strategy's way; None where nothing better than the default merge was found in any space."""
    scores = {}
    for space in field.spaces:
        default, top = field.ends(space)
        if top > default:
            scores[space] = top - (top - default) * _SHARES
    if not scores:
        return None
    hits = {
        name: np.stack(
            [_hits(run.best, aims) for space, aims in scores.items() for run in field.of(name, space)]
        )
        for name in field.strategies
    }
    counts = np.arange(1, field.budget + 1)
    reached = {
        name: np.searchsorted(np.sort(each, axis=None), counts, side="right") / each.size
        for name, each in hits.items()
    }
    return Targets(scores, hits, reached)


def _hits(best: FloatArray, aims: FloatArray) -> FloatArray:
    """The place from 1 of the first value of a rising curve that is not below each target."""
    first = np.searchsorted(best, aims, side="left") + 1.0
    return np.where(first <= best.size, first, np.inf)
