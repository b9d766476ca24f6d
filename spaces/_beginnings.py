"""What the layers up to each one depend on: candidates that begin alike need not be run alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from searchmerge.layout import Layout
from searchmerge.merging import find
from searchmerge.types import Recipe


def chained(common: Any, layers: Iterable[Any]) -> list[str]:
    """Digests of what each layer and all before it depend on, from what each depends on alone."""
    digest = hashlib.sha256(_bytes(common))
    found = []
    for layer in layers:
        digest.update(_bytes(layer))
        found.append(digest.hexdigest())
    return found


def of_knobs(recipe: Recipe, layout: Layout, stack: str, later: Collection[str]) -> list[str]:
    """The beginnings of a recipe of coefficients.

    A layer depends on the settings of the groups that its tensors stand in. All that is in no stack counts as
    before the layers, though most of it comes after them: names do not tell.

    Args:
        recipe: of the space ``coefficients``.
        layout: places of the merged tensors.
        stack: the one whose layers are meant.
        later: the stacks that come after it.
    """
    knobs = [
        (recipe["knobs"][knob.name], recipe["granularity"][knob.name], knob.per_expert)
        for knob in find(recipe["method"], recipe["reading"]).knobs
    ]
    after = tuple(f"{other}." for other in later)
    layers: dict[str, dict[tuple[str, ...], list[Any]]] = {}
    common: dict[tuple[str, ...], list[Any]] = {}
    for span in layout.spans:
        if span.name.startswith(after):
            continue
        inside = span.name.startswith(f"{stack}.")
        groups = tuple(span.group(granularity) for _, granularity, _ in knobs)
        settings = layers.setdefault(span.layer, {}) if inside else common
        if groups not in settings:
            settings[groups] = [
                _of_group(setting, group, each)
                for (setting, _, each), group in zip(knobs, groups, strict=True)
            ]
    fixed = {key: value for key, value in recipe.items() if key != "knobs"}
    return chained(
        [fixed, list(common.values())], [[layer, list(found.values())] for layer, found in layers.items()]
    )


def of_path(recipe: Recipe, stack: str, later: Collection[str]) -> list[str]:
    """The beginnings of a recipe of paths; arguments as of :func:`of_knobs`."""
    made = {name: hashlib.sha256(_bytes(stage)).hexdigest() for name, stage in recipe["stages"].items()}
    rest, paths = recipe["rest"], recipe["stacks"]
    others = {name: path for name, path in paths.items() if name != stack and name not in later}
    used = {step[0] for path in others.values() for step in path} | {rest}
    common = [rest, others, {name: made.get(name) for name in used}]
    return chained(common, [[step, made.get(step[0])] for step in paths[stack]])


def _of_group(setting: Any, group: str, per_expert: bool) -> Any:
    """What a group's merge reads of a knob's setting: a number, or one an expert."""
    if not isinstance(setting, Mapping):
        return setting
    if per_expert:
        return {expert: _of_group(inner, group, False) for expert, inner in setting.items()}
    return setting[group]


def _bytes(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
