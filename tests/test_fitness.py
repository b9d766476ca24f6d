"""What a search is told: on a part of dev, less a penalty, relative to the experts; and what the end says."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from searchmerge.bench import Bench
from searchmerge.check import check
from searchmerge.config import load
from searchmerge.fitness import Fitness, distance, mean_coefficient
from searchmerge.journal import read
from searchmerge.optimize import optimize, run_search
from searchmerge.types import Evaluation, Trial, UserError
from tests.family import LABELS, rewrite, tiny_family
from tests.test_kill import assert_same, kill, without_times

POPULATION = {"kind": "population", "variants": {"pairs": True}}
COEFFICIENTS = {
    "kind": "coefficients",
    "method": "task_arithmetic",
    "granularity": "layer",
    "weight": [0.0, 1.0],
}


def family(
    folder: Path, *, space: Any = None, strategy: Any = None, evaluations: int = 24, **options: Any
) -> Path:
    """A family whose objective has these options."""
    config = tiny_family(folder)
    objective = yaml.safe_load(config.read_text())["objective"]
    for task in objective["tasks"]:
        task.update(options.pop(task["name"], {}))
    return rewrite(
        config,
        space=space or COEFFICIENTS,
        strategy=strategy or {"kind": "random"},
        objective={**objective, **options},
        budget={"evaluations": evaluations},
        baselines=["average"],
    )


def ended(
    config: Path, *, resume: bool = False, out: str = "out"
) -> tuple[dict[str, Any], list[Trial], list[str]]:
    """Run a config to its end: the result, the journal's trials, what was said."""
    said: list[str] = []
    folder = config.parent / out
    result = optimize(load(config), folder, resume=resume, watch=lambda *_: None, say=said.append)
    _, trials = read(folder / "journal.jsonl")
    return result, trials, said


def evaluated(trials: list[Trial]) -> Iterator[tuple[Trial, Evaluation]]:
    for trial in trials:
        if trial.evaluation is not None:
            yield trial, trial.evaluation


def mean(evaluation: Evaluation) -> float:
    return sum(evaluation.metrics.values()) / len(evaluation.metrics)


# Noise.


def test_what_cannot_be_seen_is_said_once_and_is_half_the_interval(tmp_path: Path) -> None:
    config = family(tmp_path, evaluations=3)
    _, trials, said = ended(config)
    (line,) = (line for line in said if "cannot be seen" in line)
    default = trials[0].evaluation
    assert default is not None
    shares = [float(np.mean(default.metrics[name])) for name in LABELS]
    # The mean of two independent means of 24 examples each, by the normal distribution.
    deviation = math.sqrt(sum(share * (1 - share) / 24 for share in shares)) / 2
    noise = float(line.split()[2])
    assert noise == pytest.approx(1.96 * deviation, rel=0.12)
    rewrite(config, budget={"evaluations": 1})
    one = ended(config, out="one")[0]["best"]
    assert one["trial"] == 0
    assert noise == pytest.approx((one["dev"]["high"] - one["dev"]["low"]) / 2, rel=5e-3)
    assert said.index(line) < said.index("judging the winner and the baselines")


# Penalties.

WEIGHTS = st.recursive(
    st.floats(-2, 2),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3)
        | st.dictionaries(st.text(max_size=2), inner, min_size=1, max_size=3)
    ),
    max_leaves=12,
)


@given(WEIGHTS)
def test_the_mean_coefficient_is_that_of_all_numbers(weight: Any) -> None:
    found: list[float] = []
    rest = [weight]
    while rest:
        each = rest.pop()
        if isinstance(each, float):
            found.append(abs(each))
        else:
            rest += each.values() if isinstance(each, dict) else each
    assert mean_coefficient({"knobs": {"weight": weight}}) == pytest.approx(
        sum(found) / len(found), abs=1e-12
    )


def naive_distance(base: Mapping[str, torch.Tensor], body: nn.Module) -> float:
    """In float64, number by number, from the files."""
    away, length = [], []
    state = body.state_dict()
    for name, tensor in base.items():
        for before, after in zip(tensor.flatten().tolist(), state[name].flatten().tolist(), strict=True):
            away.append((before - after) ** 2)
            length.append(before**2)
    return math.sqrt(math.fsum(away)) / math.sqrt(math.fsum(length))


@pytest.mark.parametrize("weight", [0.0, 0.3, {"animals": 1.0, "colours": -0.5}])
def test_the_distance_is_that_of_the_live_weights(tmp_path: Path, weight: Any) -> None:
    bench = Bench(load(family(tmp_path)))
    models: Any = bench.realise(bench.merge(method="task_arithmetic", weight=weight))
    naive = naive_distance(load_file(tmp_path / "base/model.safetensors"), models["animals"].bert)
    assert distance(bench.workshop) == pytest.approx(naive, rel=1e-5)
    assert (naive == 0) == (weight == 0)


def test_a_penalty_is_in_the_journal_and_decides_but_is_not_in_the_result(tmp_path: Path) -> None:
    result, trials, _ = ended(family(tmp_path, penalty={"coefficients": 5.0}))
    for trial, evaluation in evaluated(trials):
        weights = [abs(value) for each in trial.recipe["knobs"]["weight"].values() for value in each.values()]
        taken = 5.0 * sum(weights) / len(weights)
        assert evaluation.score == pytest.approx(mean(evaluation) - taken, abs=1e-12)
    winner = max(trials, key=lambda trial: trial.score)
    loud = max(trials, key=lambda trial: mean(trial.evaluation) if trial.evaluation else -1)
    assert result["best"]["trial"] == winner.number != loud.number
    assert winner.evaluation is not None
    assert result["best"]["dev"]["score"] == pytest.approx(mean(winner.evaluation), abs=1e-12)
    average = result["baselines"]["average"]["dev"]
    assert average["score"] == pytest.approx(sum(t["value"] for t in average["tasks"].values()) / 2)


def test_both_penalties_add_up(tmp_path: Path) -> None:
    config = family(tmp_path, penalty={"coefficients": 0.1, "distance": 0.2}, evaluations=5)
    _, trials, _ = ended(config)
    bench = Bench(load(config))
    base = load_file(tmp_path / "base/model.safetensors")
    for trial, evaluation in evaluated(trials):
        models: Any = bench.realise(trial.recipe)
        taken = 0.1 * mean_coefficient(trial.recipe) + 0.2 * naive_distance(base, models["animals"].bert)
        assert evaluation.score == pytest.approx(mean(evaluation) - taken, abs=1e-6)


@pytest.mark.parametrize(
    ("space", "penalty"),
    [(POPULATION, {"distance": 0.3}), (COEFFICIENTS, {"coefficients": 0.3, "distance": 0.1})],
    ids=["population", "coefficients"],
)
def test_floors_are_exact_under_a_penalty(tmp_path: Path, space: Any, penalty: Any) -> None:
    journals = []
    for floors in (True, False):
        config = family(
            tmp_path / str(floors),
            space=space,
            strategy={"kind": "de", "floors": floors},
            evaluations=40,
            penalty=penalty,
            batch_tokens=30,
        )
        bench = Bench(load(config))
        best, _, counts = run_search(bench, tmp_path / str(floors), resume=False, watch=lambda *_: None)
        lines = without_times(tmp_path / str(floors) / "journal.jsonl")[1:]
        journals.append((best, counts, lines))
    (best, counts, floored), (other, without, plain) = journals
    assert (best.number, best.score) == (other.number, other.score)
    assert counts["rejected"] > 5 > without["rejected"] == 0
    for mine, its in zip(map(parsed, floored), map(parsed, plain), strict=True):
        assert (mine["genotype"], mine["recipe"]) == (its["genotype"], its["recipe"])
        if mine["state"] == "complete":
            assert mine == its
    scores = [parsed(line)["score"] for line in plain]
    complete = {number for number, line in enumerate(floored) if parsed(line)["state"] == "complete"}
    assert int(np.argmax(scores)) in complete


def parsed(line: str) -> Any:
    return json.loads(line + "}")


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a population has no coefficients": (
        {"penalty": {"coefficients": 1}},
        {"space": POPULATION, "strategy": {"kind": "de"}},
        "weight for each expert",
    ),
    "a method without weights": (
        {"penalty": {"coefficients": 1}},
        {"space": {"kind": "coefficients", "method": "model_stock"}},
        "model_stock",
    ),
    "no base": (
        {"penalty": {"distance": 1}},
        {"space": {"kind": "coefficients", "method": "linear"}, "base": None},
        "a base for objective.penalty.distance",
    ),
    "paths have no one set of weights": (
        {"penalty": {"distance": 1}},
        {"space": {"kind": "paths"}},
        "one set of weights",
    ),
    "rounds without an end": ({"subset": {}}, {"budget": {"seconds": 5}}, "budget.evaluations"),
    "an unknown expert": ({"animals": {"expert": "animal"}}, {}, "expert animal of task animals"),
    "nobody to be relative to": (
        {"animals": {"head": "animals", "name": "mine"}, "colours": {"head": None}, "aggregate": "relative"},
        {"rename": True},
        "an own expert for every task",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_refused_by_check_and_before_the_search(tmp_path: Path, why: str) -> None:
    options, sections, message = REFUSED[why]
    path = family(tmp_path, **options)
    content = yaml.safe_load(path.read_text())
    if sections.pop("rename", False):
        content["objective"]["tasks"][1].update(name="yours", head="merged")
    if "base" in sections:
        sections.pop("base")
        del content["models"]["base"]
        for task in content["objective"]["tasks"]:
            task["dev"] = task["test"] = str(tmp_path / task["dev"])
    path = rewrite(path, **{**content, **sections})
    with pytest.raises(UserError, match=message):
        list(check(Bench(load(path))))
    with pytest.raises(UserError, match=message):
        ended(path)
    assert not (tmp_path / "out/journal.jsonl").exists()


# A part of dev.


class Counting:
    """Counts the examples that go through the live models."""

    def __init__(self, bench: Bench) -> None:
        self.seen = 0
        for model in bench.workshop.models.values():
            model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, model: nn.Module, args: Any, kwargs: Any) -> None:
        self.seen += len(kwargs["input_ids"])

    def taken(self) -> int:
        seen, self.seen = self.seen, 0
        return seen


@pytest.mark.parametrize(
    ("space", "strategy", "penalty"),
    [(COEFFICIENTS, "cmaes", {}), (COEFFICIENTS, "random", {"coefficients": 9.0}), (POPULATION, "de", {})],
    ids=["cmaes", "penalty", "population"],
)
def test_a_search_on_a_part_forwards_fewer_examples_and_decides_by_the_whole(
    tmp_path: Path, space: Any, strategy: str, penalty: Any
) -> None:
    options = {"kind": strategy, **({"floors": False} if strategy == "de" else {})}
    config = family(
        tmp_path,
        space=space,
        strategy=options,
        evaluations=30,
        subset={"start": 0.25, "rounds": 3, "finalists": 4},
        penalty=penalty,
    )
    bench = Bench(load(config))
    _ = bench.objective("dev")  # for which a population's average says how hard the texts are
    counting = Counting(bench)
    by_trial: list[int] = []
    best, _, _ = run_search(
        bench, tmp_path / "out", resume=False, watch=lambda *_: by_trial.append(counting.taken())
    )
    _, trials = read(tmp_path / "out/journal.jsonl")
    # 24 texts a task; the share of a label is rounded up: 12 of each in animals, 8 of each in colours.
    sizes = {1: 6 + 6, 2: 12 + 12, 3: 48}
    for trial, seen in zip(trials, by_trial, strict=True):
        turn = 3 if trial.number == 0 else min(trial.number // 10, 2) + 1
        assert seen == (0 if trial.repeats is not None else sizes[turn])
    partly = sorted(
        (trial for trial in trials[1:20] if trial.repeats is None), key=lambda trial: -trial.score
    )
    assert counting.taken() == 4 * 48
    fresh = Bench(load(config))
    contenders = [trials[0], *trials[20:], *partly[:4]]
    plain = {trial.number: fresh.evaluate(trial.recipe).score for trial in contenders}
    scores = plain
    if penalty:
        taken = {each.number: 9.0 * mean_coefficient(each.recipe) for each in contenders}
        scores = {number: score - taken[number] for number, score in plain.items()}
        assert max(plain, key=plain.__getitem__) != max(scores, key=scores.__getitem__)
    assert best.number == min(number for number, score in scores.items() if score == max(scores.values()))
    assert best.score == plain[best.number]
    assert len(best.evaluation.outcomes["animals"] if best.evaluation else ()) == 24


def test_a_finalist_that_fails_on_the_whole_does_not_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = family(tmp_path, evaluations=12, subset={"start": 0.5, "rounds": 1, "finalists": 2})
    bench = Bench(load(config))
    fitness = Fitness(bench)
    made = [
        Trial(number, (), bench.merge(method="task_arithmetic", weight=number / 4), None)
        for number in range(4)
    ]
    trials = []
    for each in made:
        share = fitness.share(each.number)
        evaluation = fitness(each.recipe, -math.inf, share)
        trials.append(Trial(each.number, (), each.recipe, evaluation, share=share))
    ranked = sorted(trials[1:], key=lambda trial: -trial.score)
    dev = bench.objective("dev")
    asked: list[int] = []

    def fails_at_first(models: Any, penalty: float = 0.0) -> Evaluation:
        asked.append(1)
        if len(asked) == 1:
            raise FloatingPointError("not finite")
        return dev.score_of({name: task.gold for name, task in ((task.name, task) for task in dev.tasks)})

    monkeypatch.setattr(type(dev), "__call__", lambda self, *args: fails_at_first(*args))
    best = fitness.winner(trials[0], trials)
    assert len(asked) == 2
    assert (best.number, best.score) == (ranked[1].number, 1.0)


def test_halving_forwards_each_rungs_share_and_wins_on_the_whole(tmp_path: Path) -> None:
    config = family(tmp_path, space=COEFFICIENTS, strategy={"kind": "halving", "eta": 2}, evaluations=13)
    bench = Bench(load(config))
    counting = Counting(bench)
    seen: list[int] = []
    best, reason, counts = run_search(
        bench, tmp_path / "out", resume=False, watch=lambda *_: seen.append(counting.taken())
    )
    _, trials = read(tmp_path / "out/journal.jsonl")
    assert [sum(trial.share == share for trial in trials[1:]) for share in (0.25, 0.5, 1)] == [16, 8, 4]
    assert (reason, counts["evaluations"]) == ("13 evaluations are spent", 13)
    sizes = {0.25: 12, 0.5: 24, 1.0: 48}
    for trial, forwarded in zip(trials, seen, strict=True):
        assert forwarded == (0 if trial.repeats is not None else sizes[trial.share])
    scores = {t.number: t.score for t in trials if t.share == 1}
    assert best.number == max(scores, key=lambda number: (scores[number], -number))
    assert best.score == Bench(load(config)).evaluate(best.recipe).score


def test_the_same_seed_is_the_same_part_and_another_another(tmp_path: Path) -> None:
    bench = Bench(load(family(tmp_path, subset={})))
    other = bench.searched_by(bench.config.strategy, seed=1)
    first = bench.part_of_dev(0.5)
    assert bench.part_of_dev(0.5) is first
    assert other.part_of_dev(0.5).fingerprint != first.fingerprint
    assert bench.part_of_dev(1.0) is bench.objective("dev")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"subset": {}}, {"subset": {"start": 0.5}}),
        ({"subset": {}}, {"subset": None}),
        ({}, {"penalty": {"distance": 0.1}}),
        ({"penalty": {"coefficients": 0.1}}, {"penalty": {"coefficients": 0.2}}),
        ({}, {"aggregate": "relative"}),
        ({}, {"aggregate": "worst"}),
    ],
)
def test_another_objective_is_another_run(tmp_path: Path, before: Any, after: Any) -> None:
    config = family(tmp_path, evaluations=4, **before)
    ended(config)
    rewrite(config, objective={**yaml.safe_load(config.read_text())["objective"], **after})
    with pytest.raises(UserError, match=r"another run.s: its (subset|penalty|objective)"):
        ended(config, resume=True)


# Relative to the experts.


def test_relative_is_each_splits_own(tmp_path: Path) -> None:
    config = family(tmp_path, aggregate="relative", evaluations=4, animals={"weight": 3.0})
    result, trials, _ = ended(config)
    bench = Bench(load(family(tmp_path / "plain")))
    owners = {
        split: {name: bench.evaluate(bench.alone(name), split).metrics[name] for name in LABELS}
        for split in ("dev", "test")
    }
    assert owners["dev"] != owners["test"]

    def relative(split: str, tasks: Mapping[str, float]) -> float:
        parts = [tasks[name] / owners[split][name] for name in ("animals", "colours")]
        return (3 * parts[0] + parts[1]) / 4

    for _, evaluation in evaluated(trials):
        assert evaluation.score == pytest.approx(relative("dev", evaluation.metrics), abs=1e-12)
    for standing in (result["best"], *result["baselines"].values()):
        for split in ("dev", "test"):
            tasks = {name: each["value"] for name, each in standing[split]["tasks"].items()}
            assert standing[split]["score"] == pytest.approx(relative(split, tasks), abs=1e-12)


def test_the_owners_together_are_1_and_each_is_1_on_its_own_task(tmp_path: Path) -> None:
    config = rewrite(family(tmp_path, aggregate="relative", evaluations=2), baselines=["experts"])
    result, _, _ = ended(config)
    for split in ("dev", "test"):
        assert result["baselines"]["own experts"][split]["score"] == pytest.approx(1.0, abs=1e-12)
    rewrite(
        config,
        objective={
            **yaml.safe_load(config.read_text())["objective"],
            "tasks": yaml.safe_load(config.read_text())["objective"]["tasks"][:1],
        },
    )
    alone = ended(config, out="alone")[0]["baselines"]["expert animals"]
    assert [alone[split]["score"] for split in ("dev", "test")] == [1.0, 1.0]


def test_the_expert_that_a_task_names_owns_it(tmp_path: Path) -> None:
    swapped: dict[str, Any] = {"animals": {"expert": "colours"}, "colours": {"expert": "animals"}}
    bench = Bench(load(family(tmp_path, aggregate="relative", **swapped)))
    dev = bench.objective("dev")
    metrics = {
        task: dev(bench.realise(bench.alone(swapped[task]["expert"]))).metrics[task] for task in LABELS
    }
    assert float(dev.aggregate({task: np.asarray(value) for task, value in metrics.items()})) == 1.0


def test_a_check_reads_no_weight_for_what_is_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = family(tmp_path, aggregate="relative")
    monkeypatch.setattr("searchmerge.bench.Workshop", lambda *_, **__: pytest.fail("weights were read"))
    assert any("task animals" in topic for topic, _ in check(Bench(load(config))))


# Resume.

RESUMED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "population": (
        "de",
        POPULATION,
        {"subset": {"start": 0.3, "finalists": 3}, "penalty": {"distance": 0.1}, "aggregate": "relative"},
    ),
    "coefficients": (
        "cmaes",
        COEFFICIENTS,
        {"subset": {"rounds": 4}, "penalty": {"coefficients": 0.1}, "aggregate": "worst"},
    ),
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    runs = []
    for name, (strategy, space, options) in RESUMED.items():
        config = family(folder / name, space=space, evaluations=40, **options)
        runs.append((config, strategy, folder / name))
    kill(*runs)
    return folder


@pytest.mark.parametrize("name", RESUMED)
def test_killed_and_resumed_it_is_the_same_run(killed: Path, name: str) -> None:
    states = Counter(line["state"] for line in assert_same(killed / name))
    assert states["failed"] == 0
    results = [
        json.loads((killed / name / run / "result.json").read_text()) for run in ("undisturbed", "killed")
    ]
    for result in results:
        del result["seconds"]
    assert results[0] == results[1]


def test_the_parts_need_the_dev_texts_alone(tmp_path: Path) -> None:
    config = family(tmp_path, evaluations=6, subset={"rounds": 2}, aggregate="relative")
    for path in (tmp_path / "data").glob("*.test.jsonl"):
        shutil.move(path, path.with_suffix(".away"))
    run_search(Bench(load(config)), tmp_path / "out", resume=False, watch=lambda *_: None)
