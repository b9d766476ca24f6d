"""Crossover of whole models: a child takes some parameters of a mutant, the others of its parent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from searchmerge.layout import Layout, Span
from searchmerge.merging.masks import BLOCK, block_key, key, masks_on, threshold_of
from searchmerge.merging.slabs import weighted_sum

Unit: TypeAlias = Literal["parameter", "row", "tensor", "layer"]
"""What is crossed as a whole: one number, one row of a matrix (its first index), a tensor, a layer."""

UNITS: tuple[Unit, ...] = get_args(Unit)

MOST_TERMS = 5
"""Individuals that a mutant may be the weighted sum of."""

COMPILED = (torch.float32, torch.bfloat16)
"""Types of individuals on a CPU whose parameters are crossed in one pass over the memory."""


@dataclass(frozen=True)
class Parents:
    """What a child is made of.

    Args:
        parent: ``[size]``, in whatever type individuals are stored in.
        mutant: individuals alike with their coefficients; the mutant is their weighted sum.
        cr: probability that a unit is the mutant's.
        seed: of the masks.
    """

    parent: Tensor
    mutant: Sequence[tuple[Tensor, float]]
    cr: float
    seed: int


class Crossover:
    """Makes children block by block, with room for a few blocks and nothing else.

    ``child = mask * mutant + (1 - mask) * parent``, the binomial crossover of Storn & Price (1997), eq. 4,
    over every parameter of a model as in Du et al. (2024, "Knowledge Fusion by Evolving Weights of Language
    Models", arXiv:2406.12208). The mask of a unit is a hash of the seed, the tensor's name (for unit
    ``layer`` the layer's) and the unit's index; it is never stored.

    Args:
        layout: places of the tensors in an individual.
        unit: what is crossed as a whole.
        device: where the individuals are.
    """

    def __init__(self, layout: Layout, unit: Unit, device: torch.device) -> None:
        self._layout, self._unit = layout, unit
        self._masks = masks_on(device)
        self._room = torch.empty((2 + MOST_TERMS, BLOCK), device=device)

    def write(self, of: Parents, out: Tensor) -> None:
        """Write the child, rounded to the type of its parent.

        Args:
            of: what it is made of.
            out: ``[size]``, in the parent's type or float32; may be the parent itself.
        """
        if self._unit == "parameter" and of.parent.device.type == "cpu" and of.parent.dtype in COMPILED:
            self._write_compiled(of, out)
            return
        for span in self._layout.spans:
            whole = self._whole(of, span)
            for start in range(span.start, span.stop, BLOCK):
                where = slice(start, min(start + BLOCK, span.stop))
                mask = self._mask(of, span, where) if whole is None else whole
                self._write_block(of, where, mask, out[where])

    def _write_compiled(self, of: Parents, out: Tensor) -> None:
        from searchmerge.merging import kernels  # compiles: only where there are children

        blocks = [
            kernels.Block(start, min(start + BLOCK, span.stop), block_key(tensor, number))
            for span in self._layout.spans
            for tensor in [key(of.seed, span.name)]
            for number, start in enumerate(range(span.start, span.stop, BLOCK))
        ]
        kernels.cross(of.parent, of.mutant, blocks, threshold_of(of.cr), out)

    def _write_block(self, of: Parents, where: slice, mask: Tensor, out: Tensor) -> None:
        width = where.stop - where.start
        mutant, parent, *rooms = self._room[:, :width]
        parent = _float(of.parent[where], parent)
        rows = [_float(row[where], room) for (row, _), room in zip(of.mutant, rooms, strict=False)]
        coefficients = [coefficient for _, coefficient in of.mutant]
        if coefficients[0] == 1.0 and len(rows) > 1:
            weighted_sum(rows[0], rows[1:], coefficients[1:], mutant)
        else:
            weighted_sum(None, rows, coefficients, mutant)
        if of.parent.dtype == torch.float32:
            torch.lerp(parent, mutant, mask, out=out)  # exact where the mask is 0 or 1
        else:
            out.copy_(torch.lerp(parent, mutant, mask, out=mutant).to(of.parent.dtype))

    def _whole(self, of: Parents, span: Span) -> Tensor | None:
        """The mask of a tensor that is not cut, one number; None for one that is."""
        names = {"tensor": span.name, "layer": span.layer}
        if self._unit not in names:
            return None
        return self._masks.block(key(of.seed, names[self._unit]), 0, 1, of.cr)

    def _mask(self, of: Parents, span: Span, where: slice) -> Tensor:
        """The mask of a block's parameters."""
        start, width = where.start - span.start, where.stop - where.start
        if self._unit == "row":
            return self._rows(of, span, start, start + width)
        return self._masks.block(key(of.seed, span.name), start // BLOCK, width, of.cr)

    def _rows(self, of: Parents, span: Span, start: int, stop: int) -> Tensor:
        length = (span.stop - span.start) // span.shape[0] if span.shape else 1
        first, last = start // length, -(-stop // length)
        rows = torch.empty(1, last - first, device=self._room.device)
        self._masks.write([key(of.seed, span.name)], [of.cr], slice(first, last), rows)
        return rows[0].repeat_interleave(length)[start - first * length :][: stop - start]


def _float(row: Tensor, room: Tensor) -> Tensor:
    return row if row.dtype == torch.float32 else room.copy_(row)
