from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from searchmerge import load_study
from searchmerge.journal import Journal
from searchmerge.layout import Layout
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.spaces.paths import PathsSpace
from searchmerge.spaces.population import PopulationSpace
from searchmerge.strategies._rules import RULES
from searchmerge.strategies.de import DifferentialEvolution
from searchmerge.types import Cross, Dims, Evaluation, Genotype, Trial, UserError, meanings, names
from tests.family import rewrite, tiny_family
from tests.fixtures import Run

EXPERTS = ("reviews", "tweets", "news")
LAYOUT = Layout.of(
    {"embeddings.weight": (5, 2), **{f"encoder.layer.{k}.dense.weight": (2, 2) for k in range(4)}}
)


def written(folder: Path, trials: Sequence[Trial], dims: Dims, strategy: str = "de", **options: Any) -> Path:
    header = {
        "strategy": {"kind": strategy, **options},
        "space": {"kind": "any"},
        "seed": 3,
        "dims": names(dims),
        "means": meanings(dims),
        "config": {"models": {"experts": dict.fromkeys(EXPERTS, "x")}, "budget": {"evaluations": 9}},
    }
    with Journal(folder / "journal.jsonl", header) as journal:
        for trial in trials:
            journal.append(trial)
    return folder


def points(space: CoefficientSpace | PathsSpace, number: int = 20) -> list[Trial]:
    """Trials at random points and at the two far corners."""
    n = len(space.dims)
    drawn = [*np.random.default_rng(0).random((number, n)).tolist(), [0.0] * n, [1.0] * n]
    return [
        Trial(k, tuple(point), space.decode(tuple(point)), Evaluation(0.5, {}))
        for k, point in enumerate(drawn)
    ]


def walked(knobs: Mapping[str, Any], name: str) -> Any:
    found: Any = knobs
    for part in name.split("/"):
        found = found[part]
    return found


# What coordinates stand for: the witness is the recipe.


def test_coefficients_are_shown_as_the_knobs_values(tmp_path: Path) -> None:
    options = {
        "method": "breadcrumbs",
        "granularity": {"weight": "layer", "density": "model"},
        "weight": {"reviews": [-0.5, 1.5], "tweets": {"choices": [0.3, 0.1, 2.0]}},
        "density": [0.2, 0.7],
        "lambda": [0.25, 3],
    }
    space = CoefficientSpace(options, experts=EXPERTS, layout=LAYOUT)
    trials = points(space)
    study = load_study(written(tmp_path, trials, space.dims))
    assert {name.split("/")[0] for name in study.trials[0].params} == {"weight", "density", "lambda"}
    for trial, shown in zip(trials, study.trials, strict=True):
        for name, value in shown.params.items():
            # Densities are rounded to steps of 1/4096 in the recipe.
            rounding = 0.5 / 4096 + 1e-12 if name.startswith("density") else 1e-15
            assert value == pytest.approx(walked(trial.recipe["knobs"], name), abs=rounding)
    kinds = study.trials[0].distributions
    assert kinds["weight/reviews/layer.1"] == FloatDistribution(-0.5, 1.5)
    assert kinds["weight/tweets/layer.3"] == CategoricalDistribution([0.3, 0.1, 2.0])
    assert all(trial.distributions == kinds for trial in study.trials)


def test_steps_are_shown_as_the_layers_that_they_are(tmp_path: Path) -> None:
    space = PathsSpace({"encoding": "steps", "length": 6}, experts=EXPERTS, layout=LAYOUT)
    trials = points(space)
    for trial, shown in zip(trials, load_study(written(tmp_path, trials, space.dims)).trials, strict=True):
        (path,) = trial.recipe["stacks"].values()
        layers = [shown.params[f"step/{k}"] for k in range(1, 7)]
        assert [layer for layer in layers if layer != "skipped"] == [f"{s}.{k}" for s, k in path] or (
            set(layers) == {"skipped"} and len(path) == 1
        )


def test_blocks_are_shown_as_source_first_layer_and_number(tmp_path: Path) -> None:
    space = PathsSpace({"encoding": "blocks", "ends": {"first": 1}}, experts=EXPERTS, layout=LAYOUT)
    trials = points(space)
    for trial, shown in zip(trials, load_study(written(tmp_path, trials, space.dims)).trials, strict=True):
        (path,) = trial.recipe["stacks"].values()
        expected = [["reviews", 0]]
        for k in range(1, 7):
            source, first, number = (
                shown.params[f"block/{k}/{word}"] for word in ("source", "first", "number")
            )
            expected += [[source, layer] for layer in range(first, min(first + number, 4))]
        assert path == expected


@pytest.mark.parametrize("scale", [[0.5, 2.0], [1.0, 3.0], [0.25, 1.0]])
def test_factors_are_shown_as_what_inputs_are_multiplied_by(tmp_path: Path, scale: list[float]) -> None:
    options = {"encoding": "steps", "choose": "aligned", "scale": scale, "scales": "matrix"}
    space = PathsSpace(options, experts=EXPERTS, layout=LAYOUT)
    trials = points(space, 40)
    compared = 0
    for trial, shown in zip(trials, load_study(written(tmp_path, trials, space.dims)).trials, strict=True):
        (path,) = trial.recipe["stacks"].values()
        for (source, layer, *_), (to, number, *factor) in pairwise(path):
            value = shown.params[f"scale/{source}.{layer}>{to}.{number}"]
            assert value == pytest.approx(factor[0] if factor else 1.0, abs=1e-6)
            compared += 1
    assert compared > 50


def test_without_means_coordinates_stay_in_the_unit_cube(tmp_path: Path) -> None:
    space = CoefficientSpace({"weight": [0, 5]}, experts=EXPERTS, layout=LAYOUT)
    trials = points(space)
    folder = written(tmp_path, trials, space.dims)
    first, *lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
    header = json.loads(first)
    del header["means"]
    (folder / "journal.jsonl").write_text(json.dumps(header) + "\n" + "".join(lines))
    for trial, shown in zip(trials, load_study(folder).trials, strict=True):
        assert tuple(shown.params.values()) == trial.genotype
        assert shown.distributions["weight/news"] == FloatDistribution(0, 1)


def test_a_journal_goes_on_whatever_its_header_says_of_means(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path, {"seed": 0}).close()
    Journal(path, {"seed": 0, "means": {"a": {"line": [0, 1]}}}, resume=True).close()


# Whole models.


def bred(rule: str, adaptation: str) -> tuple[PopulationSpace, list[Trial]]:
    variants = {"pairs": True}
    space = PopulationSpace({"variants": variants}, experts=EXPERTS, layout=LAYOUT)
    options: dict[str, Any] = {"rule": rule, "adaptation": adaptation, "f": 0.375, "cr": 0.8}
    strategy = DifferentialEvolution(space.dims, seed=0, budget=60, **options)
    rng = np.random.default_rng(0)
    trials = [Trial(0, ("reviews",), {"n": 0}, Evaluation(0.5, {}))]
    while len(trials) < 60:
        scores = rng.random(8).tolist()
        for candidate, score in zip(batch := strategy.ask(), scores, strict=False):
            better = score > candidate.floor
            trials.append(
                Trial(len(trials), candidate.genotype, {}, Evaluation(score, {}) if better else None)
            )
        strategy.tell([trial.score for trial in trials[-len(batch) :]])
    return space, trials


@pytest.mark.parametrize("rule", RULES)
def test_a_child_has_its_place_and_says_how_it_was_crossed(tmp_path: Path, rule: str) -> None:
    space, trials = bred(rule, "fixed")
    study = load_study(written(tmp_path, trials, space.dims, rule=rule))
    children = 0
    for trial, shown in zip(trials, study.trials, strict=True):
        crosses = [gene for gene in trial.genotype if isinstance(gene, Cross)]
        if not crosses:
            assert shown.params == {"place": trial.genotype[0]}
            continue
        children += 1
        assert shown.params == {"place": space.dims.names[trial.genotype.index(crosses[0])]}
        assert (shown.user_attrs["F"], shown.user_attrs["CR"]) == (0.375, 0.8)
        assert shown.user_attrs["parent"] == crosses[0].parent
        assert shown.user_attrs["mutant"] == [list(term) for term in crosses[0].mutant]
        assert (shown.state == TrialState.PRUNED) == (trial.evaluation is None)
    assert children > 30


def test_f_and_cr_are_parameters_where_they_are_adapted(tmp_path: Path) -> None:
    space, trials = bred("rand/1", "jade")
    study = load_study(written(tmp_path, trials, space.dims, adaptation="jade"))
    for trial, shown in zip(trials, study.trials, strict=True):
        for cross in (gene for gene in trial.genotype if isinstance(gene, Cross)):
            assert shown.params["CR"] == cross.cr
            assert {abs(c) for _, c in cross.mutant} == {1.0, shown.params["F"]}
    assert len({shown.params.get("F") for shown in study.trials}) > 20


def test_a_population_scored_as_one_names_its_members(tmp_path: Path) -> None:
    space = PopulationSpace({"merge": "linear"}, experts=EXPERTS, layout=LAYOUT)
    cross = Cross("tweets", (("tweets", 0.5), ("news", 0.5)), 0.5, 7)
    genotypes: list[Genotype] = [EXPERTS, ("reviews", cross, "news")]
    trials = [Trial(k, genotype, {}, Evaluation(k, {})) for k, genotype in enumerate(genotypes)]
    first, second = load_study(written(tmp_path, trials, space.dims)).trials
    assert (first.params, first.user_attrs["members"]) == ({}, list(EXPERTS))
    assert second.params == {"place": "tweets"}


# Trials.


def test_trials_have_their_number_state_score_and_attributes(tmp_path: Path) -> None:
    space = CoefficientSpace({"weight": [0, 1]}, experts=EXPERTS, layout=LAYOUT)
    at = (0.5, 0.5, 0.5)
    trials = [
        Trial(0, at, {"n": 0}, Evaluation(0.25, {"a": 0.5, "b": 0.0}), seconds=2.0),
        Trial(1, at, {"n": 1}, None, "ValueError: no", seconds=0.5),
        Trial(2, at, {"n": 2}, None, seconds=0.25),
        Trial(3, at, {"n": 0}, Evaluation(0.25, {"a": 0.5, "b": 0.0}), repeats=0),
        Trial(4, at, {"long": "x" * 1000}, Evaluation(0.75, {}), seconds=4.0),
    ]
    (folder := tmp_path / "run").mkdir()
    written(folder, trials, space.dims)
    os.utime(folder / "journal.jsonl", (1_700_000_000, 1_700_000_000))
    study = load_study(folder)
    shown = study.trials
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert study.study_name == "run"
    assert study.user_attrs["run"] == "de over any, seed 3"
    assert study.user_attrs["experts"] == list(EXPERTS)
    assert (study.best_trial.number, study.best_value) == (4, 0.75)
    assert [trial.number for trial in shown] == [0, 1, 2, 3, 4]
    assert [trial.state.name for trial in shown] == ["COMPLETE", "FAIL", "PRUNED", "COMPLETE", "COMPLETE"]
    assert [trial.value for trial in shown] == [0.25, None, None, 0.25, 0.75]
    assert shown[0].user_attrs == {"metric/a": 0.5, "metric/b": 0.0, "recipe": '{"n": 0}'}
    assert shown[1].user_attrs == {"error": "ValueError: no", "recipe": '{"n": 1}'}
    assert shown[3].user_attrs["repeats"] == 0
    assert shown[4].user_attrs == {}
    assert [trial.duration for trial in shown] == [timedelta(seconds=s) for s in (2, 0.5, 0.25, 0, 4)]
    assert shown[4].datetime_complete == datetime.fromtimestamp(1_700_000_000)
    assert all(a.datetime_complete == b.datetime_start for a, b in pairwise(shown))


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    space = CoefficientSpace({"weight": [0, 1]}, experts=EXPERTS, layout=LAYOUT)
    journal = written(tmp_path, points(space, 3), space.dims) / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-30])
    assert len(load_study(tmp_path).trials) == 4
    assert journal.read_bytes() == whole[:-30]
    journal.write_bytes(whole[:20])
    with pytest.raises(UserError, match="is empty"):
        load_study(tmp_path)


def test_a_folder_of_several_runs_names_them(tmp_path: Path) -> None:
    space = CoefficientSpace({"weight": [0, 1]}, experts=EXPERTS, layout=LAYOUT)
    for name in ("tasks/de-1", "tasks/de-0"):
        (tmp_path / name).mkdir(parents=True)
        written(tmp_path / name, points(space, 1), space.dims)
    with pytest.raises(UserError, match=r"holds 2: \S+/tasks/de-0, \S+/tasks/de-1\n"):
        load_study(tmp_path)
    with pytest.raises(UserError, match="--out folder of a run"):
        load_study(tmp_path / "nowhere")


def test_optunas_own_importances_find_what_matters(tmp_path: Path) -> None:
    space = CoefficientSpace({"weight": [0, 2]}, experts=EXPERTS, layout=LAYOUT)
    trials = [
        Trial(k, t.genotype, t.recipe, Evaluation(-((t.genotype[1] - 0.4) ** 2), {}))
        for k, t in enumerate(points(space, 100))
    ]
    study = load_study(written(tmp_path, trials, space.dims))
    found = optuna.importance.get_param_importances(study)
    assert max(found, key=lambda name: found[name]) == "weight/tweets"


def test_a_real_run_is_read(run: Run, tmp_path: Path) -> None:
    space = {
        "kind": "coefficients",
        "method": "ties",
        "weight": [0.5, 1.5],
        "density": {"choices": [0.2, 0.5]},
    }
    config = rewrite(tiny_family(tmp_path), space=space, baselines=[], budget={"evaluations": 5})
    code, _, errors = run("optimize", config, "--out", tmp_path / "out")
    assert code == 0, errors
    study = load_study(tmp_path / "out")
    best = json.loads((tmp_path / "out" / "result.json").read_text())["best"]
    recipe = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert (study.best_trial.number, study.best_value) == (best["trial"], best["dev"]["score"])
    for name, value in study.best_params.items():
        assert value == walked(recipe["recipe"]["knobs"], name)


def test_the_package_itself_imports_nothing_slow() -> None:
    code = "import sys, searchmerge; assert not {'torch', 'optuna', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
