from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from searchmerge.bench import Bench
from searchmerge.compare.contest import Contest
from searchmerge.compare.job import by_evaluation, head_to_head
from searchmerge.config import load
from searchmerge.judge import standing
from searchmerge.objective import Objective, Split
from searchmerge.types import Evaluation, Trial, UserError
from tests.family import rewrite, tiny_family
from tests.test_kill import kill

STRATEGIES = "de:population=4,tpe"
SPLITS: tuple[Split, ...] = ("dev", "test")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spaces = {
        "one": {"kind": "coefficients", "method": "task_arithmetic", "weight": [0.0, 1.0]},
        "layers": {"kind": "paths", "encoding": "steps", "sources": None},
    }
    family = tiny_family(tmp_path_factory.mktemp("family"))
    return rewrite(family, budget={"evaluations": 8}, compare={"spaces": spaces}, baselines=["average"])


def held(
    config: Path, out: Path, seeds: int = 2, *, resume: bool = False, watch: Any = None
) -> dict[str, Any]:
    loaded = load(config)
    contest = Contest.of(loaded, STRATEGIES.split(","), seeds)
    watch = watch or (lambda *_: None)
    return head_to_head(loaded, contest, out, name="test", resume=resume, watch=watch, say=lambda _: None)


@pytest.fixture(scope="module")
def compared(config: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("compared") / "out"
    return out, held(config, out)


def timeless(content: dict[str, Any]) -> str:
    """A comparison without what differs from one day to another."""
    content = json.loads(json.dumps(content))
    content.pop("seconds", None)
    for curve in content["statistics"]["curves"]:
        curve.pop("seconds")
    return json.dumps(content)


def test_the_winners_of_all_runs_are_judged(config: Path, compared: tuple[Path, dict[str, Any]]) -> None:
    out, content = compared
    assert json.loads((out / "comparison.json").read_text()) == content
    assert len(content["runs"]) == 2 * 2 * 3, "random search is in the field"
    bench = Bench(load(config))
    for run in content["runs"]:
        for split in SPLITS:
            objective = bench.objective(split)
            expected = standing(objective, bench.evaluate(run["recipe"], split))
            assert run["best"][split] == expected


def test_the_statistics_are_of_these_runs(compared: tuple[Path, dict[str, Any]]) -> None:
    _, content = compared
    statistics = content["statistics"]
    assert statistics["strategies"] == ["de:population=4", "tpe", "random"]
    assert statistics["spaces"] == ["layers", "one"], "in the order of the config"
    assert statistics["budget"] == 8
    for split in ("dev", "test"):
        for place, (space, seed) in enumerate(
            (space, seed) for space in ("layers", "one") for seed in (0, 1)
        ):
            for strategy in statistics["strategies"]:
                (run,) = (
                    run
                    for run in content["runs"]
                    if (run["space"], run["strategy"], run["seed"]) == (space, strategy, seed)
                )
                assert statistics[split]["scores"][strategy][place] == pytest.approx(
                    run["best"][split]["score"]
                )
    assert {space: each["name"] for space, each in content["references"].items()} == {
        "one": "the default merge",
        "layers": "the default merge",
    }


def test_the_baselines_stand_beside(compared: tuple[Path, dict[str, Any]]) -> None:
    assert list(compared[1]["baselines"]) == ["average"]
    assert compared[1]["baselines"]["average"]["test"]["score"] > 0


def test_more_seeds_may_join(config: Path, compared: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    held(config, tmp_path, 1)
    with pytest.raises(UserError, match="without a comparison"):
        held(config, tmp_path, 2)
    assert timeless(held(config, tmp_path, 2, resume=True)) == timeless(compared[1])


def test_test_is_not_read_before_the_last_run_has_ended(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Bench._build
    ended: list[Trial] = []

    def watched(self: Bench, split: Any, **options: Any) -> Objective:
        assert split == "dev" or len(ended) == 3 * 2 * 8
        return build(self, split, **options)

    def count(_: Any, trial: Trial, __: Any) -> None:
        ended.extend([trial] * (trial.repeats is None))

    monkeypatch.setattr(Bench, "_build", watched)
    held(config, tmp_path, 1, watch=count)


def test_what_was_interrupted_has_a_record_of_its_whole_seeds(config: Path, tmp_path: Path) -> None:
    def interrupt(entry: Any, *_: Any) -> None:
        if entry.seed == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        held(config, tmp_path, watch=interrupt)
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert content["statistics"]["seeds"] == [0]
    assert content["statistics"]["test"] is None
    assert {run["best"]["test"] for run in content["runs"]} == {None}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"objective.subset": "{start: 0.5}"}, "the whole dev"),
        ({"objective.aggregate": "pareto"}, "one score a merge"),
        (
            {
                "before": "[{name: merged, space: {kind: coefficients}}]",
                "space": "{kind: paths}",
                "compare.spaces": "{}",
            },
            "one search each",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(
    config: Path, tmp_path: Path, sections: dict[str, str], message: str
) -> None:
    loaded = load(config, [f"{path}={value}" for path, value in sections.items()])
    with pytest.raises(UserError, match=message):
        head_to_head(
            loaded,
            Contest.of(loaded, ["de"], 1),
            tmp_path,
            name="test",
            resume=False,
            watch=lambda *_: None,
            say=lambda _: None,
        )
    assert not list(tmp_path.iterdir())


def test_trials_on_parts_of_dev_make_up_whole_evaluations() -> None:
    def trial(number: int, score: float, share: float, repeats: int | None = None) -> Trial:
        return Trial(number, (), {}, Evaluation(score, {}), None, repeats, 2.0, share, share)

    trials = [
        trial(0, 0.5, 1.0),
        *(trial(number, 0.9, 1 / 3) for number in range(1, 7)),
        trial(7, 0.6, 1.0),
        trial(8, 0.5, 1.0, repeats=0),
        trial(9, 0.7, 0.25),
        trial(10, 0.8, 1.0),
    ]
    scores, seconds = by_evaluation(trials)
    assert scores.tolist() == [0.5, -math.inf, -math.inf, 0.6, -math.inf, 0.8]
    assert seconds.tolist() == [2, 6, 6, 2, 2, 2]


def test_killed_at_random_instants_and_resumed_the_tables_are_the_same(config: Path, tmp_path: Path) -> None:
    kill((config, STRATEGIES, tmp_path))
    undisturbed, killed = (
        json.loads((tmp_path / name / "comparison.json").read_text()) for name in ("undisturbed", "killed")
    )
    assert timeless(killed) == timeless(undisturbed)
    tables = sorted(path.name for path in (tmp_path / "undisturbed" / "tables").iterdir())
    assert tables
