"""Modules without weights of their own: built from a config, then filled with tensors that others own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.initialization import no_init_weights

from searchmerge.sources.checkpoint import Checkpoint
from searchmerge.types import UserError


def skeleton(
    checkpoint: Checkpoint, *, labels: Mapping[str, int] | None = None, trust_remote_code: bool = False
) -> nn.Module:
    """Build the checkpoint's module in float32, parameters uninitialised, buffers as the config makes them.

    Args:
        checkpoint: gives the config and the class.
        labels: label2id of another head than the checkpoint's own.
        trust_remote_code: whether a class that came with the checkpoint may be imported.

    Raises:
        UserError: transformers has no class of that name.
    """
    name = checkpoint.architecture
    config = transformers.AutoConfig.from_pretrained(
        checkpoint.folder, trust_remote_code=trust_remote_code, local_files_only=True
    )
    if labels is not None:
        config.label2id, config.id2label = dict(labels), {number: label for label, number in labels.items()}
    model_class: Any = getattr(transformers, name or "", None)
    with no_init_weights():
        if model_class is not None:
            model: nn.Module = model_class(config)
        elif trust_remote_code:
            model = transformers.AutoModel.from_config(config, trust_remote_code=True)
        else:
            raise UserError(
                expected=f"a model class that transformers {transformers.__version__} has",
                got=f"{name} in {checkpoint.folder}",
                cure="name a class of transformers under architectures in config.json",
            )
    _take_generation_settings(model, checkpoint)
    return model.float().eval().requires_grad_(False)


def _take_generation_settings(model: Any, checkpoint: Checkpoint) -> None:
    """Give a model that writes the settings that were saved with it: which tokens end a text, for one."""
    if (checkpoint.folder / "generation_config.json").is_file() and model.can_generate():
        model.generation_config = transformers.GenerationConfig.from_pretrained(
            checkpoint.folder, local_files_only=True
        )


def as_saved(
    checkpoint: Checkpoint,
    device: torch.device,
    *,
    labels: Mapping[str, int] | None = None,
    own: Mapping[str, Tensor] = MappingProxyType({}),
    trust_remote_code: bool = False,
) -> nn.Module:
    """Build the checkpoint's module with the weights that it holds, in float32.

    Args:
        checkpoint: gives class, config and weights.
        device: where the module is put.
        labels: label2id of another head than the checkpoint's own.
        own: parameters that stand in the place of the checkpoint's, by name.
        trust_remote_code: as of :func:`skeleton`.

    Raises:
        UserError: a parameter that the checkpoint does not hold.
    """
    model = skeleton(checkpoint, labels=labels, trust_remote_code=trust_remote_code)

    def source(parameter: str) -> Tensor:
        if parameter in own:
            return own[parameter].to(device)
        name = checkpoint.canonical(parameter)
        if name not in checkpoint.tensors:
            raise UserError(
                expected=f"weights for {parameter} of {checkpoint.architecture}",
                got=f"none in {checkpoint.folder}",
                cure="give a checkpoint that was saved whole",
            )
        return checkpoint.load(name).float().to(device)

    fill(model, source, device)
    return model


def fill(model: nn.Module, source: Callable[[str], Tensor], device: torch.device) -> None:
    """Make every parameter and persistent buffer of the model an alias of ``source(name)``.

    Tied parameters are one parameter under several names: the first name is asked for. Buffers that no
    checkpoint holds (rotary frequencies) stay as the config made them.
    """
    persistent = model.state_dict(keep_vars=True)
    for name, parameter in model.named_parameters():
        parameter.data = source(name)
    for name, buffer in model.named_buffers():
        buffer.data = source(name) if name in persistent and buffer.is_floating_point() else buffer.to(device)


def share(models: Iterable[nn.Module]) -> None:
    """Make parameters of several models that are the same memory one object.

    What is computed of it once, its conversion to another type, is then there for all of them.
    """
    known: dict[tuple[int, torch.Size], nn.Parameter] = {}
    for model in models:
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
                one = known.setdefault((parameter.data_ptr(), parameter.shape), parameter)
                module.register_parameter(name, one)
