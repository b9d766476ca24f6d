from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from searchmerge.config import inline, load, tasks
from searchmerge.objective import METRICS
from searchmerge.objective.making import LOADERS
from searchmerge.types import UserError

VALID: dict[str, Any] = {
    "models": {"base": "hub/base", "experts": {"a": "hub/a", "b": "hub/b"}},
    "space": {"kind": "coefficients", "method": "linear", "weight": [0, 1]},
    "objective": {"tasks": [{"name": "t", "dev": "dev.jsonl"}]},
}


def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    config = load(written(tmp_path, VALID))
    assert config.budget.evaluations == 200
    assert config.strategy.kind == "de"
    assert config.space.options == {"method": "linear", "weight": [0, 1]}


def test_paths_are_taken_from_the_configs_folder_and_hub_ids_left(tmp_path: Path) -> None:
    (tmp_path / "expert").mkdir()
    content = {**VALID, "models": {"base": "./nowhere", "experts": {"a": "expert", "b": "hub/b"}}}
    config = load(written(tmp_path, content))
    assert config.models.experts == {"a": str(tmp_path / "expert"), "b": "hub/b"}
    assert config.models.base == str(tmp_path / "nowhere")
    dev = config.objective.tasks[0].dev
    assert dev is not None
    assert dev.path == str(tmp_path / "dev.jsonl")


def test_overrides(tmp_path: Path) -> None:
    path = written(tmp_path, VALID)
    config = load(
        path, ["seed=7", "strategy.kind=cmaes", "space.weight=[0, 2]", "objective.tasks.0.weight=3"]
    )
    assert (config.seed, config.strategy.kind) == (7, "cmaes")
    assert config.space.options["weight"] == [0, 2]
    assert config.objective.tasks[0].weight == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**VALID, "modles": {}}, "unknown key modles"),
        ({**VALID, "models": {**VALID["models"], "bse": "x"}}, "one of the keys allow_pickle, base, experts"),
        (
            {**VALID, "objective": {"tasks": [{"name": "t", "dev": "d", "sped": 1}]}},
            "dev, expert, head, kind, label",
        ),
        ({**VALID, "objective": {"tasks": [{"name": "t", "dev": {"path": "d", "x": 1}}]}}, "dataset, limit"),
        ({**VALID, "objective": {"tasks": [{"name": "t"}]}}, "objective.tasks.0: give dev"),
        ({**VALID, "objective": {"tasks": []}}, "objective.tasks"),
        ({**VALID, "objective": {"tasks": [{"name": "t", "dev": "d"}] * 2}}, "a name of its own"),
        ({**VALID, "budget": {"evaluations": 0}}, "budget.evaluations"),
        ({**VALID, "budget": {}}, "at least one of evaluations, seconds, patience"),
        ({**VALID, "seed": -1}, "seed"),
        ({**VALID, "models": {"experts": {}}}, "models.experts"),
        ({**VALID, "objective": {"tasks": [{"name": "t", "dev": {"dataset": "d"}}]}}, "needs its split"),
        ({**VALID, "objective": {"tasks": [{"name": "t", "dev": {}}]}}, "either path"),
        ({k: v for k, v in VALID.items() if k != "space"}, "space in the config"),
        ("a: [", "YAML"),
        ("- a\n- b\n", "a mapping of sections"),
    ],
)
def test_a_mistake_is_answered_with_what_is_valid(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(written(tmp_path, content))
    assert message in str(caught.value)
    assert caught.value.cure


@pytest.mark.parametrize("override", ["seed", "=3", "seed.deeper.still=3"])
def test_a_bad_override_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(UserError):
        load(written(tmp_path, {**VALID, "seed": 0}), [override])


def test_no_such_config(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        load(tmp_path / "none.yaml")


# The tasks of the config and those of the objective.


def of_kind(kind: str, **options: Any) -> Any:
    section = {"name": "t", "dev": "d", "kind": kind, **options}
    return {**VALID, "objective": {"tasks": [section]}}


def test_every_kind_of_task_is_there() -> None:
    assert set(tasks.KINDS) == set(LOADERS)


@pytest.mark.parametrize("kind", [kind for kind in tasks.KINDS if kind != "python"])
def test_a_section_names_the_metrics_that_there_are(kind: str) -> None:
    named = get_args(tasks.KINDS[kind].model_fields["metric"].annotation)
    default = tasks.KINDS[kind].model_fields["metric"].default
    if kind != "text-classification":
        assert (named, default) == (tuple(METRICS[kind]), named[0])
        return
    assert set(named) == set(chain(*tasks.METRICS.values()))
    problems = get_args(tasks.TextClassification.model_fields["problem"].annotation)
    assert {problem: tuple(METRICS[problem]) for problem in problems} == dict(tasks.METRICS)
    assert {*METRICS} == {*problems, *tasks.KINDS} - {kind}


@pytest.mark.parametrize("problem", tasks.METRICS)
def test_the_default_metric_is_the_problems_first(tmp_path: Path, problem: str) -> None:
    content = of_kind("text-classification", problem=problem)
    (task,) = load(written(tmp_path, content)).objective.tasks
    assert isinstance(task, tasks.TextClassification)
    assert task.metric == next(iter(METRICS[problem]))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (
            "text-classification",
            {"problem": "regression", "metric": "accuracy"},
            "regression is scored by pea",
        ),
        ("text-classification", {"metric": "micro_f1"}, "single-label is scored by accuracy, f1, macro_f1"),
        ("generation", {"metric": "accuracy"}, "objective.tasks.0.metric"),
        ("generation", {"tokens": "x"}, "one of the keys answer, chat, dev"),
        ("tagging", {}, "objective.tasks.0"),
        ("generation", {"name": "glue/sst2"}, "without slashes"),
        ("generation", {"name": ".."}, "without slashes"),
    ],
)
def test_a_task_is_told_what_its_kind_can_be(
    tmp_path: Path, kind: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        load(written(tmp_path, of_kind(kind, **options)))
    assert message in str(caught.value)
    assert caught.value.cure


# Strategies in one word.


@pytest.mark.parametrize(
    ("text", "kind", "options"),
    [
        ("de", "de", {}),
        (" de ", "de", {}),
        ("nevergrad:TwoPointsDE", "nevergrad:TwoPointsDE", {}),
        ("de:population=16:rule=rand/1", "de", {"population": 16, "rule": "rand/1"}),
        ("de:adaptation=search:tpe:f=0.7", "de", {"adaptation": "search:tpe", "f": 0.7}),
        ("cmaes:diagonal=true", "cmaes", {"diagonal": True}),
        ("nevergrad:PSO:seed2=[1, 2]", "nevergrad:PSO", {"seed2": [1, 2]}),
    ],
)
def test_a_strategy_can_be_said_in_one_word(text: str, kind: str, options: dict[str, Any]) -> None:
    part = inline(text)
    assert (part.kind, part.options) == (kind, options)


@pytest.mark.parametrize("text", ["", ":", "de:kind=tpe", "de:f={"])
def test_a_word_that_is_no_strategy_is_answered(text: str) -> None:
    with pytest.raises(UserError, match="a strategy such as"):
        inline(text)
