from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.layout import Layout
from searchmerge.merging.magnitudes import DENSITY_STEPS
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.types import UserError, default_genotype

EXPERTS = ("a", "b", "c")
LAYOUT = Layout.of(
    {
        "embeddings.word.weight": (5, 2),
        "encoder.layer.0.attention.weight": (2, 2),
        "encoder.layer.0.mlp.weight": (2, 2),
        "encoder.layer.1.attention.weight": (2, 2),
        "encoder.layer.1.mlp.weight": (2, 2),
        "pooler.weight": (2, 2),
    }
)
LAYERS = ["embeddings", "layer.0", "layer.1", "head"]


def space(**options: Any) -> CoefficientSpace:
    return CoefficientSpace(options, experts=EXPERTS, layout=LAYOUT, seed=3)


def test_a_fixed_config_is_one_merge() -> None:
    fixed = space(method="ties", weight=1, density=0.2)
    assert fixed.dims == ()
    recipe = fixed.decode(())
    assert recipe["knobs"] == {"weight": 1.0, "density": 0.2, "lambda": 1.0}
    assert recipe["granularity"] == {"weight": "model", "density": "model", "lambda": "model"}


def test_a_range_gives_one_coordinate_an_expert_and_group() -> None:
    searched = space(method="task_arithmetic", granularity="layer", weight=[0, 1.5])
    assert [dim.name for dim in searched.dims] == [f"weight/{e}/{g}" for e in EXPERTS for g in LAYERS]
    recipe = searched.decode(tuple(i / 12 for i in range(12)))
    assert recipe["knobs"]["weight"]["b"] == pytest.approx(
        {g: 1.5 * (4 + i) / 12 for i, g in enumerate(LAYERS)}
    )


def test_every_knob_has_its_own_granularity() -> None:
    searched = space(
        method="ties",
        granularity={"weight": "layer"},
        weight=[0, 1],
        density=[0.1, 1],
        **{"lambda": [0.5, 1.5]},
    )
    names = [dim.name for dim in searched.dims]
    assert names[-4:] == ["density/a", "density/b", "density/c", "lambda"]
    assert len(names) == 3 * 4 + 3 + 1


def test_one_expert_may_be_searched_and_another_fixed() -> None:
    searched = space(method="task_arithmetic", weight={"a": [0, 1], "c": 0.7})
    assert [dim.name for dim in searched.dims] == ["weight/a"]
    assert searched.decode((0.25,))["knobs"]["weight"] == pytest.approx({"a": 0.25, "b": 1 / 3, "c": 0.7})


def test_choices_are_equal_bins() -> None:
    searched = space(method="ties", density={"choices": [0.1, 0.2, 0.5]})
    assert [dim.choices for dim in searched.dims] == [3, 3, 3]
    assert searched.decode((0.0, 0.5, 1.0))["knobs"]["density"] == {"a": 0.1, "b": 0.2, "c": 0.5}
    assert searched.decode(default_genotype(searched.dims))["knobs"]["density"]["a"] == 0.2


@pytest.mark.parametrize(
    ("options", "knob", "value"),
    [
        ({"method": "task_arithmetic", "weight": [0, 1]}, "weight", 1 / 3),
        ({"method": "linear", "weight": [0, 1]}, "weight", 1 / 3),
        ({"method": "ties", "weight": [0, 2]}, "weight", 1.0),
        ({"method": "ties", "weight": [0, 0.5]}, "weight", 0.5),
        ({"method": "ties", "weight": [1.5, 2]}, "weight", 1.5),
    ],
)
def test_the_default_merge_is_the_methods_own_where_the_range_holds_it(
    options: dict[str, Any], knob: str, value: float
) -> None:
    searched = space(**options)
    recipe = searched.decode(default_genotype(searched.dims))
    assert recipe["knobs"][knob] == pytest.approx(dict.fromkeys(EXPERTS, value))


@given(st.lists(st.floats(0, 1), min_size=12, max_size=12))
def test_searched_densities_lie_on_the_steps_that_are_looked_up(genotype: list[float]) -> None:
    searched = space(method="ties", granularity="layer", density=[0.001, 1])
    for groups in searched.decode(tuple(genotype))["knobs"]["density"].values():
        for density in groups.values():
            assert density * DENSITY_STEPS == int(density * DENSITY_STEPS) >= 1


@given(st.lists(st.floats(0, 1), min_size=12, max_size=12))
def test_a_recipe_survives_json(genotype: list[float]) -> None:
    recipe = space(method="task_arithmetic", granularity="layer", weight=[0, 1]).decode(tuple(genotype))
    assert json.loads(json.dumps(recipe)) == recipe


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "tiez"}, "ties"),
        ({"method": "ties", "reading": "blog"}, "mergekit"),
        ({"method": "ties", "wieght": 1}, "unknown key space.wieght"),
        ({"method": "linear", "density": 0.5}, "unknown key space.density"),
        ({"method": "ties", "density": 0}, "space.density"),
        ({"method": "ties", "density": 1.5}, "space.density"),
        ({"method": "ties", "density": [0.5, 0.1]}, "low < high"),
        ({"method": "ties", "density": [0.1, 0.2, 0.3]}, "a pair"),
        ({"method": "ties", "density": "half"}, "'half'"),
        ({"method": "ties", "density": {"choices": []}}, "space.density"),
        ({"method": "ties", "weight": {"d": 1}}, "an expert: a, b, c"),
        ({"method": "ties", "weight": {"a": True}}, "space.weight.a"),
        ({"method": "ties", "granularity": "module"}, "model, layer, block, tensor"),
        ({"method": "ties", "granularity": {"wieght": "layer"}}, "unknown key space.wieght"),
        ({"method": "slerp", "t": 0.5}, "2 experts for slerp"),
        ({"method": "ties", "storage": "int8"}, "space.storage: one of float32, bfloat16, float16"),
        ({"method": "ties", "storage": ["bfloat16"]}, "space.storage"),
    ],
)
def test_a_mistake_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        space(**options)
    assert message in str(caught.value)


def test_the_recipe_says_how_task_vectors_are_stored_where_that_changes_the_weights() -> None:
    plain, said, half = (
        space(method="ties", **options) for options in ({}, {"storage": "float32"}, {"storage": "bfloat16"})
    )
    assert plain.decode(()) == said.decode(())
    assert "storage" not in plain.decode(())  # as the recipes were before there was a choice
    assert half.decode(()) == {**plain.decode(()), "storage": "bfloat16"}


def test_a_method_of_differences_needs_a_base() -> None:
    with pytest.raises(UserError, match="a base model"):
        CoefficientSpace({"method": "ties"}, experts=EXPERTS, layout=LAYOUT, has_base=False)
    CoefficientSpace({"method": "linear"}, experts=EXPERTS, layout=LAYOUT, has_base=False)
