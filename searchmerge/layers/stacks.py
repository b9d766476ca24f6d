"""Where a model's layers are, and what it keeps about their number.

Nothing here knows an architecture by name. A stack is a list of alike layers that one number in the config
makes longer: the class is built again on the meta device with that number one higher, and all that then
differs is what has to be set when the stack is given other layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from searchmerge.quiet import quiet
from searchmerge.types import UserError


@dataclass(frozen=True)
class Place:
    """An attribute of a module, or of the config that a module holds.

    Args:
        module: dotted path of the module; empty for the outermost one.
        name: of the attribute.
        config: whether it belongs to the module's config.
    """

    module: str
    name: str
    config: bool = False

    def holder(self, root: nn.Module) -> Any:
        """The object that has the attribute."""
        module = root.get_submodule(self.module)
        return module.config if self.config else module


@dataclass(frozen=True)
class Stack:
    """A model's list of layers.

    Args:
        name: dotted path of the list in the model, e.g. ``bert.encoder.layer``.
        length: the number of layers that the model's class gives it.
        counters: where that number is kept.
        lists: where there is an entry a layer (kinds of attention, say), and the entries.
        indices: within a layer, where it keeps its own position.
        extras: within a layer, the submodules that only the first one has (T5's relative positions).
        flags: within a layer, what tells the first one from the others beside ``extras``, and both values.
    """

    name: str
    length: int
    counters: tuple[Place, ...]
    lists: tuple[tuple[Place, tuple[Any, ...]], ...]
    indices: tuple[Place, ...]
    extras: tuple[Place, ...]
    flags: tuple[tuple[Place, Any, Any], ...]

    def settings(self, origins: list[int]) -> dict[str, Any]:
        """What the outermost config says of a stack that is made of the layers of these positions."""
        values: dict[str, Any] = {place.name: len(origins) for place in self.counters if _outermost(place)}
        for place, entries in self.lists:
            if _outermost(place):
                values[place.name] = [entries[origin] for origin in origins]
        return values


def stacks_of(model: Any) -> tuple[Stack, ...]:
    """Find the stacks of a transformers model as its class built it, in the model's order.

    Raises:
        UserError: it has none.
    """
    with quiet():
        found = [_examined(model, name, list(layers)) for name, layers in _lists(model)]
    stacks = tuple(stack for stack in found if stack is not None)
    if not stacks:
        raise UserError(
            expected="a model with a list of alike layers whose number its config sets",
            got=f"{type(model).__name__}, which has none",
            cure="search a path through the layers of a transformer with layers of one shape",
        )
    return stacks


def built(model: Any, settings: Mapping[str, Any]) -> Any:
    """Build the model's class anew from its config with other settings, as a reader of config.json would."""
    config = type(model.config).from_dict({**model.config.to_dict(), **settings})
    return type(model)(config)


def _outermost(place: Place) -> bool:
    return place.config and not place.module


def _lists(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.ModuleList]]:
    """The outermost lists of layers that differ at most in what the first one has besides."""
    for name, child in module.named_children():
        if not isinstance(child, nn.ModuleList):
            yield from _lists(child, f"{prefix}{name}.")
        elif _alike(child):
            yield f"{prefix}{name}", child


def _alike(layers: nn.ModuleList) -> bool:
    shapes = [{name: p.shape for name, p in layer.named_parameters()} for layer in layers]
    return (
        len({type(layer) for layer in layers}) == 1
        and bool(shapes[-1])
        and all(other == shapes[-1] for other in shapes[1:])
        and shapes[-1].items() <= shapes[0].items()
    )


def _examined(model: Any, name: str, layers: list[nn.Module]) -> Stack | None:
    """The stack of that name, or None where no number in the config makes just this list longer."""
    length, settings = len(layers), model.config.to_dict()
    entries = {k: v for k, v in settings.items() if isinstance(v, list | tuple) and len(v) == length}
    before = _empty(model, {})
    for key, value in settings.items():
        if type(value) is not int or value != length:
            continue
        more: dict[str, Any] = {key: length + 1, **{k: [*v, v[-1]] for k, v in entries.items()}}
        if not _grown(before, _empty(model, more), name, length):
            continue
        for other in entries:  # a list that merely has this length need not grow
            fewer = {k: v for k, v in more.items() if k != other}
            if _grown(before, _empty(model, fewer), name, length):
                more = fewer
        if _uncounted(before, _empty(model, more), name):
            before, more = _empty(model, {_CACHED: length}), {**more, _CACHED: length + 1}
        return _stack(before, _empty(model, more), name, length)
    return None


# What transformers 5 (``get_text_config(decoder=True)``) reads of an encoder-decoder's config to see how many
# layers the decoder's cache needs. T5 does not have it: the encoder's number is taken for both, and writing
# fails where the decoder has more. Set, it is saved with the config, and the plain model writes too.
_CACHED = "decoder_layers"


def _uncounted(before: Any, after: Any, name: str) -> bool:
    """Whether this is a decoder's stack whose cache is made without asking for its length."""
    if not before.config.is_encoder_decoder:
        return False
    layers = before.get_submodule(name)
    inside = any(module is layers for module in before.get_decoder().modules())
    cached = {m.config.get_text_config(decoder=True).num_hidden_layers for m in (before, after)}
    return inside and len(cached) == 1


def _empty(model: Any, settings: Mapping[str, Any]) -> Any:
    """The class without memory for its weights; None where such settings are impossible."""
    try:
        with torch.device("meta"):
            return built(model, settings)
    except Exception:  # a wrong config makes a model's constructor raise anything
        return None


def _grown(before: Any, after: Any, name: str, length: int) -> bool:
    """Whether a layer at the end of that list is all that came to the parameters."""
    if before is None or after is None:
        return False
    old = {path: parameter.shape for path, parameter in before.named_parameters()}
    new = {path: parameter.shape for path, parameter in after.named_parameters()}
    added = new.keys() - old.keys()
    return (
        bool(added)
        and old.items() <= new.items()
        and all(path.startswith(f"{name}.{length}.") for path in added)
    )


def _stack(before: Any, after: Any, name: str, length: int) -> Stack | None:
    counters: list[Place] = []
    lists: list[tuple[Place, tuple[Any, ...]]] = []
    for place, value, other in _differences(before, after, f"{name}."):
        if type(value) is int and value == length and other == length + 1:
            counters.append(place)
        elif isinstance(value, list | tuple) and len(value) == length and len(other or ()) == length + 1:
            lists.append((place, tuple(value)))
    first, later = after.get_submodule(f"{name}.0"), after.get_submodule(f"{name}.{length}")
    indices, extras, flags = _positional(first, later, length)
    own = tuple(f"{place.module}.{place.name}.".removeprefix(".") for place in extras)
    alone = {key for key, _ in first.named_parameters()} - {key for key, _ in later.named_parameters()}
    if not all(key.startswith(own) for key in alone):
        return None  # a parameter of the first layer itself: there is no submodule to hand on
    return Stack(name, length, tuple(counters), tuple(lists), tuple(indices), tuple(extras), tuple(flags))


def _positional(
    first: nn.Module, later: nn.Module, position: int
) -> tuple[list[Place], list[Place], list[tuple[Place, Any, Any]]]:
    """What a first layer and the one of another position have of their places: see :class:`Stack`."""
    indices: list[Place] = []
    extras: list[Place] = []
    flags: list[tuple[Place, Any, Any]] = []
    for path, module in later.named_modules():
        twin = first.get_submodule(path)
        own = [Place(path, child) for child, _ in twin.named_children() if not hasattr(module, child)]
        extras += own
        for key, value in vars(module).items():
            other = vars(twin).get(key)
            if type(value) is int and value == position and other == 0:
                indices.append(Place(path, key))
            elif own and isinstance(value, bool) and other is not value:
                flags.append((Place(path, key), other, value))
    return indices, extras, flags


def _differences(before: Any, after: Any, below: str) -> Iterator[tuple[Place, Any, Any]]:
    """The attributes of modules and configs that differ, but for what stands below that path."""
    seen: set[int] = set()
    for path, module in before.named_modules():
        if f"{path}.".startswith(below):
            continue
        holders = [(False, module, after.get_submodule(path))]
        config = getattr(module, "config", None)
        if config is not None and id(config) not in seen:
            seen.add(id(config))
            holders.append((True, config, holders[0][2].config))
        for of_config, old, new in holders:
            for key, value in vars(old).items():
                if isinstance(value, int | list | tuple) and vars(new).get(key) != value:
                    yield Place(path, key, of_config), value, vars(new).get(key)
