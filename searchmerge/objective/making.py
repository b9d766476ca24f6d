"""An objective, made from its section of the config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import torch

from searchmerge import config
from searchmerge.config.tasks import AnyTask
from searchmerge.objective import Objective, Split
from searchmerge.objective.batching import BATCH_TOKENS
from searchmerge.objective.difficulty import SMALLER
from searchmerge.objective.kinds import (
    classification,
    generation,
    language_modeling,
    multiple_choice,
    python,
    tagging,
)
from searchmerge.objective.kinds.means import Means
from searchmerge.objective.precision import resolve
from searchmerge.objective.task import Task
from searchmerge.types import MERGED, UserError

Labels: TypeAlias = Mapping[str, Mapping[str, int] | None]
"""A head's name to its label2id, None where it has none; the head of a task that names none is ``MERGED``."""

LOADERS: Mapping[str, Callable[[Any, Any, Means], Task]] = MappingProxyType(
    {
        "text-classification": classification.load,
        "token-classification": tagging.load,
        "language-modeling": language_modeling.load,
        "multiple-choice": multiple_choice.load,
        "generation": generation.load,
        "python": python.load,
    }
)
"""How a task of each kind is made from its section, a split and the means."""

LABELLED = ("text-classification", "token-classification")
"""Kinds of tasks that need a head's labels."""


def tasks_of(
    section: config.Objective,
    split: Split,
    *,
    tokenizer: Any,
    labels: Labels,
    device: torch.device,
    encoder_decoder: bool = False,
    chosen: Mapping[str, Sequence[int]] = MappingProxyType({}),
    groups: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> list[Task]:
    """Read one split of every task that has a part in it, and nothing of the other splits.

    Tasks that are marked as out of domain make up the split ``ood``, by their test texts, and no other.

    Args:
        section: ``objective`` of the config.
        split: which split.
        tokenizer: the models' tokenizer, of transformers.
        labels: the labels of each head that a task names.
        device: where the models are.
        encoder_decoder: whether the models have an encoder and a decoder.
        chosen: the positions of the only examples that are taken, by the task's name; all where it has none.
        groups: by the task's name the group of each example that is taken, by how hard they are; none: the
            batches are made for speed alone.

    Raises:
        UserError: a task lacks the split or names a head that is not there; its data are at fault.
    """
    tasks, usual = [], BATCH_TOKENS[device.type] // (SMALLER if groups else 1)
    for task in section.tasks:
        if task.ood != (split == "ood"):
            continue
        means = Means(
            tokenizer=tokenizer,
            label2id=_label2id(task, labels),
            encoder_decoder=encoder_decoder,
            chosen=chosen.get(task.name),
            groups=groups.get(task.name),
            batch_tokens=section.batch_tokens or usual,
            device=device,
        )
        tasks.append(LOADERS[task.kind](task, _source(task, split), means))
    if not tasks:
        raise UserError(
            expected="a task out of domain for the split ood",
            got=f"only {', '.join(task.name for task in section.tasks)}",
            cure="mark a task with ood: true, or take another split",
        )
    return tasks


def build(
    section: config.Objective,
    split: Split,
    *,
    device: torch.device,
    owners: Callable[[Objective], Mapping[str, float]] | None = None,
    **means: Any,
) -> Objective:
    """Make the objective on one split; arguments and errors as of :func:`tasks_of`.

    Args:
        section: ``objective`` of the config.
        split: which split.
        device: where the models are.
        owners: gives, for an objective of the same tasks, the metric of each task's own expert; None where
            there is none, so that scores cannot be relative: then they are means.
        means: the others of :func:`tasks_of`.
    """
    tasks = tasks_of(section, split, device=device, **means)
    precision = resolve(section.precision, device)
    plain = Objective(tasks, precision=precision, device=device)
    if section.aggregate == "mean" or (section.aggregate == "relative" and owners is None):
        return plain
    own = owners(plain) if section.aggregate == "relative" and owners else None
    return Objective(tasks, precision=precision, device=device, combine=section.aggregate, owners=own)


def _source(task: AnyTask, split: Split) -> config.Source | None:
    source = task.dev if split == "dev" else task.test
    if source is None and (task.kind != "python" or split != "dev"):
        raise UserError(
            expected=f"a {split} split of the task {task.name}", got="none", cure=f"add {split}: to the task"
        )
    return source


def _label2id(task: AnyTask, labels: Labels) -> Mapping[str, int] | None:
    head = task.head or MERGED
    if head not in labels:
        raise UserError(
            expected=f"one of the heads {', '.join(labels)} for the task {task.name}",
            got=head,
            cure="correct head: in the task",
        )
    return labels[head]
