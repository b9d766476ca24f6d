"""What earlier candidates computed, for those that begin as they did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from searchmerge import plugins
from searchmerge.layers.prefixes import Prefixes
from searchmerge.sources.checkpoint import Checkpoint
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
        self._layout = workshop.layout
        self._lists = {head: _lists(workshop.expert(head), model) for head, model in workshop.models.items()}
        self._later = {
            stack
            for head, model in workshop.models.items()
            for stack, path in self._lists[head].items()
            if _in_decoder(model, path)
        }
        first = (stack for stack in self._layout.stacks if stack not in self._later)
        self._stack = next(first, "")

    @contextmanager
    def of(self, recipe: Recipe, models: Mapping[str, nn.Module]) -> Iterator[None]:
        """Within the block, watch the live models of a candidate, whichever space wrote its recipe."""
        space = plugins.load("spaces", recipe["space"])
        if not hasattr(space, "beginnings") or not all(
            self._stack in lists for lists in self._lists.values()
        ):
            yield
            return
        beginnings = space.beginnings(recipe, self._layout, self._stack, self._later)
        watched = {}
        for head, model in models.items():
            layers: Any = model.get_submodule(self._lists[head][self._stack])
            if len(layers) == len(beginnings):  # some layers may not be merged
                watched[head] = model, list(layers)
        with self.prefixes.watching(watched, beginnings):
            yield


def _lists(expert: Checkpoint, model: nn.Module) -> dict[str, str]:
    """The paths of a live model's lists of layers by the names that the layout has for them."""
    lists = (
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) and any(True for _ in module[0].parameters())
    )
    return {canonical(expert, model, name): name for name in lists}


def _in_decoder(model: Any, path: str) -> bool:
    """Whether a list of layers is of the decoder that comes after an encoder."""
    if not getattr(model.config, "is_encoder_decoder", False):
        return False
    layers = model.get_submodule(path)
    return any(module is layers for module in model.get_decoder().modules())
