"""A model as it stands on disk, ready to be scored on a config's tasks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from searchmerge.config.tasks import AnyTask
from searchmerge.objective.making import LABELLED
from searchmerge.skeleton import as_saved
from searchmerge.sources.checkpoint import Checkpoint
from searchmerge.types import MERGED, UserError


def standalone(
    checkpoint: Checkpoint, tasks: Iterable[AnyTask], device: torch.device, *, trust_remote_code: bool
) -> tuple[dict[str, nn.Module], dict[str, Mapping[str, int] | None]]:
    """Build a checkpoint's live models and give their labels, both by the head that the tasks name.

    A task is scored by ``heads/TASK.safetensors`` where the folder holds it (as an exported merge does), else
    by the model's own head.

    Raises:
        UserError: no head that fits a task.
    """
    models: dict[str, nn.Module] = {}
    labels: dict[str, Mapping[str, int] | None] = {}
    for task in tasks:
        head = task.head or MERGED
        if head not in models:
            models[head], labels[head] = _with_head(checkpoint, task, device, trust_remote_code)
    return models, labels


def labels_of(checkpoint: Checkpoint, tasks: Iterable[AnyTask]) -> dict[str, Mapping[str, int]]:
    """The labels that :func:`standalone` gives, from headers alone."""
    labels: dict[str, Mapping[str, int]] = {}
    for task in tasks:
        labels.setdefault(task.head or MERGED, _head(checkpoint, task.name)[1])
    return labels


def _with_head(
    checkpoint: Checkpoint, task: AnyTask, device: torch.device, trust: bool
) -> tuple[nn.Module, Mapping[str, int] | None]:
    own, labels = _head(checkpoint, task.name)
    if not labels and task.kind in LABELLED:
        raise UserError(
            expected=f"a classification head for task {task.name}",
            got=f"neither label2id in {checkpoint.folder}/config.json nor heads/{task.name}.safetensors",
            cure="give a classifier, or a model that a search exported",
        )
    model = as_saved(checkpoint, device, labels=labels or None, own=own, trust_remote_code=trust)
    return model, labels


def _head(checkpoint: Checkpoint, task: str) -> tuple[dict[str, Tensor], Mapping[str, int]]:
    path = checkpoint.folder / "heads" / f"{task}.safetensors"
    if not path.exists():
        return {}, checkpoint.label2id or {}
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, Any] = file.metadata()
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (no dict)
        return tensors, json.loads(metadata["label2id"])
