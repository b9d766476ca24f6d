from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, BertModel

from searchmerge.bench import Bench
from searchmerge.config import Part, load
from searchmerge.sources.checkpoint import Checkpoint
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.spaces.population import PopulationSpace
from searchmerge.types import Recipe, UserError, default_genotype
from searchmerge.workshop import view
from tests.family import rewrite, tiny_family


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(load(tiny_family(tmp_path_factory.mktemp("family"))))


def recipe(bench: Bench, **options: Any) -> Recipe:
    return CoefficientSpace(
        options, experts=tuple(bench.sources.experts), layout=bench.layout, seed=5
    ).decode(())


def merged(bench: Bench, **options: Any) -> dict[str, Tensor]:
    CoefficientSpace.realise(recipe(bench, **options), bench.workshop)
    return {name: t.clone() for name, t in bench.workshop.models["colours"].state_dict().items()}


def expert(bench: Bench, name: str) -> dict[str, Tensor]:
    model = AutoModelForSequenceClassification.from_pretrained(bench.sources.experts[name].folder)
    return dict(model.state_dict())


def base(bench: Bench) -> dict[str, Tensor]:
    assert bench.sources.base is not None
    model = BertModel.from_pretrained(bench.sources.base.folder)
    return {f"bert.{name}": tensor for name, tensor in model.state_dict().items()}


def body(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name.startswith("bert.")}


def test_coefficients_zero_give_the_base_to_the_bit(bench: Bench) -> None:
    found = body(merged(bench, method="task_arithmetic", weight=0))
    assert all(torch.equal(found[name], tensor) for name, tensor in base(bench).items())


@pytest.mark.parametrize("name", ["animals", "colours"])
@pytest.mark.parametrize("method", ["task_arithmetic", "linear"])
def test_coefficient_one_gives_the_expert(bench: Bench, name: str, method: str) -> None:
    weights = {"animals": 0.0, "colours": 0.0, name: 1.0}
    found = body(merged(bench, method=method, weight=weights))
    for parameter, tensor in body(expert(bench, name)).items():
        torch.testing.assert_close(
            found[parameter], tensor, rtol=0, atol=2.0**-24 * float(tensor.abs().max())
        )


def test_every_head_is_its_experts_own_and_every_body_the_same(bench: Bench) -> None:
    CoefficientSpace.realise(recipe(bench, method="linear"), bench.workshop)
    models = bench.workshop.models
    for name in ("animals", "colours"):
        state, own = models[name].state_dict(), expert(bench, name)
        assert torch.equal(state["classifier.weight"], own["classifier.weight"])
        assert torch.equal(
            state["bert.pooler.dense.weight"], models["animals"].state_dict()["bert.pooler.dense.weight"]
        )


def test_a_layers_coefficient_reaches_that_layer_alone(bench: Bench) -> None:
    space = CoefficientSpace(
        {"method": "task_arithmetic", "granularity": "layer", "weight": [0, 1]},
        experts=tuple(bench.sources.experts),
        layout=bench.layout,
    )
    genotype = [0.0] * len(space.dims)
    genotype[[dim.name for dim in space.dims].index("weight/colours/layer.1")] = 1.0
    CoefficientSpace.realise(space.decode(tuple(genotype)), bench.workshop)
    found, origin, own = bench.workshop.models["colours"].state_dict(), base(bench), expert(bench, "colours")
    for name, tensor in origin.items():
        if ".layer.1." in name:
            torch.testing.assert_close(found[name], own[name])
        else:
            assert torch.equal(found[name], tensor), name


def test_a_candidate_does_not_depend_on_the_one_before(bench: Bench) -> None:
    options = {"method": "dare_ties", "density": 0.3}
    first = merged(bench, **options)
    merged(bench, method="ties", reading="mergekit", density=0.7)
    again = merged(bench, **options)
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())


def test_the_order_of_the_experts_changes_nothing(tmp_path: Path, bench: Bench) -> None:
    config = tiny_family(tmp_path)
    turned = Bench(
        load(
            rewrite(
                config,
                models={"base": "base", "experts": {n: f"experts/{n}" for n in ("colours", "animals")}},
            )
        )
    )
    for options in ({"method": "ties"}, {"method": "dare_ties"}, {"method": "linear"}):
        one, other = merged(bench, **options), merged(turned, **options)
        for name, tensor in body(one).items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_arithmetic_is_in_float32_whatever_the_storage(tmp_path: Path, dtype: torch.dtype) -> None:
    config = tiny_family(tmp_path)
    for folder in (tmp_path / "experts").iterdir():
        model = AutoModelForSequenceClassification.from_pretrained(folder).to(dtype)
        model.save_pretrained(folder)
    stored = Bench(load(config))
    average = body(merged(stored, method="linear"))
    experts = [body(expert(stored, name)) for name in ("animals", "colours")]
    for name, tensor in average.items():
        assert tensor.dtype == torch.float32
        expected = (experts[0][name].double() + experts[1][name].double()) / 2
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["coefficients", "population"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, kind: str, value: float) -> None:
    config = rewrite(tiny_family(tmp_path), space={"kind": kind})
    folder = tmp_path / "experts" / "animals"
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.bert.encoder.layer[1].output.dense.weight[3, 4] = value
    model.save_pretrained(folder)
    damaged = Bench(load(config))
    default = damaged.space.decode(default_genotype(damaged.space.dims))
    with pytest.raises(UserError, match=r"encoder\.layer\.1\.output\.dense\.weight"):
        damaged.space.realise(default, damaged.workshop)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Folder and tensor of all that is read from now on."""
    found: list[tuple[str, str]] = []
    load_tensor = Checkpoint.load

    def watched(checkpoint: Checkpoint, name: str) -> Tensor:
        found.append((checkpoint.folder.name, name))
        return load_tensor(checkpoint, name)

    monkeypatch.setattr(Checkpoint, "load", watched)
    return found


def test_sources_are_read_when_they_are_first_asked_for_and_once(
    tmp_path: Path, reads: list[tuple[str, str]]
) -> None:
    fresh = Bench(load(tiny_family(tmp_path)))
    reads.clear()  # opening compares the checkpoints with each other
    workshop, everything = fresh.workshop, sorted(span.name for span in fresh.layout.spans)
    heads = {"classifier.weight", "classifier.bias"}
    assert set(reads) == {(name, tensor) for name in ("animals", "colours") for tensor in heads}
    reads.clear()
    _ = workshop.nursery
    assert reads == []
    assert workshop.base is not None
    assert sorted(reads) == [("base", name) for name in everything]
    reads.clear()
    _ = workshop.task_vectors
    assert sorted(reads) == [(expert, name) for expert in ("animals", "colours") for name in everything]
    reads.clear()
    _ = workshop.base, workshop.task_vectors
    assert reads == []


def test_a_population_reads_its_experts_alone(tmp_path: Path, reads: list[tuple[str, str]]) -> None:
    fresh = Bench(load(rewrite(tiny_family(tmp_path), space={"kind": "population"})))
    _ = fresh.workshop
    reads.clear()
    for _ in range(2):
        fresh.space.realise(fresh.space.decode(("animals",)), fresh.workshop)
        fresh.space.realise(fresh.space.decode(("colours",)), fresh.workshop)
    names = [span.name for span in fresh.layout.spans]
    assert sorted(reads) == sorted((expert, name) for expert in ("animals", "colours") for name in names)


def test_task_vectors_and_a_population_are_never_held_at_the_same_time(bench: Bench) -> None:
    workshop = bench.workshop
    population = PopulationSpace({}, experts=workshop.experts, layout=bench.layout)
    alone = population.decode(("animals",))
    before = merged(bench, method="ties")
    vectors = weakref.ref(workshop.task_vectors.deltas)
    assert vectors() is not None
    PopulationSpace.realise(alone, workshop)
    assert vectors() is None, "the task vectors have been let go"
    (digest, *_), nursery = list(workshop.nursery._rows), workshop.nursery
    row = weakref.ref(workshop.nursery._rows[digest])
    assert workshop.nursery is nursery
    assert row() is not None
    del nursery
    again = merged(bench, method="ties")
    assert row() is None, "the population has been let go"
    assert workshop.task_vectors is workshop.task_vectors
    assert all(torch.equal(again[name], tensor) for name, tensor in before.items())


HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@pytest.mark.parametrize("storage", HALVES)
def test_stored_task_vectors_are_the_differences_rounded(bench: Bench, storage: str) -> None:
    workshop = bench.workshop
    exact = workshop.task_vectors.deltas.clone()
    merged(bench, method="ties", storage=storage)
    assert workshop.resident is not None
    assert workshop.resident.deltas.dtype == HALVES[storage]
    assert torch.equal(workshop.resident.deltas, exact.to(HALVES[storage]))
    assert workshop.base is not None
    assert workshop.base.dtype == workshop.live.dtype == torch.float32


@pytest.mark.parametrize("storage", HALVES)
@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "dare_ties", "sce"])
def test_a_recipe_is_realised_in_its_own_storage_whatever_came_before(
    bench: Bench, method: str, storage: str
) -> None:
    plain, stored = merged(bench, method=method), merged(bench, method=method, storage=storage)
    assert not all(torch.equal(plain[name], tensor) for name, tensor in body(stored).items())
    for options, before in (({}, plain), ({"storage": storage}, stored), ({"storage": "float32"}, plain)):
        again = merged(bench, method=method, **options)
        assert all(torch.equal(again[name], tensor) for name, tensor in before.items())


def test_a_recipe_that_does_not_say_its_storage_is_of_float32(bench: Bench) -> None:
    before = merged(bench, method="ties")
    merged(bench, method="ties", storage="bfloat16")
    said = {**recipe(bench, method="ties"), "storage": "float32"}
    CoefficientSpace.realise(said, bench.workshop)
    assert all(
        torch.equal(t, before[name]) for name, t in bench.workshop.models["colours"].state_dict().items()
    )


def test_task_vectors_are_held_in_one_type_at_a_time(bench: Bench) -> None:
    merged(bench, method="ties")
    vectors = weakref.ref(bench.workshop.task_vectors.deltas)
    merged(bench, method="ties", storage="bfloat16")
    assert vectors() is None
    assert bench.workshop.stored(torch.bfloat16) is bench.workshop.resident
    vectors = weakref.ref(bench.workshop.stored(torch.bfloat16).deltas)
    merged(bench, method="ties")
    assert vectors() is None


def test_differences_beyond_the_range_of_a_type_are_refused(tmp_path: Path) -> None:
    config = tiny_family(tmp_path)
    folder = tmp_path / "experts" / "animals"
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.bert.encoder.layer[1].output.dense.weight[3, 4] = 1e5
    model.save_pretrained(folder)
    large = Bench(load(config))
    merged(large, method="linear", storage="bfloat16")
    with pytest.raises(
        UserError, match=r"more than 65504 in encoder\.layer\.1\.output\.dense\.weight of animals"
    ):
        merged(large, method="linear", storage="float16")


def test_baselines_are_stored_as_the_space_stores_them(tmp_path: Path) -> None:
    space = {"kind": "coefficients", "method": "ties", "storage": "bfloat16", "density": [0.1, 1.0]}
    half = Bench(load(rewrite(tiny_family(tmp_path), space=space)))
    assert half.config.baselines
    assert half.resident_models == 2 / 2 + 2
    recipes = [half.merge(method="linear"), half.alone("animals"), half.space.decode((0.5, 0.5))]
    assert [recipe["storage"] for recipe in recipes] == ["bfloat16"] * 3
    other = half.twin(space=Part(kind="population"))
    assert "storage" not in other.merge(method="linear")
    assert other.resident_models == 2 + 2


def test_the_base_is_as_stored_and_there_is_none_without_a_base(bench: Bench, tmp_path: Path) -> None:
    stored = base(bench)
    assert bench.workshop.base is not None
    for span in bench.layout.spans:
        assert torch.equal(view(bench.workshop.base, span), stored[f"bert.{span.name}"])
    config = tiny_family(tmp_path)
    experts = {name: f"experts/{name}" for name in ("animals", "colours")}
    baseless = Bench(load(rewrite(config, models={"experts": experts}, space={"kind": "population"})))
    assert baseless.workshop.base is None
    for row, name in zip(baseless.workshop.task_vectors.deltas, experts, strict=True):
        own = expert(baseless, name)
        for span in baseless.layout.spans:
            assert torch.equal(view(row, span), own[f"bert.{span.name}"])


def test_where_the_base_lacks_a_tensor_it_is_the_experts_mean(tmp_path: Path) -> None:
    config = tiny_family(tmp_path, heads=False)
    BertModel.from_pretrained(tmp_path / "base").save_pretrained(tmp_path / "base")
    headless = Bench(load(config))
    (span,) = [span for span in headless.layout.spans if span.name == "classifier.weight"]
    own = [expert(headless, name)["classifier.weight"] for name in ("animals", "colours")]
    assert headless.workshop.base is not None
    torch.testing.assert_close(view(headless.workshop.base, span), (own[0] + own[1]) / 2)
    deltas = [view(row, span) for row in headless.workshop.task_vectors.deltas]
    torch.testing.assert_close(deltas[0], (own[0] - own[1]) / 2)


def test_a_merged_head_is_merged(tmp_path: Path) -> None:
    stored = Bench(load(tiny_family(tmp_path, heads=False)))
    CoefficientSpace.realise(recipe(stored, method="linear"), stored.workshop)
    found = stored.workshop.models["merged"].state_dict()["classifier.weight"]
    own = [expert(stored, name)["classifier.weight"] for name in ("animals", "colours")]
    torch.testing.assert_close(found, (own[0] + own[1]) / 2)


def test_what_heads_have_in_common_is_one_parameter(bench: Bench) -> None:
    one, other = (dict(model.named_parameters()) for model in bench.workshop.models.values())
    assert [name for name in one if one[name] is other.get(name)] == [
        name for name in one if name.startswith("bert.")
    ]
