"""The merged model as a plain Hugging Face folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from searchmerge import plugins
from searchmerge.files import new_folder, write_json, write_text
from searchmerge.quiet import quiet
from searchmerge.types import MERGED, Recipe
from searchmerge.workshop import Workshop, head_state


def export(
    recipe: Recipe, workshop: Workshop, heads: Mapping[str, str], tokenizer: Any, card: str, folder: Path
) -> None:
    """Write a recipe's model, its tokenizer, its card, and the head of every task.

    The folder holds the merged body in the storage type of the first expert, under the merged head or, where
    every task names an expert's, under that of the first task, and ``heads/TASK.safetensors`` for each task
    with a head of its own, the labels in the metadata.

    Args:
        recipe: of the model.
        workshop: of its sources.
        heads: the live model's name of each task.
        tokenizer: saved beside the weights; None where the sources have none.
        card: the text of the model card.
        folder: replaced when all is written.

    Raises:
        UserError: it cannot be made, or not written.
    """
    first = next(iter(workshop.sources.experts.values()))
    dtype = first.tensors[workshop.layout.spans[0].name].dtype
    with new_folder(folder) as partial:
        carried = MERGED if MERGED in heads.values() else next(iter(heads.values()))
        _save_model(_plain(recipe, workshop, carried), dtype, partial)
        for task, head in heads.items():
            if head != MERGED:
                _save_head(workshop, head, dtype, partial / "heads" / f"{task}.safetensors")
        if tokenizer is not None:
            tokenizer.save_pretrained(partial)
        write_text(partial / "README.md", card)


def _plain(recipe: Recipe, workshop: Workshop, head: str) -> Any:
    """The model as its class alone makes it, whichever space wrote the recipe."""
    space = plugins.load("spaces", recipe["space"])
    if hasattr(space, "plain"):
        return space.plain(recipe, workshop, head)
    return space.realise(recipe, workshop)[head]


def _save_model(model: Any, dtype: torch.dtype, folder: Path) -> None:
    stored: dict[tuple[int, torch.Size], Tensor] = {}

    def copy(tensor: Tensor) -> Tensor:
        # Tied weights stay one tensor under two names, which is how save_pretrained knows them.
        return stored.setdefault((tensor.data_ptr(), tensor.shape), _stored(tensor, dtype))

    with quiet():
        model.save_pretrained(folder, state_dict={name: copy(t) for name, t in model.state_dict().items()})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # save_pretrained writes the live model's type, which is always float32.
    write_json(folder / "config.json", {**config, "dtype": str(dtype).removeprefix("torch.")})


def _save_head(workshop: Workshop, head: str, dtype: torch.dtype, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    state = {name: _stored(tensor, dtype) for name, tensor in head_state(workshop, head).items()}
    # One entry only: safetensors writes several in an order that differs from run to run.
    save_file(state, path, metadata={"label2id": json.dumps(workshop.sources.experts[head].label2id)})


def _stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype, copy=True)
