from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from searchmerge.compare import Run
from searchmerge.compare.field import arrange
from searchmerge.compare.targets import targets
from tests.compare.making import fields, run


def test_targets_lie_in_equal_ratios_below_the_best_score_reached() -> None:
    found = targets(arrange([run("a", 0, [0.5, 0.7]), run("b", 0, [0.5, 0.9])]))
    assert found
    scores = found.scores[""]
    assert len(scores) == 51
    assert scores[-1] == 0.9
    missing = [(0.9 - each) / 0.4 for each in scores[:-1]]
    assert missing[-1] == pytest.approx(0.01)
    for one, other in zip([1.0, *missing], missing, strict=False):
        assert other / one == pytest.approx(0.01 ** (1 / 50))


@given(fields())
def test_hits_are_first_evaluations_and_the_curve_counts_them(runs: list[Run]) -> None:
    found, field = targets(arrange(runs)), arrange(runs)
    if found is None:
        assert all(max(each.scores) == each.scores[0] for each in runs)
        return
    for name in field.strategies:
        own = [each for space in found.scores for each in field.of(name, space)]
        assert found.hits[name].shape == (len(own), 51)
        for row, each in zip(found.hits[name], own, strict=True):
            for hit, target in zip(row, found.scores[each.space], strict=True):
                above = [place for place, score in enumerate(each.scores, 1) if score >= target]
                assert hit == (above[0] if above else np.inf)
        for count, share in enumerate(found.reached[name], 1):
            assert share == pytest.approx(np.mean([hit <= count for hit in found.hits[name].flat]))


def test_who_reaches_nothing_stays_at_nothing() -> None:
    found = targets(arrange([run("a", 0, [0, -np.inf, -1]), run("b", 0, [0, 1, 1])]))
    assert found
    assert np.isinf(found.hits["a"]).all()
    assert list(found.reached["a"]) == [0, 0, 0]
    assert list(found.reached["b"]) == [0, 1, 1]
