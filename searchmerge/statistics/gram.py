"""Inner products of every linear layer's inputs: what RegMean merges by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from searchmerge.objective.batching import Batch, Track

_BLOCK = 256
"""Columns of a product that are computed at once: products are symmetric, and half of them need not be."""


@dataclass
class Grams:
    """What a model's linear layers saw.

    Args:
        matrices: float32 ``[in, in]``, the sum of ``x xᵀ`` over the inputs ``x``, by the weight's name.
        same: weights with the very inputs of another one (query, key and value), by name to its name.
        input_first: weights that are stored ``[in, out]`` (``Conv1D``), not ``[out, in]``.
    """

    matrices: dict[str, Tensor] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    input_first: list[str] = field(default_factory=list)


def grams(model: nn.Module, batches: Sequence[Batch], *, fast: bool = False, track: Track = iter) -> Grams:
    """Run a model over texts and add up ``XᵀX`` of each linear layer.

    Jin et al. (2023), "Dataless Knowledge Fusion by Merging Weights of Language Models", arXiv:2212.09849,
    section 3.2. Padding tokens are left out. Of layers that share their input the product is taken once.

    Args:
        model: in evaluation mode.
        batches: what it is called with, in turn.
        fast: whether each batch's products are computed in bfloat16; they are added up in float32.
        track: shows how far it has come.
    """
    found = Grams()
    collector = _Collector(found, fast)
    with collector.watching(model), torch.inference_mode():
        for batch in track(batches):
            collector.begin(batch)
            model(**batch)
        for matrix in found.matrices.values():
            _mirror(matrix)
    return found


class _Collector:
    """Hooks on linear layers that add their inputs up."""

    def __init__(self, found: Grams, fast: bool) -> None:
        self._found, self._fast = found, fast
        self._real: Tensor | None = None
        self._seen: list[tuple[Tensor, str]] = []

    def begin(self, batch: Batch) -> None:
        mask = batch.get("attention_mask")
        self._real = None if mask is None else mask.bool()
        self._seen = []

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        handles = [
            module.register_forward_pre_hook(self._hook(f"{name}.weight" if name else "weight"))
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear | Conv1D)
        ]
        self._found.input_first += [
            f"{name}.weight" for name, module in model.named_modules() if isinstance(module, Conv1D)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:  # noqa: ARG001 - torch's signature
            self._add(name, inputs[0])

        return hook

    def _add(self, name: str, inputs: Tensor) -> None:
        owner = next((other for tensor, other in self._seen if tensor is inputs), None)
        if owner is not None and self._found.same.get(name, owner) == owner and owner != name:
            self._found.same[name] = owner
            return
        self._seen.append((inputs, name))
        rows = self._rows(inputs)
        if name not in self._found.matrices:
            size = (rows.shape[1], rows.shape[1])
            self._found.matrices[name] = rows.new_zeros(size, dtype=torch.float32)
        _add_products(self._found.matrices[name], rows, self._fast)

    def _rows(self, inputs: Tensor) -> Tensor:
        """The inputs of real tokens, ``[tokens, in]``; an input that has no token axis counts whole."""
        if self._real is not None and inputs.dim() == 3 and inputs.shape[:2] == self._real.shape:
            return inputs[self._real]
        return inputs.reshape(-1, inputs.shape[-1])


def _add_products(matrix: Tensor, rows: Tensor, fast: bool) -> None:
    """Add ``rowsᵀ rows`` to the blocks on and above the diagonal."""
    rows = rows.bfloat16() if fast else rows.float()
    for start in range(0, matrix.shape[0], _BLOCK):
        stop = min(start + _BLOCK, matrix.shape[0])
        columns, part = rows[:, start:stop].T, matrix[start:stop, start:]
        if fast:
            part.add_(columns @ rows[:, start:])
        else:
            part.addmm_(columns, rows[:, start:])


def _mirror(matrix: Tensor) -> None:
    """Copy what is above the diagonal below it."""
    matrix.triu_()
    matrix.add_(matrix.triu(1).T)


def shared(found: Grams) -> Mapping[str, Tensor]:
    """Every weight's matrix by its name; shared ones are one tensor."""
    return found.matrices | {name: found.matrices[owner] for name, owner in found.same.items()}
