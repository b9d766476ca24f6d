"""The order of batches where candidates may be stopped: what is expected to cost most a token comes first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.objective.asking import Round
from searchmerge.objective.promise import Promise


class Batched:
    """Two texts a batch, of equal cost."""

    def __init__(self, name: str, batches: int, weight: float = 1.0) -> None:
        self.name, self.weight, self.examples = name, weight, 2 * batches
        self.gold = np.zeros(2 * batches, dtype=np.int64)
        self.costs = [10] * batches
        self.batches: Any = self
        self.sizes = (2,) * batches

    def examples_of(self, number: int) -> Any:
        return np.array([2 * number, 2 * number + 1])


def tasks(**batches: int) -> list[Any]:
    found: list[Any] = []
    for name, count in batches.items():
        task = Batched(name, count)
        task.batches = type("B", (), {"sizes": task.sizes, "examples": staticmethod(task.examples_of)})
        found.append(task)
    return found


def told(
    promise: Promise, lost: dict[tuple[str, int], float], until: int | None = None
) -> list[tuple[str, int]]:
    """Read a candidate that loses so much in each batch; give the batches in the order of reading."""
    order = []
    for asked in promise.rounds():
        place = asked.tasks[0].name, asked.number
        order.append(place)
        promise.note(asked.tasks[0], asked.number, lost.get(place, 0.0))
        if until is not None and len(order) == until:
            break
    return order


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99), st.integers(0, 5))
def test_every_batch_comes_once_whatever_was_learned(a: int, b: int, seed: int, candidates: int) -> None:
    rng, promise = np.random.default_rng(seed), Promise(tasks(a=a, b=b))
    places = [("a", number) for number in range(a)] + [("b", number) for number in range(b)]
    for _ in range(candidates):
        told(
            promise,
            {place: float(rng.integers(3)) for place in places},
            until=int(rng.integers(1, a + b + 1)),
        )
    assert sorted(told(promise, {})) == places


def test_what_cost_the_others_most_comes_first() -> None:
    promise = Promise(tasks(a=4))
    lost = {("a", 2): 2.0, ("a", 1): 1.0}
    assert told(promise, lost) == [("a", number) for number in range(4)], "nothing is known yet"
    assert told(promise, lost)[:2] == [("a", 2), ("a", 1)]


def test_what_was_read_to_the_end_is_learned_from() -> None:
    promise = Promise(tasks(a=3, b=3))
    promise.learn({"a": np.zeros(6, dtype=int), "b": np.array([0, 0, 1, 1, 0, 1])})
    assert told(promise, {})[:2] == [("b", 1), ("b", 2)]


def test_a_candidate_that_loses_a_job_is_asked_about_that_job() -> None:
    """Both jobs cost others the same; who has lost more of one than expected is asked for more of it."""
    promise = Promise(tasks(a=6, b=6))
    half = np.tile([0, 1], 6)
    for _ in range(20):
        promise.learn({"a": half, "b": half})
    for job in ("b", "a"):
        order = [task for task, _ in told(promise, {(job, number): 2.0 for number in range(6)})]
        first = order.index(job)
        assert first <= 2, "a job that goes well is soon left for the other"
        assert order[first : first + 6] == [job] * 6


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_a_shortfall_counts_by_its_tasks_weight(weight: float) -> None:
    a, b = tasks(a=2, b=2)
    b.weight = weight
    promise = Promise([a, b])
    assert next(promise.rounds()) == Round((a if weight < 1 else b,), 0)
