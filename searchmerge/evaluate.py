"""A model as it stands on disk, scored on a config's tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from safetensors import safe_open
from torch import Tensor, nn

from searchmerge import objective as objectives
from searchmerge.bench import Split, device_of
from searchmerge.config import Config
from searchmerge.judge import Standing, standing
from searchmerge.skeleton import as_saved
from searchmerge.sources.checkpoint import Checkpoint
from searchmerge.types import MERGED, UserError


def evaluate(ref: str, config: Config, split: Split) -> Standing:
    """Score a model on every task of the config.

    A task is scored by ``heads/TASK.safetensors`` where the folder holds it (as an exported merge does), else
    by the model's own head.

    Args:
        ref: a Hugging Face folder or hub id.
        config: its ``objective`` section is used.
        split: ``dev`` or ``test``.

    Raises:
        UserError: no such model, or no head that fits a task.
    """
    trust = config.models.trust_remote_code
    checkpoint = Checkpoint.open(ref, allow_pickle=config.models.allow_pickle, trust_remote_code=trust)
    device = device_of(config.device)
    models: dict[str, nn.Module] = {}
    labels: dict[str, Mapping[str, int]] = {}
    for task in config.objective.tasks:
        head = task.head or MERGED
        if head not in models:
            models[head], labels[head] = _with_head(checkpoint, task.name, device, trust)
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint.folder, trust_remote_code=trust)
    objective = objectives.build(config.objective, split, tokenizer=tokenizer, labels=labels, device=device)
    return standing(objective, objective(models))


def _with_head(
    checkpoint: Checkpoint, task: str, device: torch.device, trust: bool
) -> tuple[nn.Module, Mapping[str, int]]:
    own, labels = _head(checkpoint, task)
    if not labels:
        raise UserError(
            expected=f"a classification head for task {task}",
            got=f"neither label2id in {checkpoint.folder}/config.json nor heads/{task}.safetensors",
            cure="give a classifier, or a model that a search exported",
        )
    model = as_saved(checkpoint, device, labels=labels, own=own, trust_remote_code=trust)
    return model, labels


def _head(checkpoint: Checkpoint, task: str) -> tuple[dict[str, Tensor], Mapping[str, int]]:
    path = checkpoint.folder / "heads" / f"{task}.safetensors"
    if not path.exists():
        return {}, checkpoint.label2id or {}
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, Any] = file.metadata()
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (no dict)
        return tensors, json.loads(metadata["label2id"])
