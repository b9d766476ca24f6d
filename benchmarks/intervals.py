"""Means over seeds with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats


def mean_and_half_width(values: Sequence[float]) -> tuple[float, float]:
    """Mean over the seeds and half the width of its 95% t interval (not a number for one seed)."""
    if len(values) < 2:
        return values[0], float("nan")
    return float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
