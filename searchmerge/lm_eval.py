"""Tasks of EleutherAI's lm-evaluation-harness, as a function for tasks in Python.

In the config: ``kind: python``, ``function: searchmerge.lm_eval:score`` and, as an example,
``options: {tasks: [arc_easy], split: validation, limit: 200}``.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from numbers import Real
from typing import Any, Literal

import torch
from torch import nn

from searchmerge.objective.kinds.python import prepared_by
from searchmerge.types import UserError


@dataclass(frozen=True)
class _Known:
    """A task, and the name of its test split; None where it has none."""

    task: Any
    test: str | None


def prepare(
    *,
    chooses: bool,
    tasks: str | Sequence[str],
    split: Literal["validation", "test"] | None = None,
    metric: str | None = None,
    num_fewshot: int | None = None,
    include_path: str | None = None,
    allow_test: bool = False,
    **_: Any,
) -> Any:
    """Load the tasks, and say what their scores depend on besides the options, as JSON.

    Args:
        chooses: whether a search is to choose by them; then their test splits are refused.
        tasks: as :func:`score`, like the rest.
        split: see there.
        metric: see there.
        num_fewshot: see there.
        include_path: see there.
        allow_test: see there.

    Raises:
        UserError: lm-eval or a task is not there; a task without that split or metric; a test split.
    """
    loaded = _loaded(_names(tasks), split, num_fewshot, include_path)
    for name, known in loaded.items():
        metrics = list(known.task.aggregation())
        if metric is not None and metric.partition(",")[0] not in metrics:
            raise UserError(
                expected=f"one of the metrics {', '.join(metrics)} of lm-eval's task {name}",
                got=metric,
                cure="correct metric: in the options",
            )
        if chooses and not allow_test and (use := _use_of_test(known, num_fewshot)):
            raise UserError(
                expected=f"a split of lm-eval's task {name} that may choose",
                got=f"its test split, {use}",
                cure="set split: validation in the options, take another task, or set allow_test: true",
            )
    return [version("lm-eval"), {name: len(known.task.eval_docs) for name, known in loaded.items()}]


@prepared_by(prepare)
def score(
    model: nn.Module,
    tokenizer: Any,
    examples: object,  # noqa: ARG001 (of the config's)
    *,
    tasks: str | Sequence[str],
    split: Literal["validation", "test"] | None = None,
    metric: str | None = None,
    limit: float | None = None,
    num_fewshot: int | None = None,
    batch_size: int = 8,
    apply_chat_template: bool = False,
    include_path: str | None = None,
    allow_test: bool = False,  # noqa: ARG001 (for prepare)
) -> float | list[float]:
    """Score a model by tasks of lm-eval.

    Args:
        model: a model that writes, of transformers.
        tokenizer: its tokenizer.
        examples: not used: lm-eval reads its own.
        tasks: names of tasks, groups or tags, or YAML files.
        split: ``validation`` or ``test``; None for what lm-eval takes: the test split where there is one.
        metric: its name, as ``acc_norm`` or ``exact_match,strict-match``; None for the first.
        limit: documents of each task, or their share if below 1.
        num_fewshot: worked examples before each document.
        batch_size: requests in one forward pass.
        apply_chat_template: whether prompts are turns of a chat.
        include_path: a folder of further tasks.
        allow_test: whether a search may choose by a test split.

    Returns:
        The score of each document where the metric is their mean, else the mean over the tasks; a metric that
        is better when lower with a minus.
    """
    loaded = _loaded(_names(tasks), split, num_fewshot, include_path)
    with _silent():
        import lm_eval
        from lm_eval.models.huggingface import HFLM

        if tokenizer.pad_token_id is None:
            tokenizer = deepcopy(tokenizer)  # it is given one, which is not to be exported
        found = lm_eval.simple_evaluate(
            HFLM(model, tokenizer=tokenizer, batch_size=batch_size, mixed_precision_dtype=_autocast(model)),
            tasks=[known.task for known in loaded.values()],
            limit=limit,
            num_fewshot=num_fewshot,
            apply_chat_template=apply_chat_template,
            bootstrap_iters=0,
            task_manager=_manager(include_path),
        )
    scored = [_scores(name, known.task, metric, found) for name, known in loaded.items()]
    if all(documents is not None for _, documents in scored):
        return [each for _, documents in scored for each in documents or ()]
    return sum(mean for mean, _ in scored) / len(scored)


def _autocast(model: Any) -> torch.dtype | None:
    """The objective's precision, which lm-eval would turn off."""
    device = model.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def _scores(
    name: str, task: Any, metric: str | None, found: Mapping[str, Any]
) -> tuple[float, list[float] | None]:
    """A task's metric and, where that is their mean, each document's score; higher is better."""
    results = found["results"][name]
    keys = [key for key in results if "," in key and not key.partition(",")[0].endswith("_stderr")]
    key = next(key for key in keys if metric in (None, key, key.partition(",")[0]))
    plain, _, filtered_by = key.partition(",")
    sign = 1 if task.higher_is_better().get(plain, True) else -1
    values = [each[plain] for each in found["samples"][name] if each["filter"] == filtered_by]
    numbers = [sign * float(value) for value in values if isinstance(value, Real)]
    mean = sign * float(results[key])
    same = len(numbers) == len(values) and math.isclose(math.fsum(numbers) / len(numbers), mean, abs_tol=1e-9)
    return mean, numbers if same else None


def _use_of_test(known: _Known, num_fewshot: int | None) -> str:
    """What a task's test split is used for; nothing where it is not."""
    task = known.task
    if known.test is None:
        return ""
    if task.get_config("test_split") in (None, known.test):
        return "which lm-eval evaluates where there is one"
    shots = task.get_config("num_fewshot") if num_fewshot is None else num_fewshot
    return "by its worked examples" if shots and task.fewshot_cfg.split == known.test else ""


def _names(tasks: str | Sequence[str]) -> tuple[str, ...]:
    return (tasks,) if isinstance(tasks, str) else tuple(tasks)


@cache
def _loaded(
    tasks: tuple[str, ...],
    split: str | None,
    num_fewshot: int | None,  # noqa: ARG001 (tasks remember it: there are others for each number)
    include_path: str | None,
) -> Mapping[str, _Known]:
    """The tasks by name, that evaluate this split."""
    with _silent():
        manager = _manager(include_path)
        try:
            loaded = manager.load(list(tasks))["tasks"]
        except Exception as error:  # whatever lm-eval, the hub or a data set's files raise
            raise UserError(
                expected=f"the tasks {', '.join(tasks)} of lm-eval",
                got=f"{type(error).__name__}: {' '.join(str(error).split())}",
                cure="correct tasks: in the options; lm-eval ls tasks lists them",
            ) from error
    return {name: _with_split(name, task, split) for name, task in loaded.items()}


def _with_split(name: str, task: Any, split: str | None) -> _Known:
    has = {"validation": task.has_validation_docs(), "test": task.has_test_docs()}
    there = [each for each in has if has[each]]
    if split not in (None, *there):
        raise UserError(
            expected=f"a split of lm-eval's task {name}: {' or '.join(there)}",
            got=str(split),
            cure="correct split: in the options, or take another task",
        )
    test = (task.get_config("test_split") or "test") if has["test"] else None
    if split == "validation":
        # Under the name of the test split: so lm-eval keeps a document out of its own worked examples.
        task.set_config("test_split", task.get_config("validation_split"))
    return _Known(task, test)


@cache
def _manager(include_path: str | None) -> Any:
    try:
        from lm_eval.tasks import TaskManager
    except ModuleNotFoundError as error:
        raise UserError(
            expected="the package lm-eval, for searchmerge.lm_eval",
            got=str(error),
            cure='pip install "searchmerge[lm-eval]"',
        ) from error
    return TaskManager(include_path=include_path)


@contextmanager
def _silent() -> Iterator[None]:
    """lm-eval without its notes and bars."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
