"""Where every merged tensor stands in one flat vector, and which layer and block it belongs to.

Tensors are laid out in the order a token meets them (embeddings, the layers of each stack, the head), and
within a layer by block, so that the parameters of a group at any granularity are one contiguous run:
a candidate with a coefficient a layer is a handful of long vector operations, not hundreds of short ones.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal, TypeAlias, get_args

Granularity: TypeAlias = Literal["model", "layer", "block", "tensor"]
GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)

_NUMBERED = re.compile(r"^(.+?)\.(\d+)\.(.+)$")
_EMBEDDING = re.compile(r"embed|wte|wpe|(^|\.)shared\.|position")
_NORM = re.compile(r"norm|(^|\.)ln_|_ln\b", re.IGNORECASE)
_ATTENTION = re.compile(r"att|q_proj|k_proj|v_proj|o_proj", re.IGNORECASE)
_BLOCKS = ("embeddings", "attention", "mlp", "norms", "head")

_Members: TypeAlias = dict[str, dict[int, dict[str, tuple[int, ...]]]]
"""Shapes of what stands under numbers: ``encoder.layer``, 3, ``output.dense.weight``."""


@dataclass(frozen=True)
class Span:
    """One tensor's place.

    Args:
        name: canonical tensor name.
        shape: its shape.
        start: index of its first element in the flat vector.
        stop: one past its last.
        layer: its group at granularity ``layer``: ``embeddings``, ``layer.3``, ``head``.
        block: its group at granularity ``block``: ``embeddings``, ``layer.3.attention``, ``head``.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int
    layer: str
    block: str

    def group(self, granularity: Granularity) -> str:
        """Name of the group that the tensor belongs to."""
        names = {"model": "model", "layer": self.layer, "block": self.block, "tensor": self.name}
        return names[granularity]


@dataclass(frozen=True)
class Layout:
    """The flat vector of all merged parameters, ``size`` elements."""

    spans: tuple[Span, ...]

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> Layout:
        """Lay out tensors given by canonical name and shape."""
        stacks = _stacks(_members(shapes))
        placed = [_place(name, stacks) for name in shapes]
        order = sorted(range(len(placed)), key=lambda i: (placed[i].order, i))
        names, spans, start = list(shapes), [], 0
        for i in order:
            name, place = names[i], placed[i]
            stop = start + prod(shapes[name])
            spans.append(Span(name, tuple(shapes[name]), start, stop, place.layer, place.block))
            start = stop
        return cls(tuple(spans))

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.spans[-1].stop if self.spans else 0

    def groups(self, granularity: Granularity) -> dict[str, slice]:
        """The runs of the flat vector that share a coefficient, in order, by group name."""
        return self._groups[granularity]

    @cached_property
    def stacks(self) -> dict[str, int]:
        """The stacks whose layers can stand in each other's places, and how many each has, in order.

        By prefix, e.g. ``encoder.layer``; their layers are numbered from 0, are modules of modules, and
        what two of them have in common has one shape.
        """
        members = _members({span.name: span.shape for span in self.spans})
        return {prefix: len(members[prefix]) for prefix in _stacks(members) if _alike(members[prefix])}

    @cached_property
    def _groups(self) -> dict[Granularity, dict[str, slice]]:
        groups: dict[Granularity, dict[str, slice]] = {g: {} for g in GRANULARITIES}
        for granularity, runs in groups.items():
            for span in self.spans:
                name = span.group(granularity)
                runs[name] = slice(runs[name].start if name in runs else span.start, span.stop)
        return groups


@dataclass(frozen=True)
class _Place:
    layer: str
    block: str
    order: tuple[int, int, int, int]


def _members(shapes: Mapping[str, tuple[int, ...]]) -> _Members:
    members: _Members = defaultdict(lambda: defaultdict(dict))
    for name, shape in shapes.items():
        if match := _NUMBERED.match(name):
            members[match[1]][int(match[2])][match[3]] = tuple(shape)
    return members


def _stacks(members: _Members) -> tuple[str, ...]:
    """Prefixes of the module lists whose members look alike: ``encoder.layer``, ``model.layers``, ``h``."""
    return tuple(
        prefix
        for prefix, layers in members.items()
        # T5's first layer alone holds the relative positions: alike, not equal.
        if len(layers) == 1 or len(_common(layers)) * 2 > max(map(len, layers.values()))
    )


def _alike(layers: Mapping[int, Mapping[str, tuple[int, ...]]]) -> bool:
    """Whether each layer could take another's place, as far as names and shapes tell."""
    common = _common(layers)
    return (
        sorted(layers) == list(range(len(layers)))
        and any("." in name for name in common)
        and all(len({layer[name] for layer in layers.values()}) == 1 for name in common)
    )


def _common(layers: Mapping[int, Mapping[str, tuple[int, ...]]]) -> set[str]:
    return set.intersection(*map(set, layers.values()))


def _place(name: str, stacks: tuple[str, ...]) -> _Place:
    match = _NUMBERED.match(name)
    if match and match[1] in stacks:
        stack = stacks.index(match[1])
        index = int(match[2])
        layer = f"layer.{index}" if len(stacks) == 1 else f"{match[1].split('.')[0]}.layer.{index}"
        kind = "norms" if _NORM.search(match[3]) else "attention" if _ATTENTION.search(match[3]) else "mlp"
        return _Place(layer, f"{layer}.{kind}", (1, stack, index, _BLOCKS.index(kind)))
    # A final norm or a pooler stands above the layers, whatever else its name says of embeddings.
    if _EMBEDDING.search(name):
        return _Place("embeddings", "embeddings", (0, 0, 0, 0))
    return _Place("head", "head", (2, 0, 0, 0))
