"""The dev score along the straight line between two experts.

Frankle et al. 2020, "Linear mode connectivity and the lottery ticket hypothesis", arXiv:1912.05671: two
models lie in one valley if no model between them does worse than the ends. The barrier is the deepest drop
below the straight line between the ends' scores, which need not be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from searchmerge.bench import Bench
from searchmerge.objective.bootstrap import sag
from searchmerge.types import Evaluation

STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How far along the line the models lie."""

Pair = tuple[str, str]


@dataclass(frozen=True)
class Line:
    """Dev scores along a line.

    Args:
        scores: at each of :data:`STEPS`; NaN where the logits are not finite.
        barrier: the deepest drop below the straight line, 0 if there is none, NaN if a score is.
        low: lower end of the drop's 95% bootstrap interval.
    """

    scores: tuple[float, ...]
    barrier: float
    low: float


def evaluations(experts: int) -> int:
    """How many models :func:`lines` evaluates."""
    return experts + (len(STEPS) - 2) * experts * (experts - 1) // 2


def drops(scores: Sequence[float]) -> list[float]:
    """By how much the score at each of :data:`STEPS` lies below the straight line between the ends."""
    first, last = scores[0], scores[-1]
    return [(1 - t) * first + t * last - score for t, score in zip(STEPS, scores, strict=True)]


def lines(bench: Bench, say: Callable[[str], None]) -> dict[Pair, Line]:
    """Score the line between each pair of experts on dev.

    Args:
        bench: with the experts and the objective.
        say: told of each expert and line when it has been scored.
    """
    experts = list(bench.sources.experts)
    done, total = 0, evaluations(len(experts))
    ends: dict[str, Evaluation | None] = {}
    for name in experts:
        ends[name] = _evaluate(bench, {name: 1.0})
        done += 1
        say(f"{done}/{total} evaluations: {name} {_spoken([ends[name]])}")
    found = {}
    for one, other in combinations(experts, 2):
        inner = [_evaluate(bench, {one: 1 - t, other: t}) for t in STEPS[1:-1]]
        done += len(inner)
        points = [ends[one], *inner, ends[other]]
        found[one, other] = _line(bench, points)
        say(f"{done}/{total} evaluations: from {one} to {other} {_spoken(points)}")
    return found


def _evaluate(bench: Bench, weights: dict[str, float]) -> Evaluation | None:
    every = {name: weights.get(name, 0.0) for name in bench.sources.experts}
    try:
        return bench.evaluate(bench.merge(method="linear", weight=every))
    except FloatingPointError:  # logits that are not finite
        return None


def _line(bench: Bench, points: Sequence[Evaluation | None]) -> Line:
    scores = tuple(point.score if point else np.nan for point in points)
    if np.isnan(scores).any():
        return Line(scores, np.nan, np.nan)
    deepest = int(np.argmax(drops(scores)))
    first, between, last = (point.outcomes for point in (points[0], points[deepest], points[-1]) if point)
    drop = sag(bench.objective("dev"), between, (first, last), STEPS[deepest])
    return Line(scores, max(drops(scores)), drop.low)


def _spoken(points: Sequence[Evaluation | None]) -> str:
    return " ".join(f"{point.score:.3f}" if point else "failed" for point in points)
