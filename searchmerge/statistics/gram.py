"""Inner products of every linear layer's inputs: what RegMean merges by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from searchmerge.objective.batching import Batch, Track
from searchmerge.objective.precision import resolve
from searchmerge.statistics.eight_bits import MOST_ROWS, multiplies_bytes, rounded
from searchmerge.types import UserError

Products = Literal["float32", "bfloat16", "int8"]
"""What inputs are rounded to before they are multiplied."""

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


def products_in(precision: str, device: torch.device) -> Products:
    """The type of products that the config's ``precision`` means: what is quickest for ``auto``.

    Raises:
        UserError: 8 bits are asked for elsewhere than on the CPU.
    """
    if precision == "int8" and device.type != "cpu":
        raise UserError(
            expected="inner products in int8 on the CPU",
            got=f"the device {device.type}",
            cure="set statistics.precision: auto, or device: cpu",
        )
    if precision == "auto":
        if device.type == "cpu" and multiplies_bytes():
            return "int8"
        return "bfloat16" if resolve(precision, device) == torch.bfloat16 else "float32"
    return cast(Products, precision)


def grams(
    model: nn.Module, batches: Sequence[Batch], *, products: Products = "float32", track: Track = iter
) -> Grams:
    """Run a model over texts and add up ``XᵀX`` of each linear layer.

    Jin et al. (2023), "Dataless Knowledge Fusion by Merging Weights of Language Models", arXiv:2212.09849,
    section 3.2. Padding tokens are left out. Of layers that share their input the product is taken once.

    Args:
        model: in evaluation mode.
        batches: what it is called with, in turn.
        products: the type in which each batch's are computed; they are added up in float32. bfloat16 rounds
            inputs and products to the nearest, int8 (on the CPU alone) inputs at random, without bias.
        track: shows how far it has come.
    """
    found = Grams()
    collector = _Collector(found, products)
    with collector.watching(model), torch.inference_mode():
        for batch in track(batches):
            collector.begin(batch)
            model(**batch)
        for matrix in found.matrices.values():
            _mirror(matrix)
    return found


class _Collector:
    """Hooks on linear layers that add their inputs up."""

    def __init__(self, found: Grams, products: Products) -> None:
        self._found, self._products = found, products
        self._key = 0
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
        if self._products == "int8":
            for some in torch.split(rows.float(), MOST_ROWS):
                self._key += 1
                _add_products_of_bytes(self._found.matrices[name], some, self._key)
        else:
            _add_products(self._found.matrices[name], rows, self._products == "bfloat16")

    def _rows(self, inputs: Tensor) -> Tensor:
        """The inputs of real tokens, ``[tokens, in]``; an input that has no token axis counts whole."""
        if self._real is not None and inputs.dim() == 3 and inputs.shape[:2] == self._real.shape:
            return inputs[self._real]
        return inputs.reshape(-1, inputs.shape[-1])


def _add_products(matrix: Tensor, rows: Tensor, fast: bool) -> None:
    """Add ``rowsᵀ rows`` to the blocks on and above the diagonal."""
    rows = rows.bfloat16() if fast else rows.float()
    for start, stop in _blocks(matrix):
        columns, part = rows[:, start:stop].T, matrix[start:stop, start:]
        if fast:
            part.add_(columns @ rows[:, start:])
        else:
            part.addmm_(columns, rows[:, start:])


def _add_products_of_bytes(matrix: Tensor, rows: Tensor, key: int) -> None:
    """Add ``rowsᵀ rows`` to the same blocks, by inputs rounded to 8 bits; its diagonal as it is."""
    numbers, steps, squares = rounded(rows, key)
    diagonal = matrix.diagonal() + squares
    for start, stop in _blocks(matrix):
        # Torch has no public name for a product of 8-bit integers that adds up in 32 bits.
        product = torch._int_mm(numbers[:, start:stop].T, numbers[:, start:])
        matrix[start:stop, start:].addcmul_(product * steps[start:stop, None], steps[start:])
    matrix.diagonal().copy_(diagonal)


def _blocks(matrix: Tensor) -> Iterator[tuple[int, int]]:
    size = len(matrix)
    return ((start, min(start + _BLOCK, size)) for start in range(0, size, _BLOCK))


def _mirror(matrix: Tensor) -> None:
    """Copy what is above the diagonal below it."""
    for start, stop in _blocks(matrix):
        square = matrix[start:stop, start:stop].triu_()
        square.add_(square.triu(1).T)
        matrix[stop:, start:stop] = matrix[start:stop, stop:].T


def shared(found: Grams) -> Mapping[str, Tensor]:
    """Every weight's matrix by its name; shared ones are one tensor."""
    return found.matrices | {name: found.matrices[owner] for name, owner in found.same.items()}
