from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchmerge.compare import Reference, Run, compare
from tests.compare.making import ended, fields, run

REFERENCES = {space: Reference("the plain average", 0.25, 0.125) for space in ("", "small", "large")}


def plain(record: Any) -> Any:
    """What a record must be made of."""
    if isinstance(record, dict):
        return all(isinstance(key, str) and plain(value) for key, value in record.items())
    if isinstance(record, list):
        return all(map(plain, record))
    return record is None or type(record) in (str, int, float, bool)


@given(fields())
@settings(max_examples=20)
def test_the_record_is_json_and_knows_no_order_of_runs(runs: list[Run]) -> None:
    found = compare(runs, REFERENCES).record
    assert plain(found)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    # Strategies and spaces are named in the order of the first runs; the rest may come as it likes.
    seeds = sorted(runs, key=lambda each: -each.seed)
    again = compare(sorted(seeds, key=lambda each: list(REFERENCES).index(each.space)), REFERENCES)
    assert again.record == found


@given(fields(), st.integers(-4, 4))
@settings(max_examples=20)
def test_a_constant_moves_curves_and_targets_and_nothing_else(runs: list[Run], constant: int) -> None:
    moved = [
        Run(
            each.strategy,
            each.seed,
            each.scores + constant,
            each.seconds,
            (each.test or 0) + constant,
            each.space,
        )
        for each in runs
    ]
    references = {space: Reference("x", 0.25, 0.125) for space in REFERENCES}
    shifted = {space: Reference("x", 0.25 + constant, 0.125 + constant) for space in REFERENCES}
    before, after = compare(runs, references), compare(moved, shifted)
    for one, other in ((before.dev, after.dev), (before.test, after.test)):
        assert one
        assert other
        assert other.pairs == one.pairs or str(other.pairs) == str(one.pairs)  # NaN is not itself
        assert str(other.ranks) == str(one.ranks)
    assert after.record["selection"] == before.record["selection"]
    assert after.sentences == before.sentences
    for one_curve, other_curve in zip(before.curves, after.curves, strict=True):
        assert other_curve.evaluations.median == pytest.approx(one_curve.evaluations.median + constant)
        if one_curve.areas is not None:
            assert other_curve.areas == pytest.approx(one_curve.areas)


def said(runs: list[Run], **references: Reference) -> str:
    return "\n".join(compare(runs, references or None).sentences)


def test_five_seeds_show_no_difference_however_large_it_is() -> None:
    table = np.arange(6) + np.arange(5)[:, None] / 10
    text = said(ended(table, table))
    assert "5 seeds cannot show a difference between any two of 6 strategies at the 5% level" in text
    assert "no corrected p value could be below 0.94. It takes at least 10 seeds." in text
    assert "No two strategies are told apart on dev" in text
    assert "No two strategies are told apart on test" in text
    assert "beyond chance" not in text
    assert "the Friedman test sees a difference on dev (p = 0.0001)" in text  # of all together


def test_ten_seeds_show_it_and_who_is_better_by_how_much() -> None:
    table = np.array([0.5, 0.25, 0.75]) + np.arange(10)[:, None] / 8
    text = said(ended(table))
    assert "cannot show" not in text
    assert "On dev a ends above b by 0.25 (the mean over seeds), beyond chance." in text
    assert "On dev c ends above a by 0.25, b by 0.5 (the mean over seeds), beyond chance." in text
    assert "Not every run has a test score, so nothing is said of test." in text
    assert "on test" not in text.replace("above", "")


def test_what_is_left_of_a_gain_is_said_or_why_it_is_not() -> None:
    dev = np.array([[0.5], [0.6], [0.7], [0.6], [0.5]])
    average = Reference("the plain average", 0.3, 0.3)
    kept = said(ended(dev, (dev + 0.3) / 2), **{"space 0": average})
    assert "Of the dev gain over the plain average, 50% (50% to 50%) is left on test" in kept
    assert "is not shown" not in kept
    lost = said(ended(dev, np.array([[0.3], [0.2], [0.4], [0.3], [0.3]])), **{"space 0": average})
    assert "Of the dev gain over the plain average, 0% (" in lost
    assert "A gain over the plain average on test is not shown" in lost
    none = said(ended(dev - 0.25, dev), **{"space 0": average})
    assert "cannot be said: that gain, 0.03, is not told from 0." in none
    assert "cannot be said: the seeds are too few." in said(ended(dev[:4], dev[:4]), **{"space 0": average})


def test_what_is_amiss_with_the_runs_is_said() -> None:
    runs = [
        run("de", 0, [0.5, 0.5, 0.4]),
        run("grid", 0, [0.5, 0.25]),
        run("de", 1, [0.5, 0.5, 0.5]),
        run("grid", 1, [0.5]),
        run("de", 2, [0.5]),
    ]
    text = said(runs)
    assert "No run found anything better than the default merge." in text
    assert "2 runs of grid ended before 3 evaluations (the first after 1)" in text
    assert "Left out, since some strategy lacks them: seeds 2." in text
    assert "same in all runs" not in text
    text = said([run("de", 0, [0.5, 1], space="a"), run("grid", 0, [0.375, 0], space="a")])
    assert "The default merge in a does not score the same in all runs (they are up to 0.12 apart)" in text


def test_one_strategy_alone_is_compared_with_none() -> None:
    found = compare([run("random", seed, [0, seed], test=seed) for seed in range(6)])
    assert (found.dev.pairs, found.dev.ranks.groups) == ((), (("random",),))
    assert len(found.sentences) == 1
