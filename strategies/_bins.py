"""Coordinates with choices: ``[0, 1]`` cut into equal bins."""

from __future__ import annotations

from searchmerge.types import Dim


def bin_of(dim: Dim, value: float) -> int:
    """Give the number of the bin that a coordinate in ``[0, 1]`` lies in; 1 belongs to the last."""
    assert dim.choices is not None
    return min(int(value * dim.choices), dim.choices - 1)


def centre_of(dim: Dim, number: int) -> float:
    """Give the centre of a bin."""
    assert dim.choices is not None
    return (number + 0.5) / dim.choices
