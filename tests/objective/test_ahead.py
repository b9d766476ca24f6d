"""Batches side by side: in turn, as the caller computes, to the bit what one after the other gives."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import BertForSequenceClassification

from searchmerge.objective import Objective
from searchmerge.objective.ahead import Ahead, lanes_for
from tests.fixtures import tiny_bert, tiny_tokenizer
from tests.objective.making import objective, random_rows, task, write

THREADS = 4


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def test_answers_come_in_turn_whichever_is_ready_first() -> None:
    def work(item: int) -> int:
        time.sleep(0.02 * (item % 3 == 0))
        return item * item

    with Ahead(work, range(20), "cpu", 2) as coming:
        assert list(coming) == [(item, item * item) for item in range(20)]


@pytest.mark.parametrize("lanes", [2, 4])
def test_lanes_work_at_the_same_time_and_share_the_threads(lanes: int) -> None:
    together = threading.Barrier(lanes, timeout=60)

    def work(_: int) -> int:
        together.wait()  # breaks if it has to be waited for by one lane after the other
        return torch.get_num_threads()

    with Ahead(work, range(2 * lanes), "cpu", lanes) as coming:
        assert [answer for _, answer in coming] == [THREADS // lanes] * (2 * lanes)
    found: list[int] = []
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [torch.get_num_threads()] == [THREADS]


def test_one_lane_is_the_calling_thread_and_does_nothing_in_advance() -> None:
    seen: list[tuple[int, int]] = []
    with Ahead(lambda item: seen.append((item, threading.get_ident())), range(3), "cpu", 1) as coming:
        for number in range(3):
            next(coming)
            assert seen[number:] == [(number, threading.get_ident())]


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("autocast", [None, torch.bfloat16, torch.float16])
def test_lanes_compute_as_the_caller_does(gradients: bool, autocast: torch.dtype | None) -> None:
    weight = torch.ones(3, 3, requires_grad=True)

    def work(_: int) -> tuple[torch.dtype, bool]:
        product = torch.ones(3, 3) @ weight
        return product.dtype, product.requires_grad

    with (
        torch.set_grad_enabled(gradients),
        torch.autocast("cpu", autocast, enabled=autocast is not None),
        Ahead(work, range(8), "cpu", 2) as coming,
    ):
        assert [answer for _, answer in coming] == [(autocast or torch.float32, gradients)] * 8


def test_who_leaves_early_leaves_the_others_out() -> None:
    seen: list[int] = []

    def work(item: int) -> None:
        time.sleep(0.01)
        seen.append(item)

    with Ahead(work, range(1000), "cpu", 2) as coming:
        next(coming)
    left = len(seen)
    time.sleep(0.05)
    assert left == len(seen) < 500, "nothing goes on after the block"


def test_items_may_depend_on_answers_that_have_been_given() -> None:
    given: list[int] = []
    began: list[tuple[int, int]] = []

    def items() -> Iterator[int]:
        for item in range(30):
            began.append((item, len(given)))
            yield item

    lanes = 2
    with Ahead(lambda item: item, items(), "cpu", lanes) as coming:
        for item, _ in coming:
            given.append(item)
    assert given == list(range(30))
    # As many are on their way as there are lanes, and one more.
    assert [known for _, known in began] == [max(0, item - lanes) for item in range(30)]


def test_an_error_comes_in_its_turn() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise FloatingPointError("no number")
        return item

    with Ahead(work, range(8), "cpu", 2) as coming:
        assert [next(coming) for _ in range(3)] == [(0, 0), (1, 1), (2, 2)]
        with pytest.raises(FloatingPointError, match="no number"):
            next(coming)


@given(items=st.integers(0, 100), threads=st.integers(1, 64))
def test_threads_are_shared_out_evenly_and_each_lane_has_work(items: int, threads: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: threads)
        lanes = lanes_for(items)
    assert lanes == 1 or (threads % lanes == 0 and items >= 4 * lanes)
    larger = [each for each in range(lanes + 1, threads + 1) if threads % each == 0]
    assert all(items < 4 * each for each in larger)


# Evaluations.


class Own(BertForSequenceClassification):  # type: ignore[misc]  # transformers has no types
    """A class that transformers does not have."""


@pytest.fixture
def model(tmp_path: Path) -> Any:
    return tiny_bert(tmp_path / "bert", ["bad", "good"], 1)


@pytest.fixture
def judge(tmp_path: Path) -> Objective:
    dev = write(tmp_path / "dev.jsonl", random_rows(80, ["bad", "good"]))
    tokenizer = tiny_tokenizer(tmp_path / "tokenizer")
    labels = {"merged": {"bad": 0, "good": 1}}
    return objective(tokenizer, task(dev), labels=labels, batch_tokens=40, precision="bfloat16")


def threads_that_run(module: nn.Module) -> set[int]:
    seen: set[int] = set()
    module.register_forward_hook(lambda *_: seen.add(threading.get_ident()))
    return seen


def test_an_evaluation_is_the_same_side_by_side(judge: Objective, model: Any) -> None:
    seen = threads_that_run(model)
    beside = judge({"merged": model})
    assert seen
    assert threading.get_ident() not in seen
    torch.set_num_threads(1)
    alone = judge({"merged": model})
    assert alone.score == beside.score
    assert (alone.outcomes["tones"] == beside.outcomes["tones"]).all()


def test_weights_that_changed_are_converted_again(judge: Objective, model: Any) -> None:
    scores = []
    for seed in range(4):
        torch.manual_seed(seed)
        for parameter in model.parameters():
            parameter.data.normal_()
        torch.set_num_threads(THREADS)
        scores.append(judge({"merged": model}).outcomes["tones"].tolist())
        torch.set_num_threads(1)
        assert judge({"merged": model}).outcomes["tones"].tolist() == scores[-1]
    assert len(set(map(str, scores))) > 1


def test_a_floor_decides_at_the_same_batch(judge: Objective, model: Any) -> None:
    score = judge({"merged": model}).score
    counts = []
    for threads in (1, THREADS):
        torch.set_num_threads(threads)
        before = judge.forwarded
        assert judge.above({"merged": model}, score) is None
        counts.append(judge.forwarded - before)
    assert counts[1] <= counts[0], "what did harm comes first the second time"
    above = judge.above({"merged": model}, score - 0.01)
    assert above is not None
    assert above.score == score


def test_a_model_that_nobody_knows_is_asked_by_one_thread(judge: Objective, model: Any) -> None:
    model.__class__ = Own
    seen = threads_that_run(model)
    judge({"merged": model})
    assert seen == {threading.get_ident()}
