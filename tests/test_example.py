"""The example package, built and installed beside searchmerge as a stranger's would be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from searchmerge import load_study
from tests.family import rewrite, tiny_family

EXAMPLE = Path(__file__).parent.parent / "examples" / "searchmerge-example"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the example installed; nothing is fetched, the repository stays as it is."""
    folder = tmp_path_factory.mktemp("example")
    unbuilt = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", ".*")
    shutil.copytree(EXAMPLE, folder / "source", ignore=unbuilt)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run([*pip, "--target", folder / "site", folder / "source"], check=True)
    return folder


def beside(installed: Path, *words: object) -> str:
    """Run Python with the example on its path; gives what it printed."""
    paths = [str(installed / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", *map(str, words)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("what", "name"), [("strategies", "annealing"), ("spaces", "line")])
def test_it_is_listed_beside_the_built_in_ones(installed: Path, what: str, name: str) -> None:
    listed = dict(
        line.split(maxsplit=1) for line in beside(installed, "searchmerge", "list", what).splitlines()
    )
    assert name in listed
    assert listed.keys() >= {"strategies": {"cmaes", "de"}, "spaces": {"coefficients", "paths"}}[what]
    assert len(listed[name]) > 20


def test_its_strategy_searches_its_space_and_the_winner_is_made_again(
    installed: Path, tmp_path: Path
) -> None:
    config = rewrite(
        tiny_family(tmp_path),
        space={"kind": "line", "through": ["animals", "average", "colours"]},
        strategy={"kind": "annealing", "step": 0.4},
        baselines=["average"],
    )
    out = tmp_path / "out"
    beside(installed, "searchmerge", "optimize", config, "--out", out)
    study = load_study(out)
    assert study.user_attrs["run"] == "annealing over line, seed 0"
    assert study.trials[0].params == {"place": 1.0}
    assert len({trial.params["place"] for trial in study.trials}) > 6
    assert json.loads((out / "result.json").read_text())["evaluations"] == 12
    recipe = json.loads((out / "recipe.json").read_text())["recipe"]
    first, second = (recipe["weights"][name] for name in ("animals", "colours"))
    assert first + second == pytest.approx(1)
    assert second == pytest.approx(study.best_params["place"] / 2)
    beside(installed, "searchmerge", "merge", out / "recipe.json", "--out", tmp_path / "again")
    made, again = (folder / "model.safetensors" for folder in (out / "model", tmp_path / "again"))
    assert made.read_bytes() == again.read_bytes()


def test_it_is_compared_with_the_built_in_ones(installed: Path, tmp_path: Path) -> None:
    spaces = {"line": {"kind": "line"}, "weights": {"kind": "coefficients", "weight": [0.0, 1.0]}}
    config = rewrite(
        tiny_family(tmp_path), compare={"spaces": spaces}, baselines=[], budget={"evaluations": 3}
    )
    out = tmp_path / "out"
    strategies = "annealing:step=0.4,cmaes"
    beside(
        installed, "searchmerge", "compare", config, "--strategies", strategies, "--seeds", 1, "--out", out
    )
    for space, kind in (("line", "line"), ("weights", "coefficients")):
        study = load_study(out / space / "annealing-step-0.4-0")
        assert study.user_attrs["run"] == f"annealing over {kind}, seed 0"
    content = json.loads((out / "comparison.json").read_text())
    assert content["statistics"]["strategies"] == ["annealing:step=0.4", "cmaes", "random"]
    assert content["statistics"]["spaces"] == list(content["spaces"])


def test_its_own_tests_pass(installed: Path) -> None:
    beside(installed, "pytest", "-q", "-p", "no:cacheprovider", installed / "source")
