from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchmerge import config
from searchmerge.config import Subset
from searchmerge.fitness import share_of
from searchmerge.objective.making import build
from searchmerge.objective.subset import part
from searchmerge.objective.task import Task
from tests.fixtures import tiny_tokenizer
from tests.objective.making import CPU, LABELS, objective, random_rows, task, write


class Labelled:
    """As much of a task as is asked for."""

    def __init__(self, gold: Any, name: str = "t") -> None:
        self.gold, self.name, self.examples = np.asarray(gold), name, len(gold)


def taken(gold: Any, share: float, seed: int = 0, name: str = "t") -> list[int]:
    made: Any = Labelled(gold, name)
    return list(part(made, share, seed))


GOLD = st.lists(st.integers(0, 3), min_size=1, max_size=60).map(lambda each: np.array(each, dtype=np.uint8))
SHARES = st.floats(0.01, 1.0)


@given(GOLD, SHARES, SHARES, st.integers(0, 9))
def test_the_larger_part_holds_the_smaller(gold: Any, one: float, other: float, seed: int) -> None:
    small, large = sorted((one, other))
    assert set(taken(gold, small, seed)) <= set(taken(gold, large, seed))


@given(GOLD, SHARES, st.integers(0, 9))
def test_each_label_has_its_share_rounded_up(gold: Any, share: float, seed: int) -> None:
    found = taken(gold, share, seed)
    assert found == sorted(set(found))
    counted = Counter(int(gold[position]) for position in found)
    assert counted == {label: math.ceil(share * n) for label, n in Counter(gold.tolist()).items()}


@pytest.mark.parametrize(
    "gold",
    [np.linspace(0, 1, 40), np.eye(40, 3, dtype=bool), np.ones((40, 2))],
    ids=["numbers", "many", "sums"],
)
def test_without_one_label_an_example_all_are_drawn_alike(gold: Any) -> None:
    found = taken(gold, 0.3)
    assert len(found) == 12
    assert found != list(range(12))


def test_the_whole_is_all_there_is() -> None:
    assert taken([0, 1, 1, 2, 0], 1.0) == [0, 1, 2, 3, 4]


def test_it_is_drawn_by_seed_and_task() -> None:
    gold = np.zeros(50, dtype=np.uint8)
    assert taken(gold, 0.5, 1) == taken(gold, 0.5, 1)
    assert taken(gold, 0.5, 1) != taken(gold, 0.5, 2)
    assert taken(gold, 0.5, 1) != taken(gold, 0.5, 1, name="other")


def test_any_example_may_be_drawn() -> None:
    gold = np.zeros(10, dtype=np.uint8)
    assert {position for seed in range(60) for position in taken(gold, 0.1, seed)} == set(range(10))


def test_a_task_of_the_positions_holds_these_examples(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(tmp_path / "tokenizer")
    rows = random_rows(40)
    dev = task(write(tmp_path / "dev.jsonl", rows))
    (whole,) = objective(tokenizer, dev).tasks
    positions = part(whole, 0.25, 7)
    (some,) = _chosen(tokenizer, dev, positions)
    assert some.gold.tolist() == [whole.gold[position] for position in positions]
    assert _tokens(some) == [_tokens(whole)[position] for position in positions]
    assert some.digest != whole.digest


def _chosen(tokenizer: Any, dev: Any, positions: Any) -> tuple[Task, ...]:
    section = config.Objective.model_validate({"tasks": [dev]})
    means: Any = {"tokenizer": tokenizer, "labels": LABELS, "device": CPU, "chosen": {"tones": positions}}
    return build(section, "dev", **means).tasks


def _tokens(task: Task) -> list[list[int]]:
    """The tokens of each example, in the order of the data."""
    found: dict[int, list[int]] = {}
    for number, batch in enumerate(task.batches.batches):
        for position, ids in zip(task.batches.examples(number), batch["input_ids"].tolist(), strict=True):
            found[int(position)] = [each for each in ids if each]  # 0 is the padding
    return [found[position] for position in range(task.examples)]


# The schedule.


@given(st.floats(0.01, 0.99), st.integers(2, 8))
def test_the_share_grows_by_one_factor_from_start_to_the_whole(start: float, rounds: int) -> None:
    subset = Subset(start=start, rounds=rounds)
    evaluations = 100 * rounds
    shares = [share_of(subset, number / evaluations) for number in range(evaluations)]
    # The number of trial 0 apart, each round has 100 evaluations.
    assert shares[0] == pytest.approx(start)
    assert shares[-1] == 1.0
    seen = sorted(set(shares))
    assert len(seen) == rounds
    assert Counter(shares) == pytest.approx(dict.fromkeys(seen, 100), abs=1)
    assert shares == sorted(shares)
    factors = [after / before for before, after in pairwise(seen)]
    assert factors == pytest.approx([start ** (-1 / (rounds - 1))] * (rounds - 1))


def test_one_round_stays_and_repeats_run_over_into_the_last() -> None:
    one, three = Subset(start=0.2, rounds=1), Subset(start=0.25, rounds=3)
    assert [share_of(one, spent) for spent in (0.0, 0.5, 0.99, 1.7)] == [0.2] * 4
    assert [share_of(three, spent) for spent in (0.0, 0.4, 0.7, 1.0, 2.5)] == [0.25, 0.5, 1, 1, 1]
