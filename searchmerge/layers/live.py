"""A path laid in a live model: its stack is given other models' layers, and no weight is copied."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

from torch import nn

from searchmerge.layers.stacks import Stack
from searchmerge.types import UserError


@dataclass(frozen=True)
class Step:
    """One layer of a path.

    Args:
        layer: a module with the parameters of the source's layer.
        origin: its position in its source.
        scale: what its input is multiplied by.

    Raises:
        UserError: a scale that is not finite and positive.
    """

    layer: nn.Module
    origin: int
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise UserError(
                expected="a finite scale above 0 for the input of each layer",
                got=f"{self.scale} for a copy of layer {self.origin}",
                cure="give scales above 0, or scales: off",
            )


class Scaled:
    """Multiplies the hidden states where they enter a layer.

    Args:
        scale: the number.
        name: of the layer's first argument.
    """

    def __init__(self, scale: float, name: str) -> None:
        self.scale, self.name = scale, name

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """Stand as a forward hook before the layer; the states come first or by name."""
        if args:
            return (args[0] * self.scale, *args[1:]), kwargs
        return args, {**kwargs, self.name: kwargs[self.name] * self.scale}


def scale_of(layer: nn.Module) -> float:
    """What the input of a laid layer is multiplied by."""
    return math.prod(hook.scale for hook in layer._forward_pre_hooks.values() if isinstance(hook, Scaled))


# What nn.Module keeps of a module in dicts and sets: parameters, buffers, submodules and hooks.
_CONTAINERS = tuple(key for key, value in vars(nn.Module()).items() if isinstance(value, dict | set))


def shared(layer: nn.Module, host: nn.Module | None = None) -> nn.Module:
    """Copy the structure of a module: same parameters and buffers, own attributes.

    Args:
        layer: what to copy.
        host: a module of the same structure in the model that the copy is for: config, mode and hooks (but
            for scales) are its. None: those of ``layer``.
    """
    host = layer if host is None else host
    copy = layer.__class__.__new__(layer.__class__)
    state = {**vars(layer), "training": host.training}
    if "config" in vars(host):
        state["config"] = host.config
    for key in _CONTAINERS:
        state[key] = vars(host if "hooks" in key else layer)[key].copy()
    for number, hook in host._forward_pre_hooks.items():
        if isinstance(hook, Scaled):
            del state["_forward_pre_hooks"][number]
            state["_forward_pre_hooks_with_kwargs"].pop(number, None)
    for name, child in layer._modules.items():
        state["_modules"][name] = None if child is None else shared(child, host._modules.get(name))
    vars(copy).update(state)
    return copy


def lay(model: Any, stack: Stack, steps: Sequence[Step]) -> None:
    """Give a live model other layers, in place.

    Embeddings, heads, final norm and all that only a first layer has stay the model's own. The layers come
    from models of the same class and config; entries of per-layer lists in the config go with their layer.

    Args:
        model: as its class built it, or laid before.
        stack: of that model.
        steps: the path, at least one step.

    Raises:
        UserError: an empty path.
    """
    if not steps:
        raise UserError(
            expected=f"at least one layer for {stack.name}",
            got="a path without layers",
            cure="let the path keep one layer or more",
        )
    parent, _, name = stack.name.rpartition(".")
    owner = model.get_submodule(parent)
    first = getattr(owner, name)[0]
    layers = nn.ModuleList([_placed(stack, first, step, at) for at, step in enumerate(steps)])
    layers.training = owner.training
    setattr(owner, name, layers)
    for place in stack.counters:
        setattr(place.holder(model), place.name, len(steps))
    for place, entries in stack.lists:
        setattr(place.holder(model), place.name, [entries[step.origin] for step in steps])


def _placed(stack: Stack, first: nn.Module, step: Step, position: int) -> nn.Module:
    """A copy of the step's layer for that position of the stack whose first layer is given."""
    copy = shared(step.layer, first)
    for place in stack.indices:
        setattr(place.holder(copy), place.name, position)
    for place in stack.extras:
        children = place.holder(copy)._modules
        if position == 0:
            children[place.name] = place.holder(first)._modules[place.name]
        else:
            children.pop(place.name, None)
    for place, at_first, later in stack.flags:
        setattr(place.holder(copy), place.name, later if position else at_first)
    if step.scale != 1.0:
        states = next(name for name in signature(type(copy).forward).parameters if name != "self")
        copy.register_forward_pre_hook(Scaled(step.scale, states), with_kwargs=True)
    return copy
