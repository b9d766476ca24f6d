"""What floors can save: batches hold every text once, and a replay stops where a loop would."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.rejection import Candidate, packed, read


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=40),
    groups=st.integers(1, 3),
    most=st.sampled_from([1, 40, 200]),
)
def test_every_text_is_in_one_batch_of_its_group(lengths: list[int], groups: int, most: int) -> None:
    of = np.arange(len(lengths)) % groups
    batches = packed(np.array(lengths), of, most)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    for batch in batches:
        assert len(set(of[batch])) == 1
        assert len(batch) == 1 or np.array(lengths)[batch].max() * len(batch) <= most


def test_a_replay_stops_where_the_floor_is_out_of_reach() -> None:
    lengths = np.full(10, 3)
    batches = [np.array([2 * number, 2 * number + 1]) for number in range(5)]
    lost = np.zeros(10)
    lost[[6, 7, 8, 9]] = 0.1
    free, stopped = Candidate(-inf, lost), Candidate(0.75, lost)
    # Of the first all 5 batches are read; of the second those two that the first had errors in.
    assert read([free, stopped], batches, lengths) == pytest.approx(7 / 10)
    assert read([stopped], batches, lengths) == pytest.approx(5 / 5), "nothing is known yet"
    assert read([stopped], batches, lengths, known=True) == pytest.approx(2 / 5)
    assert read([Candidate(0.5, lost)], batches, lengths, known=True) == 1, "it does exceed its floor"
