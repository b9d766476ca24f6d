"""From texts to a merge: files, their provenance, the cache, and a recipe made again from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file

from searchmerge.bench import Bench
from searchmerge.cli import cli
from searchmerge.config import load
from searchmerge.files import write_json
from searchmerge.recipes import read, recipe_file, reopen
from searchmerge.types import UserError, default_genotype
from tests.family import LABELS, rewrite, tiny_family

DATA = {name: f"data/{name}.dev.jsonl" for name in LABELS}


def family(folder: Path, method: str = "regmean", **statistics: Any) -> Path:
    section = {"data": DATA, "cache": "kept", **statistics}
    return rewrite(tiny_family(folder), space={"kind": "coefficients", "method": method}, statistics=section)


def merged(config: Path) -> torch.Tensor:
    bench = Bench(load(config))
    bench.space.realise(bench.space.decode(default_genotype(bench.space.dims)), bench.workshop)
    return bench.workshop.live.clone()


@pytest.mark.parametrize("kind", ["gram", "fisher"])
def test_the_command_writes_a_file_that_says_where_it_comes_from(tmp_path: Path, kind: str) -> None:
    family(tmp_path)
    out = tmp_path / "made" / "one.safetensors"
    data = str(tmp_path / DATA["animals"])
    arguments = ["stats", kind, str(tmp_path / "experts/animals"), data, "--out", str(out), "--limit", "10"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "10 texts" in result.output
    with safe_open(out, framework="pt") as file:
        about = json.loads(file.metadata()["searchmerge"])
    assert about["kind"] == kind
    assert about["examples"] == 10
    assert about["labels"] == ("expected" if kind == "fisher" else None)
    assert about["model"] == Bench(load(tmp_path / "config.yaml")).sources.experts["animals"].fingerprint
    assert all(torch.isfinite(each).all() for each in load_file(out).values())


@pytest.mark.parametrize(("method", "kind"), [("regmean", "gram"), ("fisher", "fisher")])
def test_a_merge_by_files_is_the_merge_by_data(tmp_path: Path, method: str, kind: str) -> None:
    config = family(tmp_path, method)
    by_data = merged(config)
    given = {}
    for name in LABELS:
        given[name] = f"{name}.safetensors"
        experts, data = str(tmp_path / "experts" / name), str(tmp_path / DATA[name])
        CliRunner().invoke(cli, ["stats", kind, experts, data, "--out", str(tmp_path / given[name])])
    for path in (tmp_path / "data").glob("*.dev.jsonl"):
        path.rename(path.with_suffix(".gone"))
    rewrite(config, statistics={kind: given})
    assert torch.equal(merged(config), by_data)


def test_what_was_measured_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = family(tmp_path)
    first = merged(config)
    monkeypatch.setattr("searchmerge.statistics.measure", lambda *_: pytest.fail("measured again"))
    assert torch.equal(merged(config), first)


def test_other_texts_or_settings_are_measured_anew(tmp_path: Path) -> None:
    config = family(tmp_path, "fisher")
    first = merged(config)
    for change in ({"labels": True}, {"limit": 5}, {"max_length": 3}):
        rewrite(config, statistics={"data": DATA, "cache": "kept", **change})
        assert not torch.equal(merged(config), first)


def test_normalised_information_does_not_depend_on_a_models_confidence(tmp_path: Path) -> None:
    config = family(tmp_path, "fisher", normalise=True)
    bench = Bench(load(config))
    information = bench.statistics._information()
    assert torch.allclose(information.mean(1), torch.ones(2), rtol=1e-4)


@pytest.mark.parametrize(("method", "normalise"), [("regmean", False), ("fisher", False), ("fisher", True)])
def test_a_recipe_names_its_statistics_and_is_made_again_from_them(
    tmp_path: Path, method: str, normalise: bool
) -> None:
    config = family(tmp_path, method, normalise=normalise)
    bench = Bench(load(config))
    recipe = bench.space.decode(default_genotype(bench.space.dims))
    content = recipe_file(bench.sources, bench.config.models, bench.heads, recipe, bench.statistics)
    write_json(tmp_path / "recipe.json", content)
    workshop = reopen(read(tmp_path / "recipe.json"), trust_remote_code=False, allow_pickle=False)
    bench.space.realise(recipe, workshop)
    assert torch.equal(workshop.live, merged(config))
    path = Path(content["statistics"]["files"]["animals"]["path"])
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="another file"):
        reopen(content, trust_remote_code=False, allow_pickle=False)
    path.unlink()
    with pytest.raises(UserError, match="no such file"):
        reopen(content, trust_remote_code=False, allow_pickle=False)


def test_without_texts_or_files_the_check_says_what_is_missing(tmp_path: Path) -> None:
    rewrite(family(tmp_path), statistics={"data": {"animals": DATA["animals"]}})
    with pytest.raises(UserError, match="gram statistics of the expert colours"):
        CliRunner().invoke(cli, ["check", str(tmp_path / "config.yaml")], catch_exceptions=False)


def test_files_that_are_not_the_experts_are_refused(tmp_path: Path) -> None:
    config = family(tmp_path)
    merged(config)
    files = sorted((tmp_path / "kept").glob("gram-*"))
    texts = {name: str(files[0]) for name in LABELS}
    with pytest.raises(UserError, match="another model"):
        merged(rewrite(config, statistics={"gram": texts}))
    weights = {name: f"experts/{name}/model.safetensors" for name in LABELS}
    with pytest.raises(UserError, match="stats gram MODEL DATA"):
        merged(rewrite(config, statistics={"gram": weights}))
    with pytest.raises(UserError, match="stats gram MODEL DATA"):
        merged(rewrite(config, statistics={"gram": dict.fromkeys(LABELS, "nowhere")}))


def test_a_population_of_variants_has_no_data(tmp_path: Path) -> None:
    config = family(tmp_path)
    space = {"kind": "population", "merge": "regmean", "variants": {"pairs": True}}
    with pytest.raises(UserError, match=r"space\.variants"):
        _ = Bench(load(rewrite(config, space=space))).space


def test_a_run_goes_on_with_the_same_statistics_only(tmp_path: Path) -> None:
    config = family(tmp_path, "fisher")
    rewrite(config, space={"kind": "coefficients", "method": "fisher", "weight": [0.5, 2]}, baselines=[])
    run = ["optimize", str(config), "--budget", "2", "--out", str(tmp_path / "run")]
    assert CliRunner().invoke(cli, run, catch_exceptions=False).exit_code == 0
    more = [*run[:3], "3", *run[4:], "--resume"]
    with pytest.raises(UserError, match="statistics"):
        CliRunner().invoke(cli, [*more, "--set", "statistics.normalise=true"], catch_exceptions=False)
    assert CliRunner().invoke(cli, more, catch_exceptions=False).exit_code == 0
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert str(tmp_path) not in card
    assert "2111.09832" in card
