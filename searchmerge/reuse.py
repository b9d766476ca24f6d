"""What earlier candidates computed, for those that begin as they did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from searchmerge import plugins
from searchmerge.layers.prefixes import Prefixes
from searchmerge.types import Recipe
from searchmerge.walker import canonical
from searchmerge.workshop import Workshop


class Reuse:
    """Has the live models of each candidate skip the layers whose outputs are known.

    Args:
        workshop: whose live models they are.
        limit: bytes of hidden states that are kept at most.

    Attributes:
        prefixes: what is kept.
    """

    def __init__(self, workshop: Workshop, limit: int) -> None:
        self.prefixes = Prefixes(limit)
        self._workshop = workshop
        self._lists = {head: self._first(head, model) for head, model in workshop.models.items()}

    @contextmanager
    def of(self, recipe: Recipe, models: Mapping[str, nn.Module]) -> Iterator[None]:
        """Within the block, watch the live models of a candidate, whichever space wrote its recipe."""
        space = plugins.load("spaces", recipe["space"])
        if not hasattr(space, "beginnings") or not all(self._lists.values()):
            yield
            return
        beginnings = space.beginnings(recipe, self._workshop.layout)
        layers = [(model, self._layers(head, model)) for head, model in models.items()]
        with self.prefixes.watching(layers, beginnings):
            yield

    def _layers(self, head: str, model: nn.Module) -> Sequence[nn.Module]:
        found: Any = model.get_submodule(self._lists[head])
        return list(found)

    def _first(self, head: str, model: nn.Module) -> str:
        """Where a live model has the first list of layers; empty if nowhere."""
        first = next(iter(self._workshop.layout.stacks), None)
        expert = self._workshop.expert(head)
        lists = (
            name
            for name, module in model.named_modules()
            if isinstance(module, nn.ModuleList) and any(True for _ in module.parameters())
        )
        return next((name for name in lists if canonical(expert, model, name) == first), "")
