"""Live models that take paths through the layers of several sources, each of which is resident as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from searchmerge.layers.fold import folding, plain
from searchmerge.layers.live import Step, lay
from searchmerge.layers.stacks import Stack, stacks_of
from searchmerge.sources.checkpoint import Checkpoint
from searchmerge.types import Recipe

if TYPE_CHECKING:
    from searchmerge.workshop import Workshop

BASE = "base"
"""What a path calls the base model."""


@dataclass(frozen=True)
class _Source:
    """A whole model.

    Args:
        models: its live models by head.
        layers: of the first one's stacks, by their canonical names, as they were before any path was laid.
    """

    models: Mapping[str, nn.Module]
    layers: Mapping[str, Sequence[nn.Module]]


class Walker:
    """Lays recipes of the space ``paths`` in live models.

    A source is one copy of the merged parameters, float32 ``[size]``; its layers are views into it, and so
    are those of every path: no candidate copies or writes a weight.

    Args:
        workshop: reads the sources and builds live models.
        stages: the sources that an earlier search found, by name: recipe and parameters ``[size]``.
    """

    def __init__(self, workshop: Workshop, stages: Mapping[str, tuple[Recipe, Tensor]]) -> None:
        self.stages = dict(stages)
        self._workshop = workshop
        self._sources: dict[str, _Source] = {}
        self._stacks = {
            head: named_stacks(workshop.expert(head), model) for head, model in workshop.models.items()
        }

    def walk(self, recipe: Recipe) -> Mapping[str, nn.Module]:
        """Give the live models, one a head, that take the recipe's path.

        Raises:
            UserError: an empty path, or a scale that is none.
        """
        rest = self._source(recipe["rest"])
        for name, path in recipe["stacks"].items():
            steps = [self._step(name, *step) for step in path]
            for head, model in rest.models.items():
                lay(model, self._stacks[head][name], steps)
        return rest.models

    def plain(self, recipe: Recipe, head: str) -> nn.Module:
        """Give one live model as a plain one of its class, the factors folded into its weights.

        Raises:
            UserError: as of :func:`walk`; an architecture that cannot take the fold.
        """
        model = self.walk(recipe)[head]
        rules = {
            stack: folding(model, stack, scaled=any(len(step) > 2 for step in recipe["stacks"][name]))
            for name, stack in self._stacks[head].items()
        }
        return plain(model, rules)

    def _step(self, stack: str, source: str, index: int, scale: float = 1.0) -> Step:
        return Step(self._source(source).layers[stack][index], index, scale)

    def _source(self, name: str) -> _Source:
        if name not in self._sources:
            self._sources[name] = self._opened(name)
        return self._sources[name]

    def _opened(self, name: str) -> _Source:
        workshop = self._workshop
        if name in self.stages:
            _, row = self.stages[name]
        else:
            row = torch.empty(workshop.layout.size, device=workshop.device)
            workshop.source(None if name == BASE else name, row)
        models = workshop.built(row)
        head, model = next(iter(models.items()))
        stacks: Any = {name: model.get_submodule(stack.name) for name, stack in self._stacks[head].items()}
        return _Source(models, {name: list(stack) for name, stack in stacks.items()})


def named_stacks(checkpoint: Checkpoint, model: nn.Module) -> dict[str, Stack]:
    """Give a model's stacks by the names that its tensors have in the layout."""
    return {canonical(checkpoint, model, stack.name): stack for stack in stacks_of(model)}


def canonical(checkpoint: Checkpoint, model: nn.Module, stack: str) -> str:
    """Give the name that the layout has for a list of layers at that path of a model."""
    inner = next(name for name, _ in model.get_submodule(f"{stack}.0").named_parameters())
    return checkpoint.canonical(f"{stack}.0.{inner}").removesuffix(f".0.{inner}")
