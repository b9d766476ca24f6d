from __future__ import annotations

from statistics import median

import numpy as np
import pytest
from hypothesis import given

from searchmerge.compare import Run
from searchmerge.compare.curves import curves
from searchmerge.compare.field import arrange
from tests.compare.making import fields, run


def quartile(values: list[float], share: float) -> float:
    """With straight lines between the order statistics."""
    values = sorted(values)
    place = share * (len(values) - 1)
    low = int(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (place - low) * (values[high] - values[low])


@given(fields())
def test_curves_are_the_quartiles_of_the_best_so_far(runs: list[Run]) -> None:
    budget = max(len(each.scores) for each in runs)
    found = curves(arrange(runs))
    assert len(found) == len({(each.space, each.strategy) for each in runs})
    for curve in found:
        own = [each for each in runs if (each.space, each.strategy) == (curve.space, curve.strategy)]
        assert list(curve.evaluations.at) == list(range(1, budget + 1))
        for place in range(budget):
            values = [max(each.scores[: place + 1]) for each in own]
            assert curve.evaluations.low[place] == pytest.approx(quartile(values, 0.25))
            assert curve.evaluations.median[place] == pytest.approx(median(values))
            assert curve.evaluations.high[place] == pytest.approx(quartile(values, 0.75))


@given(fields())
def test_at_a_time_only_what_has_ended_counts(runs: list[Run]) -> None:
    for curve in curves(arrange(runs)):
        space = [each for each in runs if each.space == curve.space]
        assert curve.seconds.at[0] == max(each.seconds[0] for each in space)
        assert curve.seconds.at[-1] == pytest.approx(max(each.seconds.sum() for each in space))
        own = [each for each in space if each.strategy == curve.strategy]
        for place in range(0, len(curve.seconds.at), 15):
            at, values = curve.seconds.at[place], []
            for each in own:
                clock, best = 0.0, -np.inf
                for score, seconds in zip(each.scores, each.seconds, strict=True):
                    clock += seconds
                    best = max(best, score) if clock <= at else best
                values.append(best)
            assert curve.seconds.median[place] == pytest.approx(median(values))


@given(fields())
def test_areas_are_means_of_the_share_of_the_way(runs: list[Run]) -> None:
    budget = max(len(each.scores) for each in runs)
    for curve in curves(arrange(runs)):
        space = [each for each in runs if each.space == curve.space]
        default, top = space[0].scores[0], max(max(each.scores) for each in space)
        own = sorted((each for each in space if each.strategy == curve.strategy), key=lambda each: each.seed)
        if curve.areas is None:
            assert top == default
            continue
        for area, each in zip(curve.areas, own, strict=True):
            shares = [(max(each.scores[: at + 1]) - default) / (top - default) for at in range(budget)]
            assert area == pytest.approx(sum(shares) / budget)
            assert 0 <= area <= 1


def test_a_run_that_ends_early_holds_its_last_value() -> None:
    short, long = curves(arrange([run("grid", 0, [0, 4, 2]), run("de", 0, [0, 1, 2, 3, 8])]))
    assert list(short.evaluations.median) == [0, 4, 4, 4, 4]
    assert short.areas is not None
    assert long.areas is not None
    assert (short.areas[0], long.areas[0]) == (16 / 40, 14 / 40)
    assert short.seconds.median[-1] == 4
