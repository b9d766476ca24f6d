from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from searchmerge.baselines import baselines, tuned
from searchmerge.bench import Bench
from searchmerge.config import load
from searchmerge.judge import judge
from searchmerge.types import Evaluation, Recipe
from tests.family import rewrite, tiny_family


@pytest.mark.parametrize(
    ("peak", "found"), [(0.3, 0.3), (0.34, 0.35), (0.26, 0.25), (2.0, 1.05), (0.0, 0.05)]
)
def test_the_tuned_coefficient_is_the_best_of_the_line(peak: float, found: float) -> None:
    tried = []

    def scored(weight: float) -> tuple[Recipe, Evaluation]:
        tried.append(weight)
        return {"weight": weight}, Evaluation(-abs(weight - peak), {})

    recipe, _ = tuned(scored)
    assert recipe["weight"] == pytest.approx(found)
    assert len(tried) == 12


def test_equal_scores_give_the_smaller_coefficient() -> None:
    recipe, _ = tuned(lambda weight: ({"weight": weight}, Evaluation(0.5, {})))
    assert recipe["weight"] == pytest.approx(0.05)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(load(tiny_family(tmp_path_factory.mktemp("family"))))


def test_an_experts_baseline_is_that_expert_under_every_head(bench: Bench) -> None:
    found = {name: evaluation for name, _, evaluation in baselines(bench)}
    dev = bench.objective("dev")
    own = next(task for task in dev.tasks if task.name == "colours")
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(bench.sources.experts["colours"].folder)
    assert np.array_equal(own.predict(model.eval()), found["expert colours"].outcomes["colours"])


def test_the_best_expert_is_chosen_by_dev(bench: Bench) -> None:
    found = {name: evaluation.score for name, _, evaluation in baselines(bench)}
    assert found["best expert"] == max(found["expert animals"], found["expert colours"])


def test_without_a_base_what_needs_one_is_left_out(tmp_path: Path) -> None:
    config = tiny_family(tmp_path)
    experts = {name: f"experts/{name}" for name in ("animals", "colours")}
    space = {"kind": "coefficients", "method": "linear", "weight": [0, 1]}
    bench = Bench(load(rewrite(config, models={"experts": experts, "heads": ["classifier.*"]}, space=space)))
    assert [name for name, _, _ in baselines(bench)] == [
        "expert animals",
        "expert colours",
        "best expert",
        "average",
    ]


def test_the_gain_over_the_average_is_that_of_the_scores(bench: Bench) -> None:
    from searchmerge.types import Trial, default_genotype

    recipe = bench.space.decode(default_genotype(bench.space.dims))
    result = judge(bench, Trial(0, (), recipe, bench.evaluate(recipe)))
    for entry in result["baselines"].values():
        assert entry["gain"]["mean"] == pytest.approx(
            result["best"]["test"]["score"] - entry["test"]["score"]
        )
        assert entry["gain"]["low"] <= entry["gain"]["mean"] <= entry["gain"]["high"]
    assert result["gain"]["test"] == result["baselines"]["average"]["gain"]
