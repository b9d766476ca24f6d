"""Every installed space, in its main configurations, passes the suite published for third parties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from searchmerge.bench import Bench
from searchmerge.config import load
from searchmerge.merging import METHODS, READINGS
from searchmerge.plugins import available
from searchmerge.plugins import load as load_part
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.spaces.population import PopulationSpace
from searchmerge.testing import SPACE_CHECKS, check_sources, check_weights
from searchmerge.types import Recipe, Space
from searchmerge.workshop import Workshop
from tests.family import LABELS, rewrite, tiny_family


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    data = {name: f"data/{name}.dev.jsonl" for name in LABELS}
    config = tiny_family(tmp_path_factory.mktemp("family"))
    return Bench(load(rewrite(config, statistics={"data": data, "cache": "statistics"})))


def space(bench: Bench, kind: str = "coefficients", **options: Any) -> Space:
    made: Space = load_part("spaces", kind)(
        options, experts=tuple(bench.sources.experts), layout=bench.layout, seed=3
    )
    return made


CASES: list[dict[str, Any]] = [
    *({"method": method, "reading": reading} for method in METHODS for reading in READINGS),
    *({"method": "task_arithmetic", "granularity": word, "weight": [0.0, 1.5]}
      for word in ("model", "layer", "block", "tensor")),
    {"method": "ties", "granularity": {"weight": "layer"}, "weight": [0, 1], "density": [0.1, 1]},
    {"method": "dare_ties", "granularity": "layer", "density": {"choices": [0.1, 0.5]}, "lambda": [0, 2]},
    {"method": "slerp", "granularity": "block", "t": [0, 1]},
    {"method": "regmean", "granularity": {"alpha": "layer"}, "alpha": [0.1, 1]},
    {"method": "regmean", "weight": [0.5, 2]},
    {"method": "fisher", "granularity": "layer", "weight": [0.5, 2]},
    *({"method": method, "storage": "bfloat16"} for method in METHODS),
    {"method": "ties", "storage": "float16", "granularity": "layer", "density": [0.1, 1]},
    *({"kind": "population", "unit": unit, "storage": storage} for unit, storage in
      (("parameter", "float32"), ("row", "bfloat16"), ("tensor", "float16"), ("layer", "bfloat16"))),
    {"kind": "population", "variants": {"scaled": [0.5]}},
    {"kind": "population", "storage": "bfloat16", "merge": {"method": "ties", "density": 0.4}},
    {"kind": "population", "unit": "layer", "merge": "linear", "variants": {"pairs": True}},
    *({"kind": "population", "merge": method} for method in ("fisher", "regmean")),
    {"kind": "population", "unit": "row", "merge": "task_arithmetic", "fitness": "individual"},
    {"kind": "paths"},
    {"kind": "paths", "repeats": 2, "scale": [0.5, 1.5]},
    {"kind": "paths", "encoding": "steps", "sources": ["colours", "base"], "scale": [0.5, 2]},
    {"kind": "paths", "encoding": "steps", "choose": "aligned", "scale": [0.9, 1], "scales": "matrix"},
    {"kind": "paths", "encoding": "blocks", "ends": {"first": 1}, "scale": [0.5, 2], "scales": "network"},
]  # fmt: skip


def test_every_installed_space_is_covered_here() -> None:
    assert set(available("spaces")) == {options.get("kind", "coefficients") for options in CASES}


@pytest.mark.parametrize("check", SPACE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("options", CASES, ids=lambda options: "-".join(map(str, options.values())))
def test_contract(bench: Bench, options: dict[str, Any], check: Callable[[Space, Workshop], None]) -> None:
    check(space(bench, **options), bench.workshop)


def test_the_checks_can_fail(bench: Bench) -> None:
    class Drifting(CoefficientSpace):
        def realise(self, recipe: Any, workshop: Workshop) -> Any:  # type: ignore[override]
            models = CoefficientSpace.realise(recipe, workshop)
            workshop.task_vectors.deltas += 0.01
            return models

    drifting = Drifting(
        {"method": "task_arithmetic"}, experts=tuple(bench.sources.experts), layout=bench.layout
    )
    before = bench.workshop.task_vectors.deltas.clone()
    with pytest.raises(AssertionError, match="a source tensor"):
        check_sources(drifting, bench.workshop)
    with pytest.raises(AssertionError, match="the second time"):
        check_weights(drifting, bench.workshop)
    bench.workshop.task_vectors.deltas.copy_(before)
    assert torch.equal(bench.workshop.task_vectors.deltas, before)


def test_the_checks_can_fail_for_a_population(bench: Bench) -> None:
    class Forgetful(PopulationSpace):
        @staticmethod
        def pruned(recipe: Recipe) -> Recipe:
            return {**PopulationSpace.pruned(recipe), "members": [recipe["lineage"][0]["id"]]}

    class Dependent(PopulationSpace):
        def realise(self, recipe: Recipe, workshop: Workshop) -> Any:  # type: ignore[override]
            left = workshop.live.nan_to_num().clone()
            models = PopulationSpace.realise(recipe, workshop)
            workshop.live.lerp_(left, 0.01)
            return models

    experts = tuple(bench.sources.experts)
    with pytest.raises(AssertionError, match="other weights pruned"):
        check_weights(Forgetful({}, experts=experts, layout=bench.layout), bench.workshop)
    with pytest.raises(AssertionError, match="the second time"):
        check_weights(Dependent({}, experts=experts, layout=bench.layout), bench.workshop)
