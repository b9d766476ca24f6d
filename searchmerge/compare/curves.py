"""The best dev score so far, as a function of evaluations and of seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from searchmerge.compare.field import Field, FloatArray, Run

_POINTS = 256
"""Points of the grid of seconds."""


@dataclass(frozen=True, eq=False)
class Band:
    """Quartiles over the seeds, each ``[points]``.

    Args:
        at: evaluations or seconds.
        low: the first quartile of the best score so far.
        median: the second.
        high: the third.
    """

    at: FloatArray
    low: FloatArray
    median: FloatArray
    high: FloatArray


@dataclass(frozen=True, eq=False)
class Curve:
    """How a strategy came along in one space.

    Args:
        strategy: its name.
        space: where it searched.
        evaluations: by evaluations, ``[budget]``.
        seconds: by wall time, from where every run of the space has a score to where the last one ends.
        areas: ``[seeds]``: the normalised area under each run's curve: 0 where it found nothing above the
            default merge, 1 where it had the best score of the field from the first evaluation on; None where
            no run of the space did better than the default merge.
    """

    strategy: str
    space: str
    evaluations: Band
    seconds: Band
    areas: FloatArray | None


def curves(field: Field) -> tuple[Curve, ...]:
    """Draw every strategy in every space."""
    return tuple(curve for space in field.spaces for curve in _in_space(field, space))


def held(run: Run, budget: int) -> FloatArray:
    """The best score so far, ``[budget]``: a run that ended early holds its last value."""
    return np.pad(run.best, (0, budget - run.scores.size), mode="edge")


def _in_space(field: Field, space: str) -> list[Curve]:
    default, top = field.ends(space)
    at = np.arange(1.0, field.budget + 1)
    times = [run.seconds.cumsum() for name in field.strategies for run in field.of(name, space)]
    clock = np.linspace(max(each[0] for each in times), max(each[-1] for each in times), _POINTS)
    found = []
    for name in field.strategies:
        runs = field.of(name, space)
        by_count = np.stack([held(run, field.budget) for run in runs])
        by_time = np.stack([_at(run, clock) for run in runs])
        areas = (by_count.mean(1) - default) / (top - default) if top > default else None
        found.append(Curve(name, space, _band(at, by_count), _band(clock, by_time), areas))
    return found


def _at(run: Run, clock: FloatArray) -> FloatArray:
    """The best score of the evaluations that have ended by then, ``[points]``."""
    return run.best[np.searchsorted(run.seconds.cumsum(), clock, side="right") - 1]


def _band(at: FloatArray, values: FloatArray) -> Band:
    return Band(at, *np.quantile(values, [0.25, 0.5, 0.75], axis=0))
