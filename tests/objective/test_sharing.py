"""Heads that are asked about the same texts: their common body answers once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.fixtures import tiny_bert, tiny_tokenizer
from tests.objective.making import objective, random_rows, task, write

HEADS = {"a": {"bad": 0, "good": 1}, "b": {"bad": 0, "fair": 1, "good": 2}}


@pytest.fixture
def tokenizer(tmp_path: Path) -> Any:
    return tiny_tokenizer(tmp_path / "tokenizer")


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Any]:
    """Two classifiers whose bodies are the same memory, as a workshop makes them."""
    made = {
        head: tiny_bert(tmp_path / head, list(names), seed)
        for seed, (head, names) in enumerate(HEADS.items())
    }
    for one, other in zip(made["a"].bert.parameters(), made["b"].bert.parameters(), strict=True):
        other.data = one.data
    return made


@contextmanager
def counted(module: nn.Module) -> Iterator[Counter[int]]:
    """Count how often a module runs."""
    calls: Counter[int] = Counter()
    handle = module.register_forward_hook(lambda *_: calls.update([0]))
    yield calls
    handle.remove()


def two_tasks(tokenizer: Any, folder: Path, **options: Any) -> Any:
    rows = random_rows(30, ["bad", "good"])
    first, second = (write(folder / f"{name}.jsonl", rows) for name in ("one", "two"))
    tasks = [task(first, name="one", head="a"), task(second, name="two", head="b", **options)]
    return objective(tokenizer, *tasks, labels=HEADS, batch_tokens=60)


def test_one_body_runs_once_a_batch(tokenizer: Any, models: dict[str, Any], tmp_path: Path) -> None:
    judge = two_tasks(tokenizer, tmp_path)
    with counted(models["a"].bert.encoder) as calls, counted(models["b"].bert.encoder) as other:
        together = judge(models)
    batches = len(judge.tasks[0].batches.batches)
    assert batches > 3
    assert (calls[0], other[0]) == (batches, 0)
    with torch.inference_mode():
        alone = {
            task.name: task.outcomes([task.answer(models[task.head], batch) for batch in task.asked])
            for task in judge.tasks
        }
    for name, outcomes in alone.items():
        assert (together.outcomes[name] == outcomes).all()
    with counted(models["a"].bert.encoder) as calls:
        judge(models)
    assert calls[0] == batches, "nothing is kept from one candidate to the next"


def test_a_candidate_written_in_place_is_seen(tokenizer: Any, models: dict[str, Any], tmp_path: Path) -> None:
    judge = two_tasks(tokenizer, tmp_path)
    before = judge(models)
    with torch.no_grad():
        for parameter in models["a"].bert.parameters():
            parameter.mul_(-1)
    after = judge(models)
    assert any((before.outcomes[name] != after.outcomes[name]).any() for name in ("one", "two"))
    assert "forward" not in vars(models["a"].bert)


def test_other_texts_or_another_body_share_nothing(
    tokenizer: Any, models: dict[str, Any], tmp_path: Path
) -> None:
    judge = two_tasks(tokenizer, tmp_path, max_length=6)
    with counted(models["a"].bert.encoder) as one, counted(models["b"].bert.encoder) as other:
        judge(models)
    assert [one[0], other[0]] == [len(each.batches.batches) for each in judge.tasks]
    apart = {"a": models["a"], "b": tiny_bert(tmp_path / "c", list(HEADS["b"]), 5)}
    judge = two_tasks(tokenizer, tmp_path)
    with counted(apart["a"].bert.encoder) as one, counted(apart["b"].bert.encoder) as other:
        judge(apart)
    assert one[0] == other[0] == len(judge.tasks[0].batches.batches)


def test_two_metrics_of_one_head_are_one_forward(
    tokenizer: Any, models: dict[str, Any], tmp_path: Path
) -> None:
    rows = random_rows(30, ["bad", "good"])
    dev = write(tmp_path / "dev.jsonl", rows)
    tasks = [task(dev, name="one", head="a"), task(dev, name="two", head="a", metric="macro_f1")]
    judge = objective(tokenizer, *tasks, labels=HEADS, batch_tokens=60)
    with counted(models["a"]) as calls:
        evaluation = judge(models)
    assert calls[0] == len(judge.tasks[0].batches.batches)
    assert (evaluation.outcomes["one"] == evaluation.outcomes["two"]).all()
    assert evaluation.metrics["one"] != evaluation.metrics["two"]
