"""What is true of every metric, checked with the examples of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from searchmerge.objective.metrics import Array, Metric, Seen

Reference = Callable[[Any, Any], float]
"""Truth and answers to the metric."""


def check_counts(metric: Metric, gold: Array, answers: Array, reference: Reference, seed: int) -> None:
    """Counted examples are repeated ones; many resamples at once are as one by one."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.8, (2, 3, len(gold)))
    counts[..., rng.integers(len(gold))] += 1
    values = metric.of(gold, answers, counts)
    assert values.shape == (2, 3)
    assert values.dtype == np.float64
    for place in np.ndindex(2, 3):
        again = [np.repeat(each, counts[place], axis=0) for each in (gold, answers)]
        assert values[place] == pytest.approx(reference(*again), abs=1e-9)
        assert values[place] == pytest.approx(float(metric.of(gold, answers, counts[place])), abs=1e-12)
    assert metric.value(gold, answers) == pytest.approx(reference(gold, answers), abs=1e-9)


def check_bound(
    metric: Metric, gold: Array, answers: Array, seen: Seen, completions: Iterable[Array]
) -> float:
    """No completion is better than the bound, whatever stands at the unseen; give the bound."""
    bound = metric.bound(gold, answers, seen)
    assert metric.low <= bound <= metric.high
    for completion in completions:
        whole = answers.copy()
        whole[~seen] = completion[~seen]
        value = metric.value(gold, whole)
        assert (bound <= value) if metric.lower else (bound >= value)
    assert metric.bound(gold, whole, seen) == bound, "what has not been seen does not count"
    assert metric.bound(gold, whole, np.ones(len(gold), dtype=bool)) == value
    return bound
