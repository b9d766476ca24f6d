"""Equal digests mean equal weights to the bit; what differs above a layer does not show in its digest."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from searchmerge.layout import GRANULARITIES, Granularity, Layout
from searchmerge.merging import METHODS, READINGS
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.spaces.paths import PathsSpace
from searchmerge.types import Recipe
from searchmerge.workshop import TaskVectors
from searchmerge.written import Written

SHAPES = {"attention.weight": (6, 5), "mlp.weight": (5, 7), "norm.weight": (5,)}
ENCODER = Layout.of(
    {
        "embeddings.word.weight": (9, 5),
        **{f"encoder.layer.{n}.{name}": shape for n in range(3) for name, shape in SHAPES.items()},
        "pooler.weight": (5, 5),
    }
)
BOTH = Layout.of(
    {
        "shared.weight": (9, 5),
        "encoder.block.0.attention.relative_bias.weight": (4, 2),
        **{
            f"{half}.block.{n}.{name}": shape
            for half in ("encoder", "decoder")
            for n in range(2)
            for name, shape in SHAPES.items()
        },
        "encoder.final_norm.weight": (5,),
    }
)
PLACES = {"encoder": (ENCODER, "encoder.layer", ()), "both": (BOTH, "encoder.block", ("decoder.block",))}
NAMES = (
    ("a", "b", "c"),
    ("layer.1", "embeddings", "head"),
    ("encoder.layer.2.mlp.weight", "layer.0.attention", "model"),
    ("encoder.layer.1", "encoder.block.1.mlp.weight", "weight"),
)
"""Experts' names; all but the first are names of groups."""

SEARCHED: dict[str, Any] = {"weight": [0.1, 1.5], "density": [0.1, 1.0], "lambda": [0.5, 1.5]}
WITHOUT_DATA = sorted(name for name, method in METHODS.items() if method.statistics is None)


def merged(recipe: Recipe, layout: Layout, experts: Sequence[str]) -> Tensor:
    """The weights of a recipe, ``[size]``."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(layout.size, generator=generator)
    deltas = torch.randn(len(experts), layout.size, generator=generator)
    vectors, live = TaskVectors(deltas), torch.empty(layout.size)
    workshop: Any = SimpleNamespace(
        base=base,
        stored=lambda _: vectors,
        experts=tuple(experts),
        known=lambda *_: None,
        layout=layout,
        written=Written(live),
        models={},
    )
    CoefficientSpace.realise(recipe, workshop)
    return live


@st.composite
def coefficient_spaces(draw: st.DrawFn) -> tuple[CoefficientSpace, Layout, str, tuple[str, ...], Any]:
    layout, stack, later = PLACES[draw(st.sampled_from(sorted(PLACES)))]
    method = draw(st.sampled_from(WITHOUT_DATA))
    reading = draw(st.sampled_from(sorted(READINGS)))
    names = draw(st.sampled_from(NAMES))[: 2 if method == "slerp" else 3]
    knobs = READINGS[reading][method].knobs
    options: dict[str, Any] = {"method": method, "reading": reading}
    options["granularity"] = {knob.name: draw(st.sampled_from(GRANULARITIES)) for knob in knobs}
    for knob in knobs:
        wanted = SEARCHED.get(knob.name)
        if wanted is None or draw(st.integers(0, 3)) == 0:
            continue
        one = knob.per_expert and draw(st.booleans())  # the others of the knob are fixed
        options[knob.name] = {names[-1]: wanted} if one else wanted
    return CoefficientSpace(options, experts=names, layout=layout, seed=1), layout, stack, later, names


@given(coefficient_spaces(), st.data())
def test_equal_digests_of_coefficients_are_equal_weights(made: Any, data: st.DataObject) -> None:
    space, layout, stack, later, names = made
    numbers = st.floats(0, 1)
    one = data.draw(st.lists(numbers, min_size=len(space.dims), max_size=len(space.dims)))
    other = list(one)
    if one:
        for at in data.draw(st.lists(st.integers(0, len(one) - 1), max_size=3)):
            other[at] = data.draw(numbers)
    recipes = [space.decode(tuple(point)) for point in (one, other)]
    digests = [space.beginnings(recipe, layout, stack, later) for recipe in recipes]
    weights = [merged(recipe, layout, names) for recipe in recipes]
    assert [*map(len, digests)] == [layout.stacks[stack]] * 2
    for depth, (first, second) in enumerate(zip(*digests, strict=True)):
        if first != second:
            continue
        for span in layout.spans:
            number = span.name.removeprefix(f"{stack}.").split(".")[0]
            above = span.name.startswith(f"{stack}.") and int(number) > depth
            if not above and not span.name.startswith(tuple(f"{each}." for each in later)):
                run = slice(span.start, span.stop)
                assert torch.equal(weights[0][run], weights[1][run]), (depth, span.name)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("granularity", ["layer", "block", "tensor"])
@pytest.mark.parametrize("experts", NAMES)
def test_a_coordinate_shows_from_its_layer_on(
    place: str, granularity: Granularity, experts: tuple[str, ...]
) -> None:
    layout, stack, later = PLACES[place]
    options = {"method": "ties", "granularity": granularity, "weight": [0.0, 1.0], "density": [0.1, 1.0]}
    space = CoefficientSpace(options, experts=experts, layout=layout)
    depth = layout.stacks[stack]
    point = [0.5] * len(space.dims)
    known = list(space.beginnings(space.decode(tuple(point)), layout, stack, later))
    seen = set()
    for at, dim in enumerate(space.dims):
        group = dim.name.split("/")[2]
        span = next(span for span in layout.spans if span.group(granularity) == group)
        first = 0
        if span.name.startswith(f"{stack}."):
            first = int(span.name.removeprefix(f"{stack}.").split(".")[0])
        elif span.name.startswith(later or ("-",)):
            first = depth
        changed = [*point[:at], 0.9, *point[at + 1 :]]
        found = list(space.beginnings(space.decode(tuple(changed)), layout, stack, later))
        assert [a == b for a, b in zip(known, found, strict=True)] == [k < first for k in range(depth)]
        seen.add(first)
    assert seen == {*range(depth), *([depth] if later else [])}


def test_other_stacks_that_do_not_come_later_count() -> None:
    options = {"method": "task_arithmetic", "granularity": "layer", "weight": [0.0, 1.0]}
    space = CoefficientSpace(options, experts=NAMES[0], layout=BOTH)
    at = [dim.name for dim in space.dims].index("weight/a/decoder.layer.1")
    points = [[0.5] * len(space.dims) for _ in range(2)]
    points[1][at] = 0.7
    one, other = (space.beginnings(space.decode(tuple(p)), BOTH, "encoder.block", ()) for p in points)
    assert not set(one) & set(other)


STAGES = ({"merged": {"space": "x", "n": 1}}, {"merged": {"space": "x", "n": 2}})


@given(st.sampled_from(sorted(PLACES)), st.booleans(), st.integers(0, 1), st.data())
def test_digests_of_paths_are_equal_where_their_layers_are(
    place: str, scaled: bool, changed_stage: int, data: st.DataObject
) -> None:
    layout, stack, later = PLACES[place]
    options: dict[str, Any] = {"encoding": "steps", "scale": [0.5, 1.5] if scaled else False}
    spaces = [
        PathsSpace({**options, "rest": rest}, experts=("a", "b"), layout=layout, stages=STAGES[stage])
        for rest, stage in (("a", 0), (data.draw(st.sampled_from(["a", "merged"])), changed_stage))
    ]
    size = len(spaces[0].dims)
    one = data.draw(st.lists(st.floats(0, 1), min_size=size, max_size=size))
    other = list(one)
    for at in data.draw(st.lists(st.integers(0, size - 1), max_size=2)):
        other[at] = data.draw(st.floats(0, 1))
    recipes = [space.decode(tuple(point)) for space, point in zip(spaces, (one, other), strict=True)]
    digests = [PathsSpace.beginnings(recipe, layout, stack, later) for recipe in recipes]
    for depth in range(min(map(len, digests))):
        meant = [_meant(recipe, stack, depth) for recipe in recipes]
        assert (digests[0][depth] == digests[1][depth]) == (meant[0] == meant[1])


def _meant(recipe: Recipe, stack: str, depth: int) -> list[Any]:
    """Whose rest and whose layers, a stage by what it is made of."""
    stages = recipe["stages"]
    steps = [[stages.get(step[0], step[0]), *step[1:]] for step in recipe["stacks"][stack][: depth + 1]]
    return [recipe["rest"], stages.get(recipe["rest"]), *steps]


@pytest.mark.parametrize("later", [("decoder.block",), ()])
def test_the_path_of_another_stack_counts_unless_it_comes_later(later: tuple[str, ...]) -> None:
    space = PathsSpace({"encoding": "steps"}, experts=("a", "b"), layout=BOTH)
    at = [dim.name for dim in space.dims].index("decoder.block/step/1")
    points = [[dim.default for dim in space.dims] for _ in range(2)]
    points[1][at] = 0.0
    one, other = (space.beginnings(space.decode(tuple(p)), BOTH, "encoder.block", later) for p in points)
    assert list(one) == list(other) if later else not set(one) & set(other)
