"""A run that keeps its tasks apart, from the config to the files it leaves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from searchmerge import front, optimize, plugins
from searchmerge.bench import Bench
from searchmerge.config import load
from searchmerge.journal import read
from searchmerge.types import Evaluation, Trial, UserError
from tests.family import rewrite, tiny_family
from tests.fixtures import Run
from tests.test_kill import assert_same, kill, without_times

Outcome = tuple[dict[str, Any], list[Trial]]


@pytest.fixture(autouse=True)
def _found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The strategy is found whether this version's entry points are installed or not."""
    installed = plugins.available

    def available(role: plugins.Role) -> dict[str, EntryPoint]:
        more = EntryPoint("nsga2", "searchmerge.strategies.nsga2:NSGA2", "searchmerge.strategies")
        found = {**installed(role), **({"nsga2": more} if role == "strategies" else {})}
        return dict(sorted(found.items()))

    monkeypatch.setattr(plugins, "available", available)


def family(folder: Path, **sections: Any) -> Path:
    """A family whose tasks are kept apart; ``objective`` adds to that section."""
    config = tiny_family(folder)
    objective = yaml.safe_load(config.read_text())["objective"] | {"aggregate": "pareto"}
    sections["objective"] = objective | sections.get("objective", {})
    defaults = {
        "strategy": {"kind": "nsga2"},
        "budget": {"evaluations": 40},
        "baselines": ["experts", "average"],
    }
    return rewrite(config, **defaults | sections)


def ended(config: Path, out: str = "out", *, resume: bool = False) -> Outcome:
    folder = config.parent / out
    result = optimize.optimize(load(config), folder, resume=resume, watch=lambda *_: None, say=lambda _: None)
    return result, read(folder / "journal.jsonl")[1]


def naive(trials: list[Trial]) -> list[int]:
    """Numbers of the trials on the front, by a loop over pairs."""
    found, seen = [], []
    for trial in trials:
        if trial.evaluation is None:
            continue
        mine = trial.evaluation.metrics
        beaten = False
        for other in trials:
            if other.evaluation is not None:
                its = other.evaluation.metrics
                beaten |= all(its[t] >= mine[t] for t in mine) and any(its[t] > mine[t] for t in mine)
        if not beaten and mine not in seen:
            found.append(trial.number)
            seen.append(mine)
    return found


def area(points: list[Mapping[str, float]], low: Mapping[str, float]) -> float:
    """What two tasks' points hold above ``low``, strip by strip."""
    total, height = 0.0, low["colours"]
    for point in sorted(points, key=lambda point: (-point["animals"], -point["colours"])):
        if point["animals"] > low["animals"] and point["colours"] > height:
            total += (point["animals"] - low["animals"]) * (point["colours"] - height)
            height = point["colours"]
    return total


def test_the_front_is_left_judged_and_exported(run: Run, tmp_path: Path) -> None:
    config = family(tmp_path)
    result, trials = ended(config)
    numbers = naive(trials)
    assert len(numbers) > 1
    assert [point["trial"] for point in result["front"]] == numbers
    assert result["best"]["trial"] in numbers
    assert {path.name for path in (tmp_path / "out" / "front").iterdir()} == {
        f"trial-{number}.json" for number in numbers
    }
    for point in result["front"]:
        evaluation = trials[point["trial"]].evaluation
        assert evaluation is not None
        assert point["dev"] == evaluation.metrics
        made = tmp_path / f"made-{point['trial']}"
        file = tmp_path / "out" / "front" / f"trial-{point['trial']}.json"
        code, _, errors = run("merge", file, "--out", made)
        assert code == 0, errors
        for split in ("dev", "test"):
            code, printed, errors = run("evaluate", made, config, "--split", split)
            assert code == 0, errors
            for value in point[split].values():
                assert f"{value:.3f}" in printed
        card = (made / "README.md").read_text()
        assert f"trial {point['trial']}, one of {len(numbers)} such" in card
        assert all(f"{task} {value:.3f}" in card for task, value in point["dev"].items())
    winner = (tmp_path / "out" / "model" / "README.md").read_text()
    assert f"It is trial {result['best']['trial']} of the search, the one of {len(numbers)} such" in winner
    model = tmp_path / "out" / "model" / "model.safetensors"
    assert model.read_bytes() == (tmp_path / f"made-{result['best']['trial']}" / model.name).read_bytes()


def test_the_volume_is_measured_on_dev_from_the_worst_expert(tmp_path: Path) -> None:
    result, _ = ended(family(tmp_path))
    dev = {
        name: {task: each["value"] for task, each in scores["dev"]["tasks"].items()}
        for name, scores in result["baselines"].items()
    }
    experts = [dev["expert animals"], dev["expert colours"]]
    least = {task: min(expert[task] for expert in experts) for task in ("animals", "colours")}
    found = result["hypervolume"]
    assert found["reference"] == least
    assert found["front"] == pytest.approx(area([point["dev"] for point in result["front"]], least))
    assert found["average"] == pytest.approx(area([dev["average"]], least))
    assert found["front"] > 0


def test_without_experts_and_test_there_is_still_a_front(tmp_path: Path) -> None:
    config = family(tmp_path, baselines=[])
    objective = yaml.safe_load(config.read_text())["objective"]
    for task in objective["tasks"]:
        del task["test"]
    result, trials = ended(rewrite(config, objective=objective))
    assert "hypervolume" not in result
    assert [point["trial"] for point in result["front"]] == naive(trials)
    assert all(point["test"] is None for point in result["front"])


def test_the_winner_is_the_best_mean_and_each_task_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy, told = plugins.load("strategies", "nsga2"), []
    tell = strategy.tell

    def listening(self: Any, scores: Any) -> None:
        told.extend(scores)
        tell(self, scores)

    monkeypatch.setattr(strategy, "tell", listening)
    result, trials = ended(family(tmp_path))
    best = max(trial.score for trial in trials)
    assert result["best"]["trial"] == next(trial.number for trial in trials if trial.score == best)
    metrics = [dict(trial.evaluation.metrics) for trial in trials[1:] if trial.evaluation]
    assert told == [(each["animals"], each["colours"]) for each in metrics[: len(told)]]
    assert len(told) >= 39
    for trial in trials:
        assert trial.evaluation is not None
        assert trial.score == pytest.approx(sum(trial.evaluation.metrics.values()) / 2)
    told.clear()
    mean = family(tmp_path / "mean", objective={"aggregate": "mean"})
    result, trials = ended(mean)
    assert told == [trial.score for trial in trials[1 : 1 + len(told)]]
    assert "front" not in result
    assert not (tmp_path / "mean" / "out" / "front").exists()


def test_what_is_told_turns_metrics_that_are_better_when_lower() -> None:
    tasks = [
        SimpleNamespace(name=name, metric=SimpleNamespace(lower=lower))
        for name, lower in (("loss", True), ("accuracy", False))
    ]
    bench: Any = SimpleNamespace(
        config=SimpleNamespace(objective=SimpleNamespace(aggregate="pareto")),
        objective=lambda split: SimpleNamespace(tasks=tasks),
    )
    values = front.told(bench)
    assert values(Trial(0, (), {}, Evaluation(0.0, {"accuracy": 0.75, "loss": 2.5}))) == (-2.5, 0.75)
    assert values(Trial(1, (), {}, None, "broke")) == (-math.inf, -math.inf)
    assert values(Trial(2, (), {}, None)) == (-math.inf, -math.inf)


def test_a_point_that_fails_on_test_has_no_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(load(family(tmp_path)))
    evaluation = Evaluation(0.5, {"animals": 0.5, "colours": 0.5})
    points = [
        Trial(number, (), bench.alone(name), evaluation) for number, name in ((3, "animals"), (5, "colours"))
    ]
    evaluate = Bench.evaluate

    def failing(self: Bench, recipe: Any, split: Any = "dev") -> Evaluation:
        if recipe == points[0].recipe:
            raise FloatingPointError("infinity")
        return evaluate(self, recipe, split)

    monkeypatch.setattr(Bench, "evaluate", failing)
    first, second = front.judged(bench, points, {})["front"]
    assert first == {"trial": 3, "dev": dict(evaluation.metrics), "test": None}
    assert second["test"] == dict(evaluate(bench, points[1].recipe, "test").metrics)


# Resuming.


def test_killed_at_random_instants_and_resumed_the_journal_is_the_same(tmp_path: Path) -> None:
    kill((family(tmp_path, strategy={"kind": "nevergrad"}, baselines=[]), "nevergrad", tmp_path))
    assert_same(tmp_path)
    fronts = [
        json.loads((tmp_path / name / "result.json").read_text())["front"]
        for name in ("undisturbed", "killed")
    ]
    assert fronts[0] == fronts[1]


@pytest.mark.parametrize("done", [1, 14, 39])
def test_cut_anywhere_and_resumed_a_run_of_nsga2_is_the_same(tmp_path: Path, done: int) -> None:
    config = family(tmp_path, baselines=[])
    whole, _ = ended(config, "whole")
    lines = (tmp_path / "whole" / "journal.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "journal.jsonl").write_text("".join(lines[: 1 + done]) + lines[1 + done][:20])
    again, _ = ended(config, "cut", resume=True)
    one, other = (without_times(tmp_path / name / "journal.jsonl") for name in ("whole", "cut"))
    assert one == other
    assert whole["front"] == again["front"]


def test_a_larger_budget_leaves_no_point_of_the_smaller_ones_front(tmp_path: Path) -> None:
    config = family(tmp_path, baselines=[])
    ended(rewrite(config, budget={"evaluations": 12}, strategy={"kind": "nsga2"}))
    (tmp_path / "out" / "front" / "trial-99.json").write_text("{}")
    result, trials = ended(rewrite(config, budget={"evaluations": 30}), resume=True)
    assert [point["trial"] for point in result["front"]] == naive(trials)
    assert len(list((tmp_path / "out" / "front").iterdir())) == len(result["front"])
    fewer, trials = ended(rewrite(config, budget={"evaluations": 12}), resume=True)
    assert len(trials) > 13
    assert [point["trial"] for point in fewer["front"]] == naive(
        trials[: fewer["evaluations"] + fewer["repeats"]]
    )


def test_a_run_of_the_mean_is_not_gone_on_with_apart(tmp_path: Path) -> None:
    ended(family(tmp_path, objective={"aggregate": "mean"}, budget={"evaluations": 2}))
    objective = yaml.safe_load((tmp_path / "config.yaml").read_text())["objective"]
    with pytest.raises(UserError, match="objective"):
        ended(rewrite(tmp_path / "config.yaml", objective=objective | {"aggregate": "pareto"}), resume=True)


# What is refused, and earlier searches.


@pytest.mark.parametrize("command", ["check", "optimize"])
def test_a_strategy_of_one_score_is_refused_early(run: Run, tmp_path: Path, command: str) -> None:
    config = family(tmp_path, strategy={"kind": "cmaes"})
    out = ["--out", tmp_path / "out"] * (command == "optimize")
    code, _, errors = run(command, config, *out)
    assert code == 2
    for text in ("several objectives (nevergrad, nsga2)", "cmaes, which takes one score", "aggregate: mean"):
        assert text in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"penalty": {"coefficients": 0.05}}, "no penalty with aggregate: pareto"),
        ({"subset": {}}, "no subset with aggregate: pareto"),
    ],
)
def test_what_has_no_meaning_apart_is_refused(tmp_path: Path, section: dict[str, Any], said: str) -> None:
    config = family(tmp_path, objective=section)
    with pytest.raises(UserError, match=said) as caught:
        load(config)
    assert "correct objective" in caught.value.cure
    load(config, ["objective.aggregate=mean"])


def test_one_task_that_chooses_is_refused(tmp_path: Path) -> None:
    config = family(tmp_path)
    objective = yaml.safe_load(config.read_text())["objective"]
    objective["tasks"][1]["ood"] = True
    del objective["tasks"][1]["dev"]
    with pytest.raises(UserError, match="two tasks or more to choose by"):
        load(rewrite(config, objective=objective))
    load(config, ["objective.aggregate=mean"])


def test_an_earlier_search_is_told_the_mean(tmp_path: Path) -> None:
    space = {"kind": "coefficients", "method": "task_arithmetic", "weight": [0.0, 1.0]}
    before = [{"name": "first", "space": space, "strategy": {"kind": "cmaes"}, "budget": {"evaluations": 6}}]
    config = family(
        tmp_path, before=before, space={"kind": "paths"}, budget={"evaluations": 12}, baselines=[]
    )
    result, trials = ended(config)
    assert result["before"]["first"]["evaluations"] == 6
    assert [point["trial"] for point in result["front"]] == naive(trials)
    assert not (tmp_path / "out" / "first" / "front").exists()
    with pytest.raises(UserError, match="several objectives"):
        ended(rewrite(config, strategy={"kind": "tpe"}), "refused")
    assert not (tmp_path / "refused").exists()
