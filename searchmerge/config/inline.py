"""A strategy in one word of the command line."""

from __future__ import annotations

from typing import Any

import yaml

from searchmerge.config.sections import Part
from searchmerge.types import UserError


def inline(text: str) -> Part:
    """Read ``de``, ``nevergrad:TwoPointsDE`` or ``de:population=16:adaptation=search:tpe``.

    After the name come its first option's value, if it is written alone, and others as ``key=value``, the
    value in YAML. What follows without ``=`` still belongs to the value before.

    Raises:
        UserError: no name, or a value that is no YAML.
    """
    name, *pieces = text.strip().split(":")
    options: dict[str, str] = {}
    for piece in pieces:
        key, equals, value = piece.partition("=")
        if equals and key:
            options[key] = value
        elif options:
            last = next(reversed(options))
            options[last] = f"{options[last]}:{piece}"
        else:
            name = f"{name}:{piece}"
    if not name.strip(":") or "kind" in options:
        raise _no_part(text)
    try:
        values: dict[str, Any] = {key: yaml.safe_load(value) for key, value in options.items()}
    except yaml.YAMLError as error:
        raise _no_part(text) from error
    return Part(kind=name, **values)


def _no_part(text: str) -> UserError:
    return UserError(
        expected="a strategy such as de, nevergrad:TwoPointsDE or de:population=16:rule=rand/1",
        got=repr(text),
        cure="correct it, or describe it in the config",
    )
