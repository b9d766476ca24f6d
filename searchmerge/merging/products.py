"""The inner products of the experts' task vectors: all that angles and lengths depend on."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt
import torch

from searchmerge.merging.method import Slab
from searchmerge.merging.slabs import chunks


def gram(slab: Slab) -> npt.NDArray[np.float64]:
    """Give ``<tau_i, tau_j>``, ``[experts, experts]``, computed once a slab and accumulated in float64."""
    if "gram" not in slab.memo:
        slab.memo["gram"] = _gram(slab)
    products: npt.NDArray[np.float64] = slab.memo["gram"]
    return products


def _gram(slab: Slab) -> npt.NDArray[np.float64]:
    experts = slab.deltas.shape[0]
    pairs = list(combinations_with_replacement(range(experts), 2))
    products = torch.zeros(len(pairs), dtype=torch.float64, device=slab.out.device)
    for part in chunks(slab):
        rows = slab.deltas[:, part].double()
        products += torch.stack([rows[i].dot(rows[j]) for i, j in pairs])
    full = np.empty((experts, experts))
    for (i, j), product in zip(pairs, products.tolist(), strict=True):
        full[i, j] = full[j, i] = product
    return full
