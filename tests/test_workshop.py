from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, BertModel

from searchmerge.bench import Bench
from searchmerge.config import load
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.types import Recipe, UserError
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


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    config = tiny_family(tmp_path)
    folder = tmp_path / "experts" / "animals"
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.bert.encoder.layer[1].output.dense.weight[3, 4] = value
    model.save_pretrained(folder)
    with pytest.raises(UserError, match=r"encoder\.layer\.1\.output\.dense\.weight"):
        _ = Bench(load(config)).workshop


def test_a_merged_head_is_merged(tmp_path: Path) -> None:
    stored = Bench(load(tiny_family(tmp_path, heads=False)))
    CoefficientSpace.realise(recipe(stored, method="linear"), stored.workshop)
    found = stored.workshop.models["merged"].state_dict()["classifier.weight"]
    own = [expert(stored, name)["classifier.weight"] for name in ("animals", "colours")]
    torch.testing.assert_close(found, (own[0] + own[1]) / 2)
