"""Strategies and spaces by name: entry points, so that those of other packages are found like our own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

import yaml

from searchmerge.types import Dims, Founders, Strategy, UserError

Role = Literal["strategies", "spaces"]


def available(role: Role) -> dict[str, EntryPoint]:
    """Installed strategies or spaces by name, in alphabetical order; nothing is imported."""
    found = entry_points(group=f"searchmerge.{role}")
    return {point.name: point for point in sorted(found, key=lambda point: point.name)}


def load(role: Role, name: str) -> Any:
    """Import the class of that name.

    Raises:
        UserError: there is none, or its package cannot be imported.
    """
    points = available(role)
    if name not in points:
        raise UserError(
            expected=f"one of the {role} {', '.join(points)}",
            got=repr(name),
            cure="correct the name, or install the package that brings it",
        )
    try:
        return points[name].load()
    except ImportError as error:
        raise UserError(
            expected=f"an importable {points[name].value}",
            got=str(error),
            cure="install what it needs",
        ) from error


def make_strategy(
    name: str,
    options: Mapping[str, Any],
    *,
    dims: Dims,
    seed: int,
    budget: int | None,
    several: bool = False,
) -> Strategy:
    """Build a strategy; ``name`` may carry its first option, as in ``nevergrad:TwoPointsDE``.

    Raises:
        UserError: an unknown strategy or option, or a value that it refuses; it needs coordinates and the
            space has founders, or one score and there are ``several``.
    """
    name, _, variant = name.partition(":")
    strategy_class = load("strategies", name)
    if isinstance(dims, Founders) and not getattr(strategy_class, "breeds", False):
        raise UserError(
            expected=f"a strategy that crosses whole models ({_with('breeds')}) for this space",
            got=f"{name}, which moves in coordinates",
            cure="take one of these, or a space with coordinates such as coefficients",
        )
    if several and not getattr(strategy_class, "several", False):
        raise UserError(
            expected=f"a strategy that takes several objectives ({_with('several')}) for aggregate: pareto",
            got=f"{name}, which takes one score",
            cure="take one of these, or objective.aggregate: mean",
        )
    valid = [
        parameter.name
        for parameter in inspect.signature(strategy_class).parameters.values()
        if parameter.name not in ("dims", "seed", "budget")
    ]
    if variant:
        if not valid:
            raise UserError(
                expected=f"{name} without a variant, it has no options",
                got=f"{name}:{variant}",
                cure=f"write {name}",
            )
        options = {valid[0]: yaml.safe_load(variant), **options}
    for option in options:
        if option not in valid:
            raise UserError(
                expected=f"an option of {name}: {', '.join(valid) or 'it has none'}",
                got=f"unknown key strategy.{option}",
                cure="correct or remove that key",
            )
    strategy: Strategy = strategy_class(dims, seed=seed, budget=budget, **options)
    return strategy


def _with(attribute: str) -> str:
    """The strategies that can be imported and have this attribute, and it is true."""
    found = []
    for name in available("strategies"):
        with suppress(UserError):  # another's broken package is not what the message is about
            found += [name] * bool(getattr(load("strategies", name), attribute, False))
    return ", ".join(found)
