from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from searchmerge.bench import Bench
from searchmerge.config import load
from searchmerge.optimize import run_search
from searchmerge.plugins import available
from searchmerge.types import Trial
from tests.family import rewrite, tiny_family

ROOT = Path(__file__).parent.parent


def without_times(journal: Path) -> list[str]:
    """The journal without the times, line by line, byte for byte."""
    lines = journal.read_text().splitlines()
    return [lines[0], *(line[: line.rindex(',"seconds":')] for line in lines[1:])]


def kill(*runs: tuple[Path, str, Path]) -> None:
    """Run each config with its strategy in ``OUT/undisturbed``, and killed and resumed in ``OUT/killed``."""
    command = [sys.executable, "-m", "tests.killed"]
    for config, strategy, out in runs:
        command += [str(config), strategy, str(out), "7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr


def assert_same(out: Path) -> list[dict[str, Any]]:
    """The two runs have the same journal and the same winner; give the lines."""
    whole, killed = (without_times(out / name / "journal.jsonl") for name in ("undisturbed", "killed"))
    assert killed == whole
    lines = [json.loads(line + "}") for line in whole[1:]]
    spent = sum(line.get("cost", 1) for line in lines if line["repeats"] is None)
    assert 40 <= spent + 1e-6 < 41, "a run ends with the evaluation that spends its budget"
    results = [json.loads((out / name / "result.json").read_text()) for name in ("undisturbed", "killed")]
    assert results[0]["best"] == results[1]["best"]
    return lines


STRATEGIES = sorted(available("strategies"))
LATE = {"gp": "gp:startup=34"}  # a point of the process takes up to a second


@pytest.fixture(scope="module")
def killed_strategies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process for all, since most of the time is that of its imports."""
    folder = tmp_path_factory.mktemp("strategies")
    config = rewrite(tiny_family(folder), budget={"evaluations": 40}, baselines=[])
    kill(*((config, LATE.get(strategy, strategy), folder / strategy) for strategy in STRATEGIES))
    return folder


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_killed_at_random_instants_and_resumed_the_journal_is_the_same(
    killed_strategies: Path, strategy: str
) -> None:
    assert_same(killed_strategies / strategy)


RACES = ("tpe:startup=5:racing=0.3", "cmaes:racing=0.3")


@pytest.fixture(scope="module")
def killed_races(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On texts in many small batches, so that there is something to stop."""
    folder = tmp_path_factory.mktemp("races")
    config = tiny_family(folder)
    objective = yaml.safe_load(config.read_text(encoding="utf-8"))["objective"] | {"batch_tokens": 30}
    config = rewrite(config, budget={"evaluations": 40}, baselines=[], objective=objective)
    kill(*((config, strategy, folder / strategy.partition(":")[0]) for strategy in RACES))
    return folder


@pytest.mark.parametrize("strategy", RACES)
def test_races_of_a_run_killed_at_random_instants_end_as_they_would_have(
    killed_races: Path, strategy: str
) -> None:
    lines = assert_same(killed_races / strategy.partition(":")[0])
    assert any("lost_to" in line for line in lines)


POPULATIONS: dict[str, dict[str, Any]] = {
    "two experts by the default rule": {},
    "ties of five": {
        "merge": {"method": "ties", "density": 0.5},
        "variants": {"pairs": True, "jitter": {"copies": 1, "size": 0.5}},
    },
}


@pytest.fixture(scope="module")
def killed_populations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process for all, since most of the time is that of its imports."""
    folder = tmp_path_factory.mktemp("populations")
    runs = []
    for name, options in POPULATIONS.items():
        (folder / name).mkdir()
        config = rewrite(
            tiny_family(folder / name),
            space={"kind": "population", **options},
            budget={"evaluations": 40},
            baselines=[],
        )
        runs.append((config, "de", folder / name))
    kill(*runs)
    return folder


@pytest.mark.parametrize("population", POPULATIONS)
def test_a_population_killed_at_random_instants_and_resumed_has_the_same_journal(
    killed_populations: Path, population: str
) -> None:
    lines = assert_same(killed_populations / population)
    assert {line["state"] for line in lines} == {"complete", "rejected"}
    generations = [len(line["recipe"]["lineage"]) for line in lines]
    assert max(generations) >= 4 + generations[0], "children have children"


# Floors.


def searched(config: Path, out: Path, *, floors: bool, batches: str) -> tuple[Bench, Trial, dict[str, float]]:
    """Search with `de`, its journal in ``out``."""
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    content["strategy"] = {"kind": "de", "floors": floors}
    content["objective"] |= {"batch_tokens": 30, "batches": batches}
    bench = Bench(load(rewrite(config, **content)))
    best, _, counts = run_search(bench, out, resume=False, watch=lambda *_: None)
    return bench, best, counts


def both(tmp_path: Path, space: dict[str, Any], founders: int, batches: str) -> list[list[str]]:
    """Check that floors change neither trajectory nor winner; give the lines with and without them."""
    config = rewrite(tiny_family(tmp_path), budget={"evaluations": 40}, space=space)
    bench, best, counts = searched(config, tmp_path / "floors", floors=True, batches=batches)
    _, other, plain = searched(config, tmp_path / "plain", floors=False, batches=batches)
    assert (best.number, best.score, best.recipe) == (other.number, other.score, other.recipe)
    assert (counts["rejected"] > 10, plain["rejected"], counts["evaluations"]) == (True, 0, 40)
    costs = [cost for task in bench.objective("dev").tasks for cost in task.costs]
    assert len(costs) > 8
    stopped = bench.objective("dev").forwarded
    found = [without_times(tmp_path / name / "journal.jsonl")[1:] for name in ("floors", "plain")]
    records = [[json.loads(line + "}") for line in lines] for lines in found]
    for mine, its in zip(*records, strict=True):
        assert (mine["genotype"], mine["recipe"]) == (its["genotype"], its["recipe"])
    assert 0 < stopped < (len(found[0]) - founders) * sum(costs), "fewer forward passes"
    return found


BATCHES = ("length", "difficulty")


@pytest.mark.parametrize("batches", BATCHES)
def test_floors_change_nothing_of_the_children_that_are_accepted(tmp_path: Path, batches: str) -> None:
    floored, plain = both(tmp_path, {"kind": "population", "variants": {"pairs": True}}, 4, batches)
    scores: dict[Any, float] = {}
    accepted = set()
    for line in map(json.loads, (line + "}" for line in plain)):
        (gene,) = (
            (gene for gene in line["genotype"] if isinstance(gene, dict)) if line["number"] > 3 else [None]
        )
        if gene is None:
            scores[line["genotype"][0]] = line["score"]
        elif line["score"] > scores[gene["parent"]]:
            accepted.add(line["number"])
            scores[line["number"]] = line["score"]
    assert len(accepted) > 2
    complete = {number for number, line in enumerate(floored) if '"state":"complete"' in line}
    assert complete == accepted | {0, 1, 2, 3}
    assert [floored[number] for number in sorted(complete)] == [plain[number] for number in sorted(complete)]


@pytest.mark.parametrize("batches", BATCHES)
def test_floors_change_nothing_of_the_points_that_are_accepted(tmp_path: Path, batches: str) -> None:
    floored, plain = both(
        tmp_path,
        {"kind": "coefficients", "method": "task_arithmetic", "granularity": "layer", "weight": [0.0, 1.0]},
        13,
        batches,
    )
    scores = [json.loads(line + "}")["score"] for line in plain]
    members = scores[1:13]
    accepted = set()
    for number, score in enumerate(scores[13:], start=13):
        if score >= members[(number - 13) % 12]:
            accepted.add(number)
            members[(number - 13) % 12] = score
    complete = {number for number, line in enumerate(floored) if '"state":"complete"' in line}
    assert len(accepted) > 2
    assert complete == accepted | set(range(13))
    assert [floored[number] for number in sorted(complete)] == [plain[number] for number in sorted(complete)]
