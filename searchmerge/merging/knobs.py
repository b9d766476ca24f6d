"""The knobs that several methods share, and how a method reads their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from searchmerge.merging.magnitudes import DENSITY_STEPS
from searchmerge.merging.method import Knob, Values

_LARGEST = 10.0
"""Largest legal weight or lambda by magnitude: far outside what any paper uses, far inside float32."""

_SMALLEST_SUM = 1e-8


def constant(value: float) -> Callable[[int], float]:
    """A default that is the same for any number of experts."""
    return lambda _: value


WEIGHT_SHARE = Knob("weight", lambda experts: 1 / experts, -_LARGEST, _LARGEST)
"""Weight of methods that add the experts up: an equal share by default."""

WEIGHT_ONE = Knob("weight", constant(1.0), -_LARGEST, _LARGEST)
"""Weight of methods that average: the scale is theirs, so 1 by default."""

IMPORTANCE = Knob("weight", constant(1.0), 0.0, _LARGEST)
"""Weight of an expert in a mean that counts how much each one knows of a parameter; 1 by default."""

LAMBDA = Knob("lambda", constant(1.0), -_LARGEST, _LARGEST, per_expert=False)
"""Scale of the merged task vector."""


def density(default: float) -> Knob:
    """The share of its entries that an expert's task vector keeps."""
    return Knob("density", constant(default), 1 / DENSITY_STEPS, 1.0)


def shares(weights: Sequence[float]) -> list[float]:
    """Divide weights by their sum.

    Raises:
        ValueError: they add up to zero.
    """
    total = sum(weights)
    if abs(total) < _SMALLEST_SUM:
        raise ValueError(f"the weights of the merge add up to {total:g}: their mean is undefined")
    return [weight / total for weight in weights]


def number(values: Values, name: str) -> float:
    """Read a knob that the experts share.

    Raises:
        ValueError: it has one number an expert.
    """
    value = values[name]
    if isinstance(value, int | float):
        return float(value)
    raise ValueError(f"{name} is one number for all experts, got {len(value)}")


def per_expert(values: Values, name: str, experts: int) -> list[float]:
    """Read a knob as one number an expert; a single number stands for all of them.

    Raises:
        ValueError: there are not as many numbers as experts.
    """
    value = values[name]
    if isinstance(value, int | float):
        return [float(value)] * experts
    if len(value) != experts:
        raise ValueError(f"{name} has {len(value)} numbers for {experts} experts")
    return [float(number) for number in value]
