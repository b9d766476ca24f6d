"""Model Stock: the mean of the experts, drawn to the base the more the wider apart they are."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from searchmerge.merging import knobs
from searchmerge.merging.method import Method, Slab, Values
from searchmerge.merging.products import gram
from searchmerge.merging.slabs import combine, require_base

_SMALLEST_DIVISOR = 1e-6


def ratio(products: npt.NDArray[np.float64], smallest: float) -> float:
    """Give ``t = k cos / (1 + (k - 1) cos)``, cos the mean cosine of the pairs of task vectors.

    Zero, which keeps the base, where the task vectors add up to nothing and ``t`` would be infinite.

    Args:
        products: their inner products, ``[k, k]``.
        smallest: least divisor of a cosine.
    """
    count = len(products)
    norms = np.sqrt(products.diagonal())
    cosines = products / np.maximum(np.outer(norms, norms), smallest)
    cosine = float(cosines[np.triu_indices(count, 1)].clip(-1, 1).mean())
    divisor = 1 + (count - 1) * cosine
    return count * cosine / divisor if divisor > _SMALLEST_DIVISOR else 0.0


def _merge_by(smallest: float) -> Callable[[Slab, Values], None]:
    def merge(slab: Slab, values: Values) -> None:
        require_base(slab)
        count = slab.deltas.shape[0]
        coefficient = knobs.number(values, "lambda") * ratio(gram(slab), smallest) / count
        combine(slab, [coefficient] * count)

    return merge


def _method(summary: str, smallest: float) -> Method:
    return Method(
        "model_stock", summary, (knobs.LAMBDA,), _merge_by(smallest), scope="tensor", experts=(2, None)
    )


MODEL_STOCK_PAPER = _method(
    "base + λt · mean of the τᵢ, t = N cosθ / (1 + (N−1) cosθ) (Jang et al. 2024, arXiv:2403.19522)",
    sys.float_info.min,  # the cosine with a task vector of zeros is 0
)
MODEL_STOCK_MERGEKIT = _method(
    "base + λt · mean of the τᵢ, cosines divided by 1e-6 at least (Model Stock as in mergekit)",
    1e-6,
)
"""As in mergekit: where the norms' product is below 1e-6 the cosine is less than it is, and t with it."""
