"""What the input of a layer on a path is multiplied by, as coordinates.

T. Akiba et al.: Evolutionary Optimization of Model Merging Recipes, arXiv:2403.13187, section 3.2: a layer
that gets its input from another one than it was trained with may need it larger or smaller. ``W[i, j]`` is
the factor where layer j comes right after layer i.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import tanh
from typing import Protocol

from searchmerge.spaces._encodings import Encoding, Ground, Layer
from searchmerge.types import Dim

DIGITS = 6
"""Decimals of a factor: what differs by less is one recipe, and does not hang on a machine's ``tanh``."""

HIDDEN = 4
"""Hidden units of the network."""
REACH = 3.0
"""Its weights lie between minus this and this."""
_INPUTS = ("from.source", "from.depth", "to.source", "to.depth", "step", "bias")


@dataclass(frozen=True)
class Limits:
    """The range of the factors, ``low <= 1 <= high``."""

    low: float
    high: float

    @property
    def neutral(self) -> float:
        """The coordinate whose factor is 1: the middle, or the end that is 1 itself."""
        return 0.0 if self.low == 1 else 1.0 if self.high == 1 else 0.5

    @property
    def means(self) -> tuple[float, ...]:
        """The factors at evenly spaced coordinates: the ends, and the middle if that is the neutral one."""
        return (self.low, 1.0, self.high) if self.neutral == 0.5 else (self.low, self.high)

    def at(self, coordinate: float) -> float:
        """Give the factor at a coordinate: linear on either side of the neutral one, 1 there exactly."""
        away = coordinate - self.neutral
        return self.towards(away / (1 - self.neutral) if away > 0 else away / (self.neutral or 1.0))

    def towards(self, part: float) -> float:
        """Give the factor at a part of the way from 1 to ``high``, or where negative to ``low``."""
        factor = 1 + part * (self.high - 1 if part > 0 else 1 - self.low)
        return min(max(round(factor, DIGITS), self.low), self.high)


class Scales(Protocol):
    """The factors of the steps of a path as coordinates; all are 1 at the defaults."""

    @property
    def dims(self) -> tuple[Dim, ...]:
        """The coordinates."""

    def factors(self, path: Sequence[Layer], point: Sequence[float]) -> list[float]:
        """Give the factor of every layer of a path but the first, which is where the steps start from."""


class Pairs:
    """The matrix, or some of its entries: a coordinate a pair of layers, all other factors being 1.

    Args:
        pairs: the entries.
        limits: of the factors.
    """

    def __init__(self, pairs: Iterable[tuple[Layer, Layer]], limits: Limits) -> None:
        self._limits = limits
        self._place = {pair: k for k, pair in enumerate(pairs)}
        self.dims = tuple(Dim(f"scale/{i}>{j}", limits.neutral, means=limits.means) for i, j in self._place)

    def factors(self, path: Sequence[Layer], point: Sequence[float]) -> list[float]:
        """Look up each step."""
        places = [self._place.get(pair) for pair in pairwise(path)]
        return [1.0 if k is None else self._limits.at(point[k]) for k in places]


class Network:
    """A small network whose weights are the coordinates: one hidden layer of tanh, and tanh at its end.

    Its inputs are the source and the depth of either layer and the step, each spread over [-1, 1], and 1.
    The defaults are zero weights.

    Args:
        ground: the layers.
        longest: steps of the longest path.
        limits: of the factors.
    """

    def __init__(self, ground: Ground, longest: int, limits: Limits) -> None:
        self._sources = {source: k for k, source in enumerate(ground.sources)}
        self._between, self._longest, self._limits = ground.between, longest, limits
        units = range(1, HIDDEN + 1)
        names = [f"hidden.{unit}/{name}" for unit in units for name in _INPUTS]
        names += [*(f"out/hidden.{unit}" for unit in units), "out/bias"]
        self.dims = tuple(Dim(f"scale/{name}", 0.5, means=(-REACH, REACH)) for name in names)

    def factors(self, path: Sequence[Layer], point: Sequence[float]) -> list[float]:
        """Ask the network at each step."""
        weights = [REACH * (2 * x - 1) for x in point]
        return [self._factor(t, i, j, weights) for t, (i, j) in enumerate(pairwise(path))]

    def _factor(self, t: int, i: Layer, j: Layer, weights: Sequence[float]) -> float:
        inputs = (*self._where(i), *self._where(j), _spread(t, self._longest), 1.0)
        n = len(inputs)
        hidden = [tanh(_dot(weights[n * unit : n * unit + n], inputs)) for unit in range(HIDDEN)]
        return self._limits.towards(tanh(_dot(weights[n * HIDDEN :], (*hidden, 1.0))))

    def _where(self, layer: Layer) -> tuple[float, float]:
        depth = _spread(layer.number - self._between.start, len(self._between))
        return _spread(self._sources[layer.source], len(self._sources)), depth


def pairs_of(
    encoding: Encoding, ground: Ground, ends: tuple[Layer, tuple[Layer, ...]], scales: str
) -> list[tuple[Layer, Layer]]:
    """List the pairs of layers that have a factor of their own.

    Args:
        encoding: which layers can follow each other.
        ground: the layers.
        ends: where all paths start from, and the layer that they lead to, if it is there.
        scales: ``matrix``, all pairs; ``pairs``, those that an encoded path can hold; ``jumps``, those of
            them that are no step to the next layer of the same source.
    """
    start, last = ends

    def wanted(i: Layer, j: Layer) -> bool:
        possible = scales == "matrix" or i == start or j in last or encoding.follows(i, j)
        return possible and (scales != "jumps" or j != i.next)

    return [(i, j) for i in (start, *ground.layers) for j in (*ground.layers, *last) if wanted(i, j)]


def _spread(number: int, count: int) -> float:
    """Spread 0, 1, …, count - 1 over [-1, 1]."""
    return 2 * number / (count - 1) - 1 if count > 1 else 0.0


def _dot(weights: Sequence[float], inputs: Sequence[float]) -> float:
    return sum(w * x for w, x in zip(weights, inputs, strict=True))
