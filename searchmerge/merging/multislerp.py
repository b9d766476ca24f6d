"""Multi-SLERP: the weighted mean of the experts on the sphere, tensor by tensor.

Whatever the mean, it is a linear combination of the experts, whose coefficients depend on their inner
products only: these are computed once, and a candidate is one linear pass. The sphere is about the base;
without one, and in populations, about zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from searchmerge.merging import knobs
from searchmerge.merging.method import Knob, Method, Slab, Values
from searchmerge.merging.products import gram
from searchmerge.merging.slabs import combine

Floats: TypeAlias = npt.NDArray[np.float64]

_WEIGHT = Knob("weight", knobs.WEIGHT_SHARE.default, 0.0, knobs.WEIGHT_SHARE.high)
_SMALLEST_NORM = 1e-8
_ROUNDS = 200
_CONVERGED = 1e-12
_OPPOSITE = -0.9995
"""Cosine below which two directions have no mean, as in SLERP."""


def on_the_arc(products: Floats, shares: Floats) -> Floats:
    """Give the coefficients of the spherical mean (Buss & Fillmore 2001, algorithm A1).

    The mean ``q`` of the directions ``u_i`` is where ``sum_i w_i log_q(u_i) = 0``. With ``f_i`` the angle
    from ``q`` to ``u_i`` that says ``q = sum_i a_i u_i`` with ``a_i = w_i (f_i / sin f_i) / sum_j w_j f_j
    cot f_j``. The merge is ``sum_i a_i tau_i``: SLERP where there are two, whose factors too are those of
    the directions.

    A vector of zeros has no direction and takes its share of the weights away. Where there is no mean (the
    directions cancel, or one is opposite to another or to it) the experts are averaged linearly.

    Args:
        products: inner products, ``[experts, experts]``.
        shares: the weights, not negative, of sum one.
    """
    norms = np.sqrt(products.diagonal())
    there = norms > _SMALLEST_NORM
    part = float(shares[there].sum())
    if part <= 0:
        return shares
    cosines = (products[there][:, there] / np.outer(norms[there], norms[there])).clip(-1, 1)
    found = _mean(cosines, shares[there] / part)
    if found is None:
        return shares
    coefficients = np.zeros(len(shares))
    coefficients[there] = part * found
    return coefficients


def _mean(cosines: Floats, weights: Floats) -> Floats | None:
    """The coefficients ``a_i``: from the mean in space, along the mean logarithm until that vanishes."""
    if cosines.min() < _OPPOSITE:
        return None
    mean = weights
    for _ in range(_ROUNDS):
        length = _length(mean, cosines)
        if length < _SMALLEST_NORM:
            return None
        mean = mean / length
        to_mean = (cosines @ mean).clip(-1, 1)
        if to_mean.min() < _OPPOSITE:
            return None
        pulls = weights / np.sinc(np.arccos(to_mean) / np.pi)  # w f / sin f
        scale = float(pulls @ to_mean)
        step = pulls - scale * mean
        size = _length(step, cosines)
        if size < _CONVERGED:
            break
        mean = math.cos(size) * mean + math.sin(size) / size * step
    return pulls / scale if scale > 0 else None


def _length(coefficients: Floats, products: Floats) -> float:
    """Of a linear combination of vectors with these inner products."""
    return math.sqrt(max(float(coefficients @ products @ coefficients), 0.0))


def on_the_chord(products: Floats, shares: Floats) -> Floats:
    """Give the coefficients of mergekit's mean: ``sum_i w_i |tau_i| * m / |m|`` with ``m = sum_i w_i u_i``.

    mergekit then steps from ``m`` by the mean of the experts' projections onto the plane that touches the
    sphere there; these add up to zero whatever the weights are, so that the step leads nowhere.
    """
    norms = np.sqrt(products.diagonal())
    units = shares / (norms + _SMALLEST_NORM)
    length = _length(units, products)
    if length < _SMALLEST_NORM:
        return shares  # the directions cancel: mergekit averages two experts, and stops for more
    return units * float(shares @ norms) / length


def _merge_by(mean: Callable[[Floats, Floats], Floats]) -> Callable[[Slab, Values], None]:
    def merge(slab: Slab, values: Values) -> None:
        shares = knobs.shares(knobs.per_expert(values, "weight", slab.deltas.shape[0]))
        coefficients: Sequence[float] = mean(gram(slab), np.array(shares)).tolist()
        combine(slab, coefficients)

    return merge


def _method(summary: str, mean: Callable[[Floats, Floats], Floats]) -> Method:
    return Method("multislerp", summary, (_WEIGHT,), _merge_by(mean), scope="tensor", needs_base=False)


MULTISLERP_PAPER = _method(
    "weighted mean on the sphere about the base, or zero; of two experts slerp (Buss & Fillmore 2001)",
    on_the_arc,
)
MULTISLERP_MERGEKIT = _method(
    "Σ wᵢ ‖τᵢ‖ · m / ‖m‖, m the weighted mean of the directions τᵢ / ‖τᵢ‖ (multislerp as in mergekit)",
    on_the_chord,
)
