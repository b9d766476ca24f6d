"""Whether the hidden units of two models' MLPs still stand in the same order.

A layer's hidden units can change places without changing what it computes, and models trained from different
initialisations have learnt unrelated ones; merging either entry by entry mixes units that have nothing to do
with one another. The order that fits best is found by weight matching, one MLP at a time (Ainsworth et al.
2023, "Git Re-Basin", arXiv:2209.04836, section 3.2): the permutation with the largest sum of inner products
of the units' incoming and outgoing weights, which is also the one of the least distance. Fine-tuning from
one base leaves every unit in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from searchmerge.layout import Layout, Span

MOST = 4096
"""Units of an MLP that are matched: of wider ones so many, drawn at random, the same in both models."""

_TIE = 1e-6
"""Inner products as near as that, relative to the largest, are rounding: the unit stays (dead units do)."""

Weights = Callable[[Span], Tensor]
"""Gives a model's tensor of a span."""


@dataclass(frozen=True)
class Mlp:
    """A feed-forward block.

    Args:
        layer: the layer that it belongs to.
        width: its hidden units.
        parts: the tensors that have one slice a unit.
    """

    layer: str
    width: int
    parts: tuple[Span, ...]


@dataclass(frozen=True)
class Match:
    """Two models' units of one MLP.

    Args:
        layer: the layer.
        width: hidden units that there are.
        units: hidden units that were matched.
        in_place: the share of them that the best order leaves in place.
        cosine: of the two models' weights in that order.
    """

    layer: str
    width: int
    units: int
    in_place: float
    cosine: float


def find(layout: Layout) -> tuple[Mlp, ...]:
    """Find the MLPs of a model by the shapes of their tensors.

    In a layer's block ``mlp`` hidden units are the dimension that one matrix ends in and another begins with:
    ``[wide, narrow]`` and ``[narrow, wide]``, stored as linear layers or transposed, with a gate or without,
    or with gate and incoming weights in one matrix ``[2 wide, narrow]``. Where there is none, the layer has
    no MLP that can be matched.
    """
    blocks: dict[str, list[Span]] = {}
    for span in layout.spans:
        if span.block == f"{span.layer}.mlp":
            blocks.setdefault(span.layer, []).append(span)
    found = []
    for layer, spans in blocks.items():
        if width := _width([span.shape for span in spans]):
            parts = [s for s in spans if s.shape[0] in (width, 2 * width) or s.shape[-1] == width]
            found.append(Mlp(layer, width, tuple(parts)))
    return tuple(found)


def compare(mlp: Mlp, one: Weights, other: Weights) -> Match:
    """Match the hidden units of two models' MLP."""
    chosen = np.arange(mlp.width)
    if mlp.width > MOST:
        chosen = np.sort(np.random.default_rng(0).choice(mlp.width, MOST, replace=False))
    order, cosine = match(units(mlp, one)[chosen], units(mlp, other)[chosen])
    in_place = float(np.mean(order == np.arange(len(order))))
    return Match(mlp.layer, mlp.width, len(order), in_place, cosine)


def units(mlp: Mlp, weights: Weights) -> Tensor:
    """All weights of each hidden unit, incoming and outgoing: ``[width, features]``."""
    return torch.cat([_slices(weights(span), mlp.width) for span in mlp.parts], dim=1)


def match(one: Tensor, other: Tensor) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], float]:
    """The best order of the other model's units.

    Args:
        one: ``[units, features]``.
        other: the same of the other model.

    Returns:
        ``[units]``: which unit of ``other`` takes the place of each of ``one``; and the cosine of the two in
        that order.
    """
    similarity = (one @ other.T).cpu().numpy()
    np.fill_diagonal(similarity, similarity.diagonal() + _TIE * np.abs(similarity).max())
    _, order = linear_sum_assignment(similarity, maximize=True)
    norms = float(one.double().norm() * other.double().norm())
    return order, float((one * other[order]).double().sum()) / norms if norms else np.nan


def _width(shapes: Sequence[tuple[int, ...]]) -> int:
    """The number of hidden units, 0 where no two matrices share one."""
    matrices = [shape for shape in shapes if len(shape) == 2]
    fitting = [
        wide
        for narrow, wide in matrices
        if narrow < wide and any(shape in ((wide, narrow), (2 * wide, narrow)) for shape in matrices)
    ]
    return max(fitting, default=0)


def _slices(tensor: Tensor, width: int) -> Tensor:
    """A tensor's slices along its wide dimension, ``[width, entries]``."""
    if tensor.shape[0] % width:
        return tensor.T
    return tensor.reshape(tensor.shape[0] // width, width, -1).transpose(0, 1).reshape(width, -1)
