"""How the experts lie to one another: cosines, sign conflicts and distances, a layer and altogether."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from searchmerge.layout import Layout, Span

Array = npt.NDArray[np.float64]

_CHUNK = 1 << 20
"""Entries of every model that are held in float64 at once; a float32 counts that many signs exactly."""


class Measure(NamedTuple):
    """A number of the whole model, and of each layer group; NaN where it is not defined."""

    whole: float
    layers: dict[str, float]


@dataclass(frozen=True)
class Geometry:
    """Inner products and sign conflicts of several models, from which all else follows.

    Model 0 is the base, the experts follow from 1. Without a base model 0 is the origin: task vectors are
    then the models themselves, and only :meth:`weights` means anything.

    Args:
        layers: names of the layer groups.
        entries: ``[layers]``: parameters of each.
        products: ``[layers, models, models]``: inner products of base and task vectors.
        matrices: ``[models, models]``: the same of the layers' matrices alone.
        conflicts: ``[layers, models, models]``: entries at which two task vectors have opposite signs.
    """

    layers: tuple[str, ...]
    entries: Array
    products: Array
    matrices: Array
    conflicts: Array

    def cosine(self, one: int, other: int) -> Measure:
        """The cosine of two experts' task vectors."""
        return self._measure(_cosine, one, other)

    def conflict(self, one: int, other: int) -> Measure:
        """The share of all entries at which two task vectors are both not zero, of opposite signs."""
        shares = self.conflicts[:, one, other] / self.entries
        whole = self.conflicts[:, one, other].sum() / self.entries.sum()
        return Measure(float(whole), dict(zip(self.layers, shares.tolist(), strict=True)))

    def distance(self, expert: int) -> Measure:
        """The norm of an expert's task vector, relative to the base's."""
        return self._measure(_ratio, expert, 0)

    def weights(self, one: int, other: int) -> float:
        """The cosine of two models' own weights, over the matrices of the layers.

        Norms' gains are near 1 in any model, trained from whatever: they are left out.
        """
        whole = np.eye(len(self.matrices))
        whole[:, 0] = 1  # a model is the base plus its task vector
        return float(_cosine(whole @ self.matrices @ whole.T, one, other))

    def _measure(self, of: Callable[[Array, int, int], Array], one: int, other: int) -> Measure:
        layers = of(self.products, one, other).tolist()
        whole = of(self.products.sum(axis=0), one, other)
        return Measure(float(whole), dict(zip(self.layers, layers, strict=True)))


def geometry(deltas: Tensor, base: Tensor | None, layout: Layout, left_out: Collection[str] = ()) -> Geometry:
    """Measure task vectors span by span, in float64.

    Args:
        deltas: float32 ``[experts, size]``: task vectors, or the experts themselves without a base.
        base: float32 ``[size]`` or None.
        layout: places of the tensors.
        left_out: names of tensors that the base does not have: there is no task vector there.
    """
    spans = [span for span in layout.spans if span.name not in left_out]
    layers = tuple(dict.fromkeys(span.layer for span in spans))
    models = len(deltas) + 1
    entries = np.zeros(len(layers))
    products, conflicts = np.zeros((2, len(layers), models, models))
    matrices = np.zeros((models, models))
    for span in spans:
        layer = layers.index(span.layer)
        entries[layer] += span.stop - span.start
        for start in range(span.start, span.stop, _CHUNK):
            where = slice(start, min(start + _CHUNK, span.stop))
            found = _products(deltas[:, where], None if base is None else base[where])
            products[layer] += found
            conflicts[layer, 1:, 1:] += _conflicts(deltas[:, where])
            if _is_matrix_of_a_layer(span):
                matrices += found
    return Geometry(layers, entries, products, matrices, conflicts)


def _products(deltas: Tensor, base: Tensor | None) -> Array:
    first = torch.zeros_like(deltas[0]) if base is None else base
    rows = torch.cat([first[None], deltas]).double()
    return np.asarray((rows @ rows.T).cpu())


def _conflicts(deltas: Tensor) -> Array:
    signs = deltas.sign()
    both = signs.abs()
    # Where both are not zero the product of the signs is 1 or -1.
    return np.asarray((both @ both.T - signs @ signs.T).double().cpu()) / 2


def _is_matrix_of_a_layer(span: Span) -> bool:
    return len(span.shape) > 1 and span.layer not in ("embeddings", "head")


def _cosine(products: Array, one: int, other: int) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        norms = np.sqrt(products[..., one, one] * products[..., other, other])
        return np.asarray(products[..., one, other] / norms)


def _ratio(products: Array, one: int, other: int) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.sqrt(products[..., one, one] / products[..., other, other])
        return np.where(np.isfinite(found), found, np.nan)
