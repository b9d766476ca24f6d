"""What the layers up to each one depend on: candidates that begin alike need not be run alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from searchmerge.layout import Layout
from searchmerge.types import Recipe


def chained(common: Any, layers: Iterable[Any]) -> list[str]:
    """Digests of what each layer and all before it depend on, from what each depends on alone."""
    digest = hashlib.sha256(_bytes(common))
    found = []
    for layer in layers:
        digest.update(_bytes(layer))
        found.append(digest.hexdigest())
    return found


def of_knobs(recipe: Recipe, layout: Layout) -> list[str]:
    """The beginnings of a recipe of coefficients.

    A layer depends on the settings of its own groups. All that is in no stack counts as before the layers,
    though most of it comes after them: names do not tell.
    """
    stack = next(iter(layout.stacks), None)
    inside = {span.name for span in layout.spans if stack and span.name.startswith(f"{stack}.")}
    layers: dict[str, list[Any]] = {span.layer: [] for span in layout.spans if span.name in inside}
    others = tuple(other for other in layout.stacks if other != stack)
    common: list[Any] = [{key: value for key, value in recipe.items() if key != "knobs"}]
    for knob, setting in recipe["knobs"].items():
        granularity = recipe["granularity"][knob]
        where = {span.group(granularity): span for span in layout.spans}
        for path, value in _leaves(setting):
            span = where.get(path[-1]) if granularity != "model" and path else None
            if span is None:
                common.append([knob, path, value])
            elif span.name in inside:
                layers[span.layer].append([knob, path, value])
            elif not span.name.startswith(tuple(f"{other}." for other in others)):
                common.append([knob, path, value])
    return chained(common, layers.values())


def of_path(recipe: Recipe) -> list[str]:
    """The beginnings of a recipe of paths."""
    path = next(iter(recipe["stacks"].values()))
    return chained([recipe["rest"], recipe["stages"]], path)


def _leaves(setting: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The numbers of a setting: one, one a group, one an expert, or one a group of each expert."""
    if isinstance(setting, Mapping):
        for key, inner in setting.items():
            yield from _leaves(inner, (*path, key))
    else:
        yield path, setting


def _bytes(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
