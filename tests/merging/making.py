"""Slabs to merge: small numbers of coarse steps, so that sums are exact and ties and cancellations happen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import strategies as st
from torch import Tensor

from searchmerge.merging.magnitudes import Magnitudes
from searchmerge.merging.masks import key
from searchmerge.merging.method import Slab

Floats: TypeAlias = npt.NDArray[np.float64]

STEPS = 64
"""Entries are multiples of 1 / STEPS up to one by magnitude."""

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 40)


def weights(experts: int) -> st.SearchStrategy[list[float]]:
    """Multiples of 1/8, negative ones and zero among them."""
    return st.lists(st.integers(-16, 16).map(lambda step: step / 8), min_size=experts, max_size=experts)


def densities(experts: int) -> st.SearchStrategy[list[float]]:
    """On the grid of the look-up tables and off it."""
    return st.lists(st.floats(1 / 4096, 1), min_size=experts, max_size=experts)


def coarse(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(-STEPS, STEPS + 1, shape) / STEPS).float()


@dataclass
class Known:
    """Statistics of one tensor, as a method asks for them."""

    information: Sequence[Tensor] = ()
    grams: Sequence[Tensor | None] = ()
    input_first: bool = False
    memo: dict[str, Any] = field(default_factory=dict)

    def fisher(self, model: int) -> Tensor:
        return self.information[model]

    def gram(self, model: int) -> Tensor | None:
        return self.grams[model]


def slab_of(base: Tensor | None, deltas: Tensor, **others: Any) -> Slab:
    """A slab that is a whole tensor; its output starts as NaN, so that what is left unwritten shows.

    Of the models' data is known, unless told otherwise, that the tensor is no linear layer's weight, and that
    their answers depend on it as much as it deviates.
    """
    others.setdefault("statistics", Known(list(deltas.square()), [None] * len(deltas)))
    magnitudes = Magnitudes(deltas)
    experts, size = deltas.shape
    return Slab(
        base=base,
        deltas=deltas,
        out=torch.full_like(deltas[0], torch.nan, dtype=torch.float32),
        cutoff=lambda expert, density: magnitudes.cutoff(expert, slice(0, size), density),
        keys=others.pop("keys", [key(0, f"expert {number}", "tensor") for number in range(experts)]),
        **others,
    )


def coarse_slab(seed: int, experts: int, size: int) -> Slab:
    return slab_of(coarse(seed, size), coarse(seed + 1, experts, size))


def doubles(tensor: Tensor | None) -> Floats:
    assert tensor is not None
    return tensor.cpu().double().numpy()


def assert_near(out: Tensor, expected: Floats | Sequence[float]) -> None:
    """Equal to a few roundings of float32 of the largest entry."""
    scale = float(np.abs(expected).max(initial=1.0))
    np.testing.assert_allclose(doubles(out), expected, rtol=0, atol=1e-6 * scale)
