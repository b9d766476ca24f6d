"""A live vector that is written in part holds, to the bit, what a fresh workshop would have written whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from searchmerge.bench import Bench
from searchmerge.config import Part, load
from searchmerge.fitness import distance
from searchmerge.layout import GRANULARITIES
from searchmerge.merging import METHODS, READINGS, find, models
from searchmerge.merging.method import Method
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.types import Recipe, default_genotype
from searchmerge.workshop import Workshop
from tests.family import LABELS, rewrite, tiny_family

EXPERTS = tuple(LABELS)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    data = {name: f"data/{name}.dev.jsonl" for name in LABELS}
    config = tiny_family(tmp_path_factory.mktemp("family"))
    return Bench(load(rewrite(config, statistics={"data": data, "cache": "statistics"})))


@pytest.fixture(scope="module")
def fresh(bench: Bench) -> Callable[[Recipe], Tensor]:
    """What a workshop that has done nothing else writes for a recipe."""
    known: dict[str, Tensor] = {}

    def of(recipe: Recipe) -> Tensor:
        name = json.dumps(recipe, sort_keys=True)
        if name not in known:
            workshop = another(bench)
            bench_of(bench, workshop).realise(recipe)
            known[name] = workshop.written.weights.clone()
        return known[name]

    return of


def another(bench: Bench) -> Workshop:
    return Workshop(bench.sources, EXPERTS, bench.device, statistics=bench.statistics)


def bench_of(bench: Bench, workshop: Workshop) -> Bench:
    twin = bench.twin()
    twin.__dict__["workshop"] = workshop
    return twin


def bits(tensor: Tensor) -> Tensor:
    """Which tell zeros of different signs."""
    return tensor.view(torch.int32)


def space(bench: Bench, **options: Any) -> CoefficientSpace:
    return CoefficientSpace(options, experts=EXPERTS, layout=bench.layout, seed=3)


# Sequences

POOL: dict[str, Any] = {
    "weight": [0.25, 1.5],
    "density": [0.25, 0.75],
    "lambda": [0.5, 1.25],
    "t": [0.25, 0.75],
    "alpha": [0.25, 0.75],
    "gamma": [0.0, 0.125],
    "epsilon": [0.0625, 0.125],
}


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Any]:
    """Options of a coefficient space; knobs are searched in few values, so that many are the same again."""
    method = draw(st.sampled_from(sorted(METHODS)))
    reading = draw(st.sampled_from(sorted(READINGS)))
    options: dict[str, Any] = {"method": method, "reading": reading}
    options["granularity"] = draw(st.sampled_from(GRANULARITIES))
    options["storage"] = draw(st.sampled_from(["float32", "float32", "bfloat16"]))
    for knob in READINGS[reading][method].knobs:
        values = {"choices": POOL[knob.name]}
        if knob.per_expert and draw(st.booleans()):
            values = {draw(st.sampled_from(EXPERTS)): values}
        options[knob.name] = draw(st.sampled_from([values, values, POOL[knob.name][0]]))
    return options


def by_hand(bench: Bench, live: Tensor) -> Iterator[Callable[[], object]]:
    """What others do to the live weights, each by a way of its own."""
    model = bench.workshop.models[EXPERTS[0]]
    parameter = model.get_parameter("bert.encoder.layer.1.output.dense.weight")
    state = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    yield lambda: bench.workshop.live.numpy().fill(7)
    yield lambda: live.add_(1)
    yield lambda: torch.split(live, 100)[3].zero_()
    yield lambda: torch.add(live[:50], 1, out=live[50:100])
    yield lambda: parameter.mul_(2)
    yield lambda: model.load_state_dict(state)


STEPS = st.one_of(
    st.tuples(st.just("candidate"), st.lists(st.booleans(), min_size=3, max_size=3), st.integers(0, 10**6)),
    st.tuples(st.just("space"), spaces()),
    st.tuples(st.just("by hand"), st.integers(0, 5)),
    st.tuples(st.just("other"), st.sampled_from(["average", "alone", "child", "path", "noise"])),
)


@given(spaces(), st.lists(STEPS, min_size=2, max_size=10))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_in_part_is_what_is_written_whole(
    bench: Bench, fresh: Callable[[Recipe], Tensor], options: dict[str, Any], steps: list[Any]
) -> None:
    searched, live = space(bench, **options), bench.workshop.live
    genotype = [0.25] * len(searched.dims)
    last = realised = searched.decode(tuple(genotype))
    for step in [("candidate", [], 0), *steps]:
        if step[0] == "space":
            searched = space(bench, **step[1])
            genotype = [0.25] * len(searched.dims)
        elif step[0] == "by hand":
            list(by_hand(bench, live))[step[1]]()
        elif step[0] == "other":
            realised = other(bench, step[1])
            if realised["space"] != "paths":
                assert torch.equal(bits(bench.workshop.written.weights), bits(fresh(realised)))
            continue
        else:
            for bit, change in enumerate(step[1]):
                if genotype and change:
                    at = (step[2] + 7919 * bit) % len(genotype)
                    genotype[at] = 1 - genotype[at]
        last = searched.decode(tuple(genotype))
        CoefficientSpace.realise(last, bench.workshop)
        assert torch.equal(bits(bench.workshop.written.weights), bits(fresh(last))), (step, last)


def other(bench: Bench, which: str) -> Recipe:
    """Have something else done to the live models than to realise a candidate; gives its recipe."""
    if which in ("average", "alone"):
        recipe = bench.merge(method="linear") if which == "average" else bench.alone(EXPERTS[1])
    else:
        kind = "population" if which == "child" else "paths"
        rival = bench.twin(space=Part(kind=kind))
        recipe = rival.space.decode(default_genotype(rival.space.dims))
    if which == "noise":
        for part in torch.split(bench.workshop.live, 1000):
            part.normal_()
    bench.realise(recipe)
    return recipe


# What is written


def blackened(bench: Bench) -> None:
    """Put NaN everywhere in a way that nobody can notice."""
    bench.workshop.written.weights.numpy().fill(float("nan"))


def touched(bench: Bench) -> set[str]:
    """The tensors that have been written since; each of them whole."""
    found = set()
    for span in bench.layout.spans:
        there = bench.workshop.written.weights[span.start : span.stop].isfinite()
        assert there.all() or not there.any(), span.name
        if there.all():
            found.add(span.name)
    return found


@pytest.mark.parametrize("compiled", ["ties", "dare_ties", "task_arithmetic", "della", "slerp", "fisher"])
def test_a_candidate_that_differs_in_one_layer_writes_that_layer(bench: Bench, compiled: str) -> None:
    knob = "t" if compiled == "slerp" else "weight"
    options: dict[str, Any] = {"method": compiled, "granularity": {knob: "layer"}, knob: [0.0, 1.0]}
    searched = space(bench, **options)
    for layer in bench.layout.groups("layer"):
        genotype = [0.5] * len(searched.dims)
        bench.realise(searched.decode(tuple(genotype)))
        at = next(n for n, dim in enumerate(searched.dims) if dim.name.endswith(f"/{layer}"))
        genotype[at] = 0.75
        blackened(bench)
        bench.realise(searched.decode(tuple(genotype)))
        assert touched(bench) == {span.name for span in bench.layout.spans if span.layer == layer}
        bench.workshop.written.forget()


def test_a_model_wide_density_is_of_every_run_and_the_same_candidate_of_none(bench: Bench) -> None:
    options = {"method": "ties", "granularity": {"weight": "layer"}, "weight": [0.0, 1.0]}
    searched = space(bench, density=[0.1, 0.9], **options)
    genotype = [0.5] * len(searched.dims)
    bench.realise(searched.decode(tuple(genotype)))
    blackened(bench)
    bench.realise(searched.decode(tuple(genotype)))
    assert touched(bench) == set()
    genotype[-1] = 0.25  # one expert's density
    bench.realise(searched.decode(tuple(genotype)))
    assert touched(bench) == {span.name for span in bench.layout.spans}


@pytest.mark.parametrize("changed", ["seed", "reading", "searched", "method", "storage", "granularity"])
def test_whatever_else_a_recipe_says_is_of_every_run(bench: Bench, changed: str) -> None:
    recipe = {**space(bench, method="dare_linear").decode(()), "searched": []}
    news: dict[str, Any] = {
        "seed": 4,
        "reading": "mergekit",
        "searched": ["weight"],
        "method": "dare_ties",
        "storage": "bfloat16",
        "granularity": dict.fromkeys(recipe["granularity"], "layer"),
    }
    bench.realise(recipe)
    blackened(bench)
    bench.realise({**recipe, changed: news[changed]})
    assert touched(bench) == {span.name for span in bench.layout.spans}


def test_to_read_the_weights_is_not_to_write_them(bench: Bench) -> None:
    recipe = bench.merge(method="linear")
    bench.realise(recipe)
    before = distance(bench.workshop)
    blackened(bench)
    bench.realise(recipe)
    assert touched(bench) == set()
    bench.workshop.written.forget()
    bench.realise(recipe)
    assert distance(bench.workshop) == before > 0


# When it is not known what stands there


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("way", range(6))
def test_whatever_is_done_to_the_live_weights_is_undone(bench: Bench, way: int, inference: bool) -> None:
    recipe = bench.merge(method="ties")
    live = bench.workshop.live
    bench.realise(recipe)
    wanted = live.clone()
    with torch.inference_mode(inference):
        list(by_hand(bench, live))[way]()
        assert not torch.equal(live, wanted)
        bench.realise(recipe)
    assert torch.equal(bits(live), bits(wanted))


@pytest.mark.parametrize("source", ["base", "deltas"])
def test_a_source_that_has_been_written_is_read_again(bench: Bench, source: str) -> None:
    workshop, recipe = another(bench), bench.merge(method="task_arithmetic", weight=1.0)
    CoefficientSpace.realise(recipe, workshop)
    before = workshop.written.weights.clone()
    assert workshop.base is not None
    (workshop.base if source == "base" else workshop.task_vectors.deltas[0]).add_(1)
    CoefficientSpace.realise(recipe, workshop)
    assert torch.allclose(workshop.written.weights, before + 1)


def test_a_workshop_that_is_made_where_writes_are_not_counted_writes_all(bench: Bench) -> None:
    with torch.inference_mode():
        workshop, recipe = another(bench), bench.merge(method="task_arithmetic")
        CoefficientSpace.realise(recipe, workshop)
        wanted = workshop.written.weights.clone()
        workshop.written.weights.zero_()
        CoefficientSpace.realise(recipe, workshop)
        assert torch.equal(workshop.written.weights, wanted)


def test_a_merge_that_failed_half_way_is_written_again(
    bench: Bench, fresh: Callable[[Recipe], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = space(bench, method="task_arithmetic", granularity="layer", weight=[0.0, 1.0])
    first, second = (searched.decode((x,) * len(searched.dims)) for x in (0.25, 0.75))
    bench.realise(first)
    calls = iter([True, True, False])

    def failing(name: str, reading: str) -> Method:
        method = find(name, reading)

        def merge(slab: Any, values: Any) -> None:
            if not next(calls):
                slab.out[:3].numpy().fill(9)  # it had begun
                raise ValueError("the weights add up to zero")
            method.merge(slab, values)

        return Method(**{**vars(method), "merge": merge})

    with monkeypatch.context() as patch:
        patch.setattr(models, "find", failing)
        with pytest.raises(ValueError, match="add up to zero"):
            bench.realise(second)
    for recipe in (first, second):
        bench.realise(recipe)
        assert torch.equal(bits(bench.workshop.written.weights), bits(fresh(recipe)))
