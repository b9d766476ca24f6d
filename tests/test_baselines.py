from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from searchmerge.baselines import baselines, tuned
from searchmerge.bench import Bench
from searchmerge.check import check
from searchmerge.config import load
from searchmerge.judge import judge
from searchmerge.objective.kinds.classification import Classification
from searchmerge.optimize import optimize
from searchmerge.types import Evaluation, UserError
from tests.family import rewrite, tiny_family


@pytest.mark.parametrize(
    ("peak", "found"), [(0.3, 0.3), (0.34, 0.35), (0.26, 0.25), (2.0, 1.05), (0.0, 0.05)]
)
def test_the_tuned_coefficient_is_the_best_of_the_line(peak: float, found: float) -> None:
    tried = []

    def scored(weight: float) -> float:
        tried.append(weight)
        return -abs(weight - peak)

    assert tuned(scored) == pytest.approx(found)
    assert len(tried) == 12


def test_equal_scores_give_the_smaller_coefficient() -> None:
    assert tuned(lambda _: 0.5) == pytest.approx(0.05)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(load(tiny_family(tmp_path_factory.mktemp("family"))))


def dev(bench: Bench) -> dict[str, Evaluation]:
    """The evaluation of each baseline that is one model."""
    found = {rival.name: rival.on("dev") for rival in baselines(bench)}
    return {name: evaluations[0] for name, evaluations in found.items() if len(evaluations) == 1}


def test_an_experts_baseline_is_that_expert_under_every_head(bench: Bench) -> None:
    found = dev(bench)
    own = next(task for task in bench.objective("dev").tasks if task.name == "colours")
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(bench.sources.experts["colours"].folder)
    outcomes = own.outcomes([own.answer(model.eval(), batch) for batch in own.asked])
    assert np.array_equal(outcomes, found["expert colours"].outcomes["colours"])


def test_the_best_expert_is_chosen_by_dev(bench: Bench) -> None:
    found = {name: evaluation.score for name, evaluation in dev(bench).items()}
    assert found["best expert"] == max(found["expert animals"], found["expert colours"])


def test_without_a_base_what_needs_one_is_left_out(tmp_path: Path) -> None:
    config = tiny_family(tmp_path)
    experts = {name: f"experts/{name}" for name in ("animals", "colours")}
    space = {"kind": "coefficients", "method": "linear", "weight": [0, 1]}
    bench = Bench(load(rewrite(config, models={"experts": experts, "heads": ["classifier.*"]}, space=space)))
    assert [rival.name for rival in baselines(bench)] == [
        "expert animals",
        "expert colours",
        "mean of the experts",
        "best expert",
        "own experts",
        "average",
        "greedy soup",
        "ensemble",
    ]


def test_the_mean_of_the_experts_is_that_of_their_scores(bench: Bench) -> None:
    result = judge(bench)["baselines"]
    for split in ("dev", "test"):
        scores = [result[f"expert {name}"][split]["score"] for name in ("animals", "colours")]
        mean = result["mean of the experts"][split]
        assert mean["score"] == pytest.approx(sum(scores) / 2)
        assert mean["low"] <= mean["score"] <= mean["high"]


def test_own_experts_take_each_task_from_the_expert_whose_head_it_names(bench: Bench) -> None:
    found = dev(bench)
    for task in ("animals", "colours"):
        assert found["own experts"].metrics[task] == found[f"expert {task}"].metrics[task]


def test_the_ensemble_is_the_mean_of_the_experts_logits(bench: Bench) -> None:
    from transformers import AutoModelForSequenceClassification

    task = bench.objective("dev").tasks[1]
    assert isinstance(task, Classification)
    folders = [checkpoint.folder for checkpoint in bench.sources.experts.values()]
    models = [AutoModelForSequenceClassification.from_pretrained(folder).eval() for folder in folders]
    own = next(model for model in models if model.config.num_labels == task.n_labels)
    predicted = np.empty(task.gold.size, dtype=int)
    with torch.no_grad():
        for number, batch in enumerate(task.batches.batches):
            total = torch.zeros(())
            for model in models:
                model.classifier = own.classifier
                model.config.num_labels = task.n_labels
                model.num_labels = task.n_labels
                total = total + model(**batch).logits.double()
            predicted[task.batches.examples(number)] = total.argmax(-1).numpy()
    assert np.array_equal(dev(bench)["ensemble"].outcomes[task.name], predicted)


def test_the_greedy_soup_never_scores_below_the_best_expert(bench: Bench) -> None:
    found = dev(bench)
    assert found["greedy soup"].score >= found["best expert"].score


def test_fisher_and_regmean_need_texts_and_take_them(tmp_path: Path) -> None:
    config = tiny_family(tmp_path)
    without = {rival.name for rival in baselines(Bench(load(config)))}
    assert not without & {"fisher", "regmean"}
    data = {name: f"data/{name}.dev.jsonl" for name in ("animals", "colours")}
    bench = Bench(load(rewrite(config, statistics={"data": data, "cache": "kept"})))
    assert {"fisher", "regmean"} <= set(dev(bench))
    assert len(list((tmp_path / "kept").glob("*.safetensors"))) == 4


def test_a_reference_is_judged_as_it_stands(tmp_path: Path) -> None:
    config = tiny_family(tmp_path, heads=False)
    bench = Bench(load(rewrite(config, references={"multi-task": "experts/colours"})))
    found = dev(bench)
    assert np.array_equal(
        found["multi-task"].outcomes["animals"], found["expert colours"].outcomes["animals"]
    )


def test_a_reference_with_other_labels_is_refused(tmp_path: Path) -> None:
    config = tiny_family(tmp_path)
    bench = Bench(load(rewrite(config, references={"odd": "experts/colours"})))
    with pytest.raises(UserError, match="cat, dog"):
        list(baselines(bench))


def test_tasks_out_of_domain_judge_apart_and_never_choose(tmp_path: Path) -> None:
    config = tiny_family(tmp_path)
    plain = judge(Bench(load(config)))
    content = yaml.safe_load(config.read_text())
    odd = {"name": "odd", "head": "animals", "ood": True, "test": "data/animals.dev.jsonl"}
    tasks = [*content["objective"]["tasks"], odd]
    found = judge(Bench(load(rewrite(config, objective={"tasks": tasks, "precision": "float32"}))))
    assert found["tasks"] == plain["tasks"]
    for name, entry in found["baselines"].items():
        assert entry["dev"] == plain["baselines"][name]["dev"]
        assert entry["test"] == plain["baselines"][name]["test"]
        # The texts are those of a dev task: so are the scores.
        assert entry["ood"]["score"] == pytest.approx(entry["dev"]["tasks"]["animals"]["value"])


@pytest.mark.parametrize(
    "task",
    [
        {"ood": True, "test": "t.jsonl", "dev": "d.jsonl"},
        {"ood": True},
        {"test": "t.jsonl"},
    ],
)
def test_a_task_chooses_or_judges(tmp_path: Path, task: dict[str, object]) -> None:
    config = tiny_family(tmp_path)
    content = yaml.safe_load(config.read_text())
    tasks = [*content["objective"]["tasks"], {"name": "odd", "head": "animals", **task}]
    with pytest.raises(UserError, match=r"objective\.tasks"):
        load(rewrite(config, objective={"tasks": tasks}))


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


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"references": {"odd": "nowhere"}}, "nowhere"),
        ({"references": {"odd": "experts/colours"}}, "cat, dog"),
        ({"statistics": {"data": {"animals": "gone", "colours": "gone"}}}, "gone"),
        ({"statistics": {"gram": {"animals": "gone", "colours": "gone"}}}, "gone"),
    ],
)
def test_what_baselines_lack_is_said_before_the_search(
    tmp_path: Path, sections: dict[str, object], said: str
) -> None:
    config = load(rewrite(tiny_family(tmp_path), **sections))
    with pytest.raises(UserError, match=said):
        list(check(Bench(config)))
    with pytest.raises(UserError, match=said):
        optimize(config, tmp_path / "run", resume=False, watch=lambda *_: None, say=lambda _: None)
    assert not (tmp_path / "run").exists()


def test_without_tasks_out_of_domain_there_is_no_such_split(bench: Bench) -> None:
    with pytest.raises(UserError, match="ood: true"):
        bench.objective("ood")
