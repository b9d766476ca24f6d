"""Paths against decoders that read the coordinates by their names."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.layout import Layout
from searchmerge.spaces.paths import PathsSpace
from searchmerge.testing import check_dims, check_recipes
from searchmerge.types import Recipe, UserError, default_genotype, names

EXPERTS = ("a", "b")
DEPTH = 4


def layers(stack: str, count: int) -> dict[str, tuple[int, ...]]:
    parts = {"attention.weight": (2, 2), "mlp.weight": (4, 2)}
    return {f"{stack}.{k}.{part}": shape for k in range(count) for part, shape in parts.items()}


ENCODER = Layout.of(
    {"embeddings.word.weight": (5, 2), **layers("encoder.layer", DEPTH), "pooler.weight": (2, 2)}
)
T5 = Layout.of(
    {
        "shared.weight": (5, 2),
        "encoder.block.0.attention.bias.weight": (3, 2),
        **layers("encoder.block", 3),
        "decoder.block.0.attention.bias.weight": (3, 2),
        **layers("decoder.block", 2),
    }
)


def space(layout: Layout = ENCODER, experts: Sequence[str] = EXPERTS, **options: Any) -> PathsSpace:
    return PathsSpace(options, experts=experts, layout=layout)


def decoded(made: PathsSpace, genotype: Sequence[float], stack: str = "encoder.layer") -> list[list[Any]]:
    path: list[list[Any]] = made.decode(tuple(genotype))["stacks"][stack]
    return path


def split(path: list[list[Any]]) -> tuple[list[tuple[str, int]], list[float]]:
    """Layers and factors, one a step."""
    return [(step[0], step[1]) for step in path], [step[2] if len(step) > 2 else 1.0 for step in path]


def points(made: PathsSpace, count: int = 40) -> list[list[float]]:
    n = len(made.dims)
    return [[0.0] * n, [1.0] * n, [0.5] * n, *np.random.default_rng(0).random((count, n)).tolist()]


SCALED: tuple[dict[str, Any], ...] = (
    {},
    *({"scale": [0.5, 1.5], "scales": word} for word in ("matrix", "pairs", "jumps", "network")),
)
CASES: list[dict[str, Any]] = [
    {**encoding, **scaled, **ends}
    for encoding in (
        {},
        {"repeats": 2, "threshold": 0.7, "margin": 0.2, "sources": ["b", "base", "a"], "rest": "a"},
        {"encoding": "steps"},
        {"encoding": "steps", "length": 6, "rest": "b"},
        {"encoding": "steps", "choose": "aligned", "rest": "b"},
        {"encoding": "blocks"},
        {"encoding": "blocks", "blocks": 1},
        {"encoding": "blocks", "blocks": 3, "rest": "b", "sources": ["a", "b", "base"]},
    )
    for scaled in SCALED
    for ends in ({}, {"ends": {"first": 1, "last": 2}})
]


def spelt(options: dict[str, Any]) -> str:
    return json.dumps(options).replace('"', "")


@pytest.mark.parametrize("layout", [ENCODER, T5], ids=["encoder", "t5"])
@pytest.mark.parametrize("options", CASES, ids=spelt)
def test_the_public_checks_that_need_no_weights(options: dict[str, Any], layout: Layout) -> None:
    if layout is T5 and "ends" in options:
        options = {**options, "ends": {"first": 1}}
    made = space(layout, **options)
    check_dims(made, None)  # type: ignore[arg-type]
    check_recipes(made, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", [ENCODER, T5], ids=["encoder", "t5"])
@pytest.mark.parametrize("options", CASES, ids=spelt)
def test_the_default_is_one_model_untouched(options: dict[str, Any], layout: Layout) -> None:
    if layout is T5 and "ends" in options:
        options = {**options, "ends": {"last": 1}}
    made = space(layout, **options)
    rest = options.get("rest", "a")
    assert made.decode(default_genotype(made.dims)) == {
        "space": "paths",
        "rest": rest,
        "stacks": {name: [[rest, k] for k in range(depth)] for name, depth in layout.stacks.items()},
        "stages": {},
    }


def ranged(options: dict[str, Any]) -> range:
    ends = options.get("ends", {})
    return range(ends.get("first", 0), DEPTH - ends.get("last", 0))


def witness_path(
    made: PathsSpace, options: dict[str, Any], genotype: Sequence[float]
) -> list[tuple[str, int]]:
    """The layers of a path, read from the names of the coordinates."""
    sources = options.get("sources", list(EXPERTS))
    rest, between = options.get("rest", sources[0]), ranged(options)
    value = dict(zip(names(made.dims), genotype, strict=True))
    word = options.get("encoding", "indicators")
    middle = {"indicators": witness_slots, "steps": witness_steps, "blocks": witness_blocks}[word]
    before, after = ([(rest, k) for k in part] for part in (range(between.start), range(between.stop, DEPTH)))
    return (before + middle(value, options, sources, between) + after) or [(rest, 0)]


def witness_slots(
    value: dict[str, float], options: dict[str, Any], sources: list[str], between: range
) -> list[tuple[str, int]]:
    slots = itertools.product(range(1, options.get("repeats", 1) + 1), sources, between)
    threshold = options.get("threshold", 0.5)
    return [(source, k) for r, source, k in slots if value[f"on/{r}/{source}.{k}"] > threshold]


def witness_steps(
    value: dict[str, float], options: dict[str, Any], sources: list[str], between: range
) -> list[tuple[str, int]]:
    path = []
    for t in range(options.get("length", len(between))):
        menu = [(source, k) for source in sources for k in between]
        if options.get("choose") == "aligned":
            menu = [(source, between.start + t) for source in sources]
        edges = np.linspace(0, 1, len(menu) + 2)
        chosen = int(np.searchsorted(edges[1:-1], value[f"step/{t + 1}"], side="right"))
        if chosen:
            path.append(menu[chosen - 1])
    return path


def witness_blocks(
    value: dict[str, float], options: dict[str, Any], sources: list[str], between: range
) -> list[tuple[str, int]]:
    path = []
    for b in range(1, options.get("blocks", 2 * len(sources)) + 1):
        source = sources[min(int(value[f"block/{b}/source"] * len(sources)), len(sources) - 1)]
        first = between[min(int(value[f"block/{b}/first"] * len(between)), len(between) - 1)]
        number = min(int(value[f"block/{b}/number"] * (len(between) + 1)), len(between))
        path += [(source, k) for k in range(first, first + number) if k in between]
    return path


def transitions(
    options: dict[str, Any], path: list[tuple[str, int]]
) -> list[tuple[str, tuple[str, int], int]]:
    """Where each scaled step comes from (by name), where it goes, and its place on the path."""
    between = ranged(options)
    stop = len(path) - (DEPTH - between.stop)
    last = stop + (between.stop < DEPTH)
    come = ["start", *(f"{source}.{k}" for source, k in path)]
    return [(come[k], path[k], k) for k in range(between.start, last)]


@pytest.mark.parametrize("options", CASES, ids=spelt)
def test_paths_and_factors_are_those_of_the_names(options: dict[str, Any]) -> None:
    made = space(**options)
    for genotype in points(made):
        value = dict(zip(names(made.dims), genotype, strict=True))
        found, factors = split(decoded(made, genotype))
        assert found == witness_path(made, options, genotype)
        if options.get("scales") == "network":
            continue
        expected = [1.0] * len(found)
        for i, (source, k), place in transitions(options, found):
            x = value.get(f"scale/{i}>{source}.{k}", 0.5)
            expected[place] = float(np.interp(x, [0, 0.5, 1], [0.5, 1, 1.5]))
        assert factors == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("options", [o for o in CASES if o.get("scales") == "network"], ids=spelt)
def test_factors_of_the_network(options: dict[str, Any]) -> None:
    options = {**options, "scale": [0.25, 3]}
    made = space(**options)
    sources = options.get("sources", list(EXPERTS))
    rest, between = options.get("rest", sources[0]), ranged(options)
    longest = {
        "indicators": len(sources) * len(between) * options.get("repeats", 1),
        "steps": options.get("length", len(between)),
        "blocks": options.get("blocks", 2 * len(sources)) * len(between),
    }[options.get("encoding", "indicators")] + (between.stop < DEPTH)

    def along(x: float, count: int) -> float:
        return 2 * x / (count - 1) - 1 if count > 1 else 0.0

    def inputs(source: str, k: int) -> list[float]:
        return [along(sources.index(source), len(sources)), along(k - between.start, len(between))]

    for genotype in points(made):
        found, factors = split(decoded(made, genotype))
        weights = 6 * np.array(genotype[-29:]) - 3
        expected = [1.0] * len(found)
        for t, (i, j, place) in enumerate(transitions(options, found)):
            came = (rest, -1) if i == "start" else (i.split(".")[0], int(i.split(".")[1]))
            x = np.array([*inputs(*came), *inputs(*j), along(t, longest), 1])
            out = np.tanh(weights[24:] @ np.array([*np.tanh(weights[:24].reshape(4, 6) @ x), 1]))
            expected[place] = 1 + out * (2 if out > 0 else 0.75)
        assert factors == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("options", [o for o in CASES if o.get("scales") == "pairs"], ids=spelt)
def test_pairs_are_exactly_the_steps_that_can_occur(options: dict[str, Any]) -> None:
    small = {**options, "ends": {**options.get("ends", {"last": 2})}}
    made = PathsSpace(small, experts=EXPERTS, layout=ENCODER)
    width = sum(not dim.name.startswith("scale/") for dim in made.dims)
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(6000):
        # Mostly short paths, so that rare neighbours meet too.
        point = rng.random(width) ** rng.choice([1, 3])
        path = split(decoded(made, [*point, *[0.5] * (len(made.dims) - width)]))[0]
        seen |= {f"scale/{i}>{j[0]}.{j[1]}" for i, j, _ in transitions(small, path)}
    assert seen == {name for name in names(made.dims) if name.startswith("scale/")}


@pytest.mark.parametrize("options", [o for o in CASES if o.get("scales") == "jumps"], ids=spelt)
def test_jumps_are_the_pairs_that_are_no_step_inside_a_source(options: dict[str, Any]) -> None:
    jumps, pairs = (set(names(space(**{**options, "scales": word}).dims)) for word in ("jumps", "pairs"))
    rest = options.get("rest", options.get("sources", EXPERTS)[0])
    inside = {f"scale/{s}.{k}>{s}.{k + 1}" for s in (*EXPERTS, "base") for k in range(DEPTH)}
    assert pairs - jumps == pairs & (inside | {f"scale/start>{rest}.0"})
    assert jumps < pairs


CUBE = st.data()


@given(CUBE, st.sampled_from(CASES))
def test_any_point_decodes_always_to_the_same(data: st.DataObject, options: dict[str, Any]) -> None:
    made, again = space(**options), space(**options)
    n = len(made.dims)
    genotype = tuple(data.draw(st.lists(st.floats(0, 1), min_size=n, max_size=n)))
    recipe = made.decode(genotype)
    assert recipe == again.decode(genotype, [recipe]) == json.loads(json.dumps(recipe))
    limits = options.get("scale", [1, 1])
    for step in recipe["stacks"]["encoder.layer"]:
        assert len(step) == 2 or (limits[0] <= step[2] <= limits[1] and step[2] != 1)
    assert PathsSpace.pruned(recipe) == recipe


@given(CUBE, st.sampled_from([o for o in CASES if o.get("scales") != "network"]))
def test_what_is_not_on_the_path_does_not_show(data: st.DataObject, options: dict[str, Any]) -> None:
    made = space(**options)
    floats = st.lists(st.floats(0, 1), min_size=len(made.dims), max_size=len(made.dims))
    genotype, other = data.draw(floats), data.draw(floats)
    recipe = made.decode(tuple(genotype))
    path = split(recipe["stacks"]["encoder.layer"])[0]
    used = {f"scale/{i}>{j[0]}.{j[1]}" for i, j, _ in transitions(options, path)}
    value = dict(zip(names(made.dims), genotype, strict=True))
    blocks = [int(name.split("/")[1]) for name in value if name.endswith("/number")]
    idle = {b for b in blocks if value[f"block/{b}/number"] < 1 / (len(ranged(options)) + 1)}
    changed = [
        y
        if (name.startswith("scale/") and name not in used)
        or any(name in (f"block/{b}/source", f"block/{b}/first") for b in idle)
        else x
        for name, x, y in zip(value, genotype, other, strict=True)
    ]
    assert made.decode(tuple(changed)) == recipe


@pytest.mark.parametrize("limits", [(0.5, 1.5), (1 / 3, 1), (1, 7 / 3), (0.1, 10), (1e-9, 1 + 1e-9)])
def test_factors_go_from_end_to_end_and_through_1(limits: tuple[float, float]) -> None:
    made = space(scale=list(limits))
    neutral = next(dim.default for dim in made.dims if dim.name == "scale/start>a.0")
    on = [dim.default for dim in made.dims if not dim.name.startswith("scale/")]
    rest = len(made.dims) - len(on)

    def first(x: float) -> float:
        return split(decoded(made, [*on, *[x] * rest]))[1][0]

    assert first(neutral) == 1.0
    assert neutral == (0 if limits[0] == 1 else 1 if limits[1] == 1 else 0.5)
    assert first(0.3) == round(first(0.3), 6)
    assert (first(0.0), first(1.0)) == pytest.approx(limits, abs=1e-6)
    assert all(limits[0] <= first(x) <= limits[1] for x in np.linspace(0, 1, 41))
    line = np.interp(0.3, [0, neutral, 1] if 0 < neutral < 1 else [0, 1],
                     [limits[0], 1, limits[1]] if 0 < neutral < 1 else limits)  # fmt: skip
    assert first(0.3) == pytest.approx(line, abs=1e-6)


def test_the_numbers_of_coordinates() -> None:
    def count(**options: Any) -> int:
        return len(space(**options).dims)

    layers = 2 * DEPTH
    assert count() == layers
    assert count(repeats=3) == 3 * layers
    assert count(encoding="steps") == DEPTH
    assert count(encoding="blocks") == 3 * 4
    scale = [0.5, 1.5]
    assert count(scale=scale, scales="matrix") == layers + layers**2 + layers
    assert count(scale=scale) == layers + layers * (layers - 1) // 2 + layers
    inside = 2 * (DEPTH - 1) + 1
    assert count(scale=scale, scales="jumps") == count(scale=scale) - inside
    assert count(scale=scale, scales="network") == layers + 29


def test_indicators_start_between_threshold_and_end() -> None:
    made = space(threshold=0.6, margin=0.25)
    assert [dim.default for dim in made.dims] == pytest.approx([0.7] * DEPTH + [0.45] * DEPTH)


def test_a_path_has_a_layer_or_more() -> None:
    assert decoded(space(rest="b"), [0.0] * 8) == [["b", 0]]
    assert decoded(space(encoding="steps"), [0.0] * 4) == [["a", 0]]
    assert decoded(space(ends={"first": 1, "last": 1}), [0.0] * 4) == [["a", 0], ["a", 3]]


def test_each_stack_is_searched_on_its_own() -> None:
    made = space(T5, encoding="steps", scale=[0.5, 2], scales="jumps")
    steps = [name for name in names(made.dims) if "/step/" in name]
    assert steps == [
        *(f"encoder.block/step/{t}" for t in (1, 2, 3)),
        *(f"decoder.block/step/{t}" for t in (1, 2)),
    ]
    genotype = [1.0 if dim.name.startswith("decoder") else dim.default for dim in made.dims]
    assert made.decode(tuple(genotype))["stacks"] == {
        "encoder.block": [["a", 0], ["a", 1], ["a", 2]],
        "decoder.block": [["b", 1, 2.0], ["b", 1, 2.0]],
    }


def test_a_stack_that_is_not_searched_is_untouched() -> None:
    made = space(T5, stacks=["decoder.block"], rest="b", ends={"last": 1}, scale=[0.5, 2])
    assert {name.split("/")[0] for name in names(made.dims)} == {"on", "scale"}
    assert made.decode((1.0,) * len(made.dims))["stacks"] == {
        "encoder.block": [["b", 0], ["b", 1], ["b", 2]],
        "decoder.block": [["a", 0, 2.0], ["b", 0, 2.0], ["b", 1, 2.0]],
    }


def test_the_ends_concern_searched_stacks_alone() -> None:
    made = space(T5, stacks=["encoder.block"], ends={"first": 1, "last": 1})
    assert made.decode((0.0,) * 2)["stacks"] == {
        "encoder.block": [["a", 0], ["a", 2]],
        "decoder.block": [["a", 0], ["a", 1]],
    }


STAGES: dict[str, Recipe] = {"merged": {"space": "coefficients"}, "other": {"space": "population"}}


def test_stages_are_sources_and_come_first() -> None:
    made = PathsSpace({}, experts=EXPERTS, layout=ENCODER, stages=STAGES)
    recipe = made.decode(default_genotype(made.dims))
    assert recipe["rest"] == "merged"
    assert recipe["stages"] == {"merged": STAGES["merged"]}
    assert made.models == 5
    assert made.decode((1.0,) * len(made.dims))["stages"] == STAGES


def test_a_stage_off_the_path_is_in_the_recipe_only_for_the_rest() -> None:
    options = {"sources": ["a", "other", "merged"], "rest": "other"}
    made = PathsSpace(options, experts=EXPERTS, layout=ENCODER, stages=STAGES)
    only_a = [float(dim.name.startswith("on/1/a")) for dim in made.dims]
    assert made.decode(tuple(only_a))["stages"] == {"other": STAGES["other"]}


def test_the_copies_in_memory_are_sources_and_the_live_one() -> None:
    assert space().models == 3
    assert space(sources=["base"]).models == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "x"}, "unknown key space.kind"),
        ({"length": 3}, "encoding indicators: sources, rest, stacks, ends, encoding, scale, scales, repeats"),
        ({"encoding": "steps", "repeats": 2}, "unknown key space.repeats"),
        ({"encoding": "arrows"}, "indicators, steps, blocks"),
        ({"sources": ["a", "z"]}, "a, b, base"),
        ({"sources": "a"}, "space.sources"),
        ({"sources": []}, "space.sources"),
        ({"sources": ["a", "a"]}, "each once"),
        ({"sources": [["a"]]}, "none of them"),
        ({"rest": "z"}, "space.rest: one of a, b"),
        ({"sources": ["a"], "rest": "b"}, "space.rest: one of a"),
        ({"stacks": ["encoder.block"]}, "encoder.layer"),
        ({"ends": 1}, "space.ends"),
        ({"ends": {"begin": 1}}, "first and last"),
        ({"ends": {"first": -1}}, "space.ends.first"),
        ({"ends": {"first": 2, "last": 2}}, "encoder.layer, which has 4"),
        ({"repeats": 0}, "space.repeats"),
        ({"threshold": 1}, "space.threshold"),
        ({"margin": "x"}, "space.margin"),
        ({"encoding": "steps", "length": 3}, "space.length: a whole number of at least 4"),
        ({"encoding": "steps", "choose": "some"}, "any, aligned"),
        ({"encoding": "steps", "choose": "aligned", "length": 4}, "no space.length"),
        ({"encoding": "blocks", "blocks": True}, "space.blocks"),
        ({"scale": [0.5]}, "space.scale"),
        ({"scale": [0, 1]}, "0 < low"),
        ({"scale": [1, 1]}, "low < high"),
        ({"scale": [1.1, 2]}, "low <= 1"),
        ({"scale": [0.5, float("inf")]}, "space.scale"),
        ({"scale": [0.5, float("nan")]}, "space.scale"),
        ({"scale": True}, "space.scale"),
        ({"scales": "jumps"}, "beside space.scales"),
        ({"scale": [0.5, 2], "scales": "all"}, "pairs, matrix, jumps, network"),
    ],
)
def test_a_mistake_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        space(**options)
    assert message in str(caught.value)


def test_null_and_false_mean_left_out() -> None:
    spelt_out = space(sources=None, rest=None, stacks=None, ends=None, repeats=None, scale=False)
    assert spelt_out.dims == space(scale=None).dims == space().dims


def test_models_without_layers_and_without_a_base_are_refused() -> None:
    with pytest.raises(UserError, match="numbered layers"):
        space(Layout.of({"embeddings.weight": (5, 2), "classifier.0.weight": (2, 2)}))
    with pytest.raises(UserError, match="one or more of a, b,"):
        PathsSpace({"sources": ["base"]}, experts=EXPERTS, layout=ENCODER, has_base=False)
    with pytest.raises(UserError, match="name each"):
        PathsSpace({}, experts=("a", "base"), layout=ENCODER)


def test_every_pair_of_layers_is_in_the_matrix() -> None:
    made = space(scale=[0.5, 2], scales="matrix", ends={"first": 1, "last": 1})
    inner = [f"{source}.{k}" for source in EXPERTS for k in (1, 2)]
    wanted = itertools.product(["a.0", *inner], [*inner, "a.3"])
    assert [name for name in names(made.dims) if "scale" in name] == [f"scale/{i}>{j}" for i, j in wanted]
