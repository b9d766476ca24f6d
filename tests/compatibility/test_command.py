"""``check --deep`` as it is typed, on a tiny family."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import BertForSequenceClassification

from tests.family import rewrite, tiny_family
from tests.fixtures import Run, tiny_bert


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tiny_family(tmp_path)


def flat(config: Path, ref: str) -> torch.Tensor:
    """The body's weights of a checkpoint, in the files' order of names."""
    tensors = load_file(config.parent / ref / "model.safetensors")
    bodies = {name.removeprefix("bert."): t for name, t in tensors.items() if "classifier" not in name}
    return torch.cat([bodies[name].flatten().double() for name in sorted(bodies)])


def test_experts_of_one_base(run: Run, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, printed, errors = run("check", config, "--deep", "--out", out)
    assert code == 0, errors
    assert printed.splitlines()[-1] == f"{out}/check.png, {out}/check.json"
    assert "dev: 24 examples, 3 labels; accuracy" in printed
    assert "5 evaluations" in errors
    assert {path.name for path in out.iterdir()} == {"check.png", "check.json"}
    with Image.open(out / "check.png") as picture:
        assert picture.width > 1000
    found = json.loads((out / "check.json").read_text())
    (pair,) = found["pairs"]
    assert pair["experts"] == ["animals", "colours"]
    assert pair["in_place"] == 1
    base, one, other = (flat(config, ref) for ref in ("base", "experts/animals", "experts/colours"))
    cosine = float((one - base) @ (other - base) / ((one - base).norm() * (other - base).norm()))
    assert pair["cosine"]["whole"] == pytest.approx(cosine, abs=1e-6)
    assert list(pair["cosine"]["layers"]) == found["layers"] == ["embeddings", "layer.0", "layer.1", "head"]
    assert found["experts"]["animals"]["distance"]["whole"] == pytest.approx(
        float((one - base).norm() / base.norm()), rel=1e-6
    )
    line = pair["line"]
    dropped = max(
        (1 - t) * line["dev"][0] + t * line["dev"][4] - d
        for t, d in zip(line["at"], line["dev"], strict=True)
    )
    assert line["barrier"] == pytest.approx(dropped)


def test_experts_are_measured_as_they_are_whatever_the_space_stores(
    run: Run, config: Path, tmp_path: Path
) -> None:
    found = []
    for storage in ("float32", "bfloat16"):
        space = {"kind": "coefficients", "method": "linear", "storage": storage}
        code, _, errors = run("check", rewrite(config, space=space), "--deep", "--out", tmp_path / storage)
        assert code == 0, errors
        content = json.loads((tmp_path / storage / "check.json").read_text())
        found.append({key: value for key, value in content.items() if key != "seconds"})
    assert found[0] == found[1]


def reinitialised(config: Path) -> None:
    tiny_bert(config.parent / "experts" / "animals", ("cat", "dog"), seed=99)


def shuffled(config: Path) -> None:
    path = config.parent / "experts" / "animals" / "model.safetensors"
    tensors = load_file(path)
    for layer in range(2):
        order = torch.randperm(64, generator=torch.Generator().manual_seed(layer))
        for name in tensors:
            if f"layer.{layer}.intermediate.dense" in name:
                tensors[name] = tensors[name][order].contiguous()
            elif name.endswith(f"layer.{layer}.output.dense.weight"):
                tensors[name] = tensors[name][:, order].contiguous()
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "said"), [(reinitialised, "do not share a base"), (shuffled, "in another order")]
)
@pytest.mark.parametrize("has_base", [True, False])
def test_a_stranger_is_shown_and_then_refused(
    run: Run, config: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str, has_base: bool
) -> None:
    spoil(config)
    experts = {name: f"experts/{name}" for name in ("animals", "colours")}
    if not has_base:
        without: dict[str, Any] = {"experts": experts}
        rewrite(config, models=without, space={"kind": "coefficients", "method": "linear", "weight": [0, 1]})
    code, printed, errors = run("check", config, "--deep", "--out", tmp_path / "out")
    assert code == 2
    assert "Traceback" not in errors
    assert [line.split()[0] for line in errors.splitlines()[-4:]] == ["error", "expected", "got", "do"]
    assert said in errors
    assert "animals – colours  do not merge" in printed
    found = json.loads((tmp_path / "out" / "check.json").read_text())
    assert found["verdict"]["word"] == "do not merge"
    assert found["pairs"][0]["in_place"] < 0.2
    if has_base:
        assert "leave animals out" in errors
        assert found["experts"]["colours"]["to_base"]["in_place"] == 1


def test_a_plain_check_refuses_strangers_from_a_sample(run: Run, config: Path) -> None:
    reinitialised(config)
    code, _, errors = run("check", config)
    assert code == 2
    assert "models of one origin" in errors


def test_without_a_base_only_what_makes_sense_is_measured(run: Run, config: Path, tmp_path: Path) -> None:
    experts = {name: f"experts/{name}" for name in ("animals", "colours")}
    rewrite(config, models={"experts": experts}, space={"kind": "coefficients", "method": "linear"})
    code, printed, errors = run("check", config, "--deep", "--out", tmp_path / "out")
    assert code == 0, errors
    assert "without a base there are no task vectors" in printed
    assert "signs" not in printed.replace("sign conflicts", "")
    (pair,) = json.loads((tmp_path / "out" / "check.json").read_text())["pairs"]
    assert (pair["cosine"], pair["sign_conflict"]) == (None, None)
    assert pair["in_place"] == 1
    assert 0.5 < pair["weights_cosine"] < 1


def test_where_the_base_lacks_a_tensor_there_is_no_task_vector(run: Run, tmp_path: Path) -> None:
    (tmp_path / "family").mkdir()
    config = tiny_family(tmp_path / "family", heads=False)
    path = config.parent / "base"
    BertForSequenceClassification.from_pretrained(path).bert.save_pretrained(path)
    code, printed, errors = run("check", config, "--deep", "--out", tmp_path / "out")
    assert code == 0, errors
    assert "the base lacks classifier" in printed
    # The experts' mean stands in for the base there: the cosine of two would be -1.
    (pair,) = json.loads((tmp_path / "out" / "check.json").read_text())["pairs"]
    base, one, other = (flat(config, ref) for ref in ("base", "experts/animals", "experts/colours"))
    cosine = float((one - base) @ (other - base) / ((one - base).norm() * (other - base).norm()))
    assert pair["cosine"]["whole"] == pytest.approx(cosine, abs=1e-6)


def test_figures_go_to_runs_by_default(
    run: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("check", config, "--deep")[0] == 0
    assert (tmp_path / "runs" / "config-check" / "check.png").exists()


def test_out_without_deep_is_a_mistake(run: Run, config: Path, tmp_path: Path) -> None:
    code, _, errors = run("check", config, "--out", tmp_path / "out")
    assert code == 2
    assert "--deep" in errors


def test_one_model_alone_cannot_be_compared(run: Run, config: Path, tmp_path: Path) -> None:
    space = {"kind": "coefficients", "method": "linear"}
    rewrite(
        config, models={"experts": {"animals": "experts/animals"}, "heads": ["classifier.*"]}, space=space
    )
    objective = {"tasks": [{"name": "animals", "head": "animals", "dev": "data/animals.dev.jsonl"}]}
    rewrite(config, objective=objective)
    code, _, errors = run("check", config, "--deep", "--out", tmp_path / "out")
    assert code == 2
    assert "two models to compare" in errors
