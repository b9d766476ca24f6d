from __future__ import annotations

import json
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from searchmerge.objective import METRICS
from tests.family import rewrite, tiny_family
from tests.fixtures import Run, tiny_bert


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tiny_family(tmp_path)


def section(config: Path, name: str) -> Any:
    return yaml.safe_load(config.read_text())[name]


# What a run leaves behind.


def test_optimize_leaves_the_contracts_files(run: Run, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, errors = run("optimize", config, "--out", out)
    assert code == 0, errors
    assert {path.name for path in out.iterdir()} == {
        "journal.jsonl",
        "recipe.json",
        "model",
        "result.json",
        "report.html",
    }
    result = json.loads((out / "result.json").read_text())
    assert result["evaluations"] == 12
    trials = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()[1:]]
    best = max(trials, key=lambda trial: trial["score"])
    assert result["best"]["trial"] == best["number"]
    assert result["best"]["dev"]["score"] == best["score"]
    assert set(result["baselines"]) == {
        "expert animals",
        "expert colours",
        "mean of the experts",
        "best expert",
        "own experts",
        "ensemble",
        "average",
        "greedy soup",
        "dare_linear",
        "tuned task arithmetic",
        "ties",
    }
    for entry in [result["best"], *result["baselines"].values()]:
        for split in ("dev", "test"):
            assert entry[split]["low"] <= entry[split]["score"] <= entry[split]["high"]


def test_the_exported_model_scores_what_the_search_said(run: Run, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("optimize", config, "--out", out)
    result = json.loads((out / "result.json").read_text())
    model = AutoModelForSequenceClassification.from_pretrained(out / "model")
    tokenizer = AutoTokenizer.from_pretrained(out / "model")
    rows = [json.loads(line) for line in (tmp_path / "data" / "animals.test.jsonl").read_text().splitlines()]
    with torch.inference_mode():
        logits = model(**tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")).logits
    found = [model.config.id2label[i] for i in logits.argmax(-1).tolist()]
    accuracy = sum(f == row["label"] for f, row in zip(found, rows, strict=True)) / len(rows)
    assert accuracy == pytest.approx(result["best"]["test"]["tasks"]["animals"]["value"])
    heads = {path.name for path in (out / "model" / "heads").iterdir()}
    assert heads == {"animals.safetensors", "colours.safetensors"}


@pytest.mark.parametrize("split", ["dev", "test"])
def test_evaluate_finds_the_scores_of_the_result(run: Run, config: Path, tmp_path: Path, split: str) -> None:
    out = tmp_path / "out"
    run("optimize", config, "--out", out)
    code, printed, errors = run("evaluate", out / "model", config, "--split", split)
    assert code == 0, errors
    best = json.loads((out / "result.json").read_text())["best"][split]
    for value in (best["score"], *(task["value"] for task in best["tasks"].values())):
        assert f"{value:.3f}".lstrip("0") in printed


def test_the_winner_is_made_again_from_its_recipe_to_the_bit(run: Run, config: Path, tmp_path: Path) -> None:
    out, again = tmp_path / "out", tmp_path / "again"
    run("optimize", config, "--out", out)
    code, _, errors = run("merge", out / "recipe.json", "--out", again)
    assert code == 0, errors
    for name in (
        "model.safetensors",
        "heads/animals.safetensors",
        "heads/colours.safetensors",
        "config.json",
    ):
        assert (again / name).read_bytes() == (out / "model" / name).read_bytes()


def test_a_config_with_fixed_knobs_is_a_plain_merge(run: Run, config: Path, tmp_path: Path) -> None:
    rewrite(config, space={"kind": "coefficients", "method": "linear"})
    code, _, errors = run("merge", config, "--out", tmp_path / "merged")
    assert code == 0, errors
    found = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").bert.state_dict()
    experts = [
        AutoModelForSequenceClassification.from_pretrained(path).bert.state_dict()
        for path in sorted((tmp_path / "experts").iterdir())
    ]
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, (experts[0][name] + experts[1][name]) / 2)


def test_a_finished_run_resumes_to_the_same_result(run: Run, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("optimize", config, "--out", out)
    before = (out / "journal.jsonl").read_bytes()
    code, _, errors = run("optimize", config, "--out", out, "--resume")
    assert code == 0, errors
    assert (out / "journal.jsonl").read_bytes() == before


def test_the_test_split_is_not_opened_before_the_search_has_ended(
    run: Run, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "data" / "animals.test.jsonl").write_text("this is no JSON\n")
    code, _, errors = run("optimize", config, "--out", tmp_path / "out")
    assert code == 2
    assert "animals.test.jsonl" in errors
    assert len((tmp_path / "out" / "journal.jsonl").read_text().splitlines()) == 1 + 12


def test_without_a_test_split_dev_alone_is_reported(run: Run, config: Path, tmp_path: Path) -> None:
    objective = section(config, "objective")
    for task in objective["tasks"]:
        del task["test"]
    rewrite(config, objective=objective)
    code, _, errors = run("optimize", config, "--out", tmp_path / "out")
    assert code == 0, errors
    assert json.loads((tmp_path / "out" / "result.json").read_text())["best"]["test"] is None


def test_a_merged_head_needs_no_head_of_its_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "merged").mkdir()
    config = tiny_family(tmp_path / "merged", heads=False)
    code, _, errors = run("optimize", config, "--out", tmp_path / "out")
    assert code == 0, errors
    assert not (tmp_path / "out" / "model" / "heads").exists()


def test_check_reads_no_weight_and_says_what_it_found(run: Run, config: Path, tmp_path: Path) -> None:
    weights = tmp_path / "experts" / "animals" / "model.safetensors"
    code, printed, errors = run("check", config)
    assert code == 0, errors
    assert "8 dimensions" in printed
    assert "dev: 24 examples, 3 labels; accuracy" in printed
    assert "GiB" in printed
    assert weights.exists()


@pytest.mark.parametrize("what", ["strategies", "spaces", "methods", "metrics"])
def test_list(run: Run, what: str) -> None:
    code, printed, _ = run("list", what)
    assert code == 0
    assert all(len(line.split(maxsplit=1)) == 2 for line in printed.splitlines())
    assert printed


def test_metrics_are_listed_by_the_kind_of_task(run: Run) -> None:
    _, printed, _ = run("list", "metrics")
    listed = dict(line.split(maxsplit=1) for line in printed.splitlines())
    assert list(listed) == list(METRICS)
    assert listed["single-label"] == "accuracy, f1, macro_f1, matthews"
    assert listed["language-modeling"] == "loss (lower is better), perplexity (lower is better)"


def test_baselines_without_a_search(run: Run, config: Path) -> None:
    code, printed, errors = run("baselines", config)
    assert code == 0, errors
    assert "average" in printed
    assert "searched" not in printed
    assert "No candidate" not in printed


def test_ctrl_c_ends_cleanly_and_names_the_command_that_resumes(config: Path, tmp_path: Path) -> None:
    rewrite(config, budget={"evaluations": 150}, baselines=[])
    out = tmp_path / "out"
    journal = out / "journal.jsonl"
    command = ["optimize", str(config), "--out", str(out)]
    running = subprocess.Popen(
        [sys.executable, "-m", "searchmerge", *command],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background job ignores interrupts, and what it starts does too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 5) and running.poll() is None:
        time.sleep(0.005)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130, errors
    assert "Traceback" not in errors
    assert 5 < journal.read_bytes().count(b"\n") < 151
    named = shlex.split(errors.splitlines()[-1])
    assert named == ["searchmerge", *command, "--resume"]
    subprocess.run([sys.executable, "-m", *named], check=True, capture_output=True)
    assert journal.read_bytes().count(b"\n") == 151


# What is wrong is said in three parts, with exit code 2.


def experts(config: Path) -> Path:
    return config.parent / "experts"


def truncated(config: Path) -> None:
    path = experts(config) / "animals" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def corrupt(config: Path) -> None:
    path = experts(config) / "animals" / "model.safetensors"
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])


def other_shape(config: Path) -> None:
    path = experts(config) / "animals"
    model = AutoModelForSequenceClassification.from_pretrained(path)
    model.config.intermediate_size = 48
    type(model)(model.config).save_pretrained(path)


def other_architecture(config: Path) -> None:
    path = experts(config) / "animals"
    GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2)).save_pretrained(path)


def nan_weights(config: Path) -> None:
    path = experts(config) / "animals"
    model = AutoModelForSequenceClassification.from_pretrained(path)
    model.bert.pooler.dense.bias.data[0] = torch.nan
    model.save_pretrained(path)


def pickle_only(config: Path) -> None:
    path = experts(config) / "animals"
    model = AutoModelForSequenceClassification.from_pretrained(path)
    (path / "model.safetensors").unlink()
    torch.save(model.state_dict(), path / "pytorch_model.bin")


def remote_code(config: Path) -> None:
    path = experts(config) / "animals" / "config.json"
    content = json.loads(path.read_text())
    content.update(model_type="homemade", auto_map={"AutoModel": "modeling_homemade.Homemade"})
    path.write_text(json.dumps(content))


def unrelated(config: Path) -> None:
    tiny_bert(experts(config) / "animals", ("cat", "dog"), seed=99)


def data(text: str) -> Callable[[Path], None]:
    def write(config: Path) -> None:
        (config.parent / "data" / "animals.dev.jsonl").write_text(text)

    return write


def no_dev(config: Path) -> None:
    objective = section(config, "objective")
    del objective["tasks"][0]["dev"]
    rewrite(config, objective=objective)


def changed(name: str, **values: Any) -> Callable[[Path], None]:
    def write(config: Path) -> None:
        rewrite(config, **{name: {**section(config, name), **values}})

    return write


MISTAKES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no such expert": (
        changed("models", experts={"animals": "./nowhere", "colours": "experts/colours"}),
        "nowhere",
    ),
    "no such base": (changed("models", base="./nowhere"), "nowhere"),
    "truncated safetensors": (truncated, "model.safetensors"),
    "corrupt safetensors": (corrupt, "model.safetensors"),
    "another shape": (other_shape, "intermediate_size"),
    "another architecture": (other_architecture, "gpt2"),
    "an unrelated expert": (unrelated, "base"),
    "NaN weights": (nan_weights, "pooler.dense.bias"),
    "pickle only": (pickle_only, "allow_pickle"),
    "remote code": (remote_code, "trust_remote_code"),
    "unknown key": (changed("objective", taks=[]), "taks"),
    "bad range": (changed("space", weight=[1.0, 0.0]), "low < high"),
    "unknown method": (changed("space", method="frankenmerge"), "frankenmerge"),
    "unknown space": (changed("space", kind="hyperspace"), "coefficients"),
    "unknown strategy": (changed("strategy", kind="guesswork"), "cmaes"),
    "unknown option": (changed("strategy", kind="de", popsize=3), "popsize"),
    "bad option": (changed("strategy", kind="de", population=1), "population"),
    "unknown optimizer": (changed("strategy", kind="nevergrad", optimizer="Nope"), "Nope"),
    "a base is needed": (changed("models", base=None), "base"),
    "empty data": (data(""), "animals.dev.jsonl"),
    "malformed data": (data('{"text": "w1", "label": "cat"}\n{"text": \n'), "2"),
    "no label": (data('{"text": "w1", "lable": "cat"}\n'), "label"),
    "label outside the head": (data('{"text": "w1", "label": "cow"}\n'), "cow"),
    "label number outside the head": (data('{"text": "w1", "label": 7}\n'), "7"),
    "no text": (data('{"text": 3, "label": "cat"}\n'), "text"),
    "no dev split": (no_dev, "dev"),
    "budget 0": (changed("budget", evaluations=0), "budget.evaluations"),
    "no such config": (Path.unlink, "config.yaml"),
}
if not torch.cuda.is_available():
    MISTAKES["no such device"] = (lambda config: rewrite(config, device="cuda"), "CUDA")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_message_and_exit_code_2(
    run: Run, config: Path, tmp_path: Path, mistake: str
) -> None:
    spoil, said = MISTAKES[mistake]
    spoil(config)
    code, _, errors = run("optimize", config, "--out", tmp_path / "out")
    assert code == 2
    assert said in errors
    assert "Traceback" not in errors
    assert [line.split()[0] for line in errors.splitlines()[-4:] if line.strip()] == [
        "error",
        "expected",
        "got",
        "do",
    ]


def test_an_output_folder_that_cannot_be_written_is_refused(run: Run, config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, errors = run("optimize", config, "--out", tmp_path / "file" / "out")
    assert code == 2
    assert "Not a directory" in errors


def test_a_full_disk_loses_nothing(config: Path, tmp_path: Path, run: Run) -> None:
    command = [sys.executable, "-m", "searchmerge", "optimize", str(config), "--out", str(tmp_path / "out")]
    full = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)),
    )
    assert full.returncode == 2, full.stderr
    assert "journal.jsonl" in full.stderr
    journal = (tmp_path / "out" / "journal.jsonl").read_bytes()
    assert journal.endswith(b"\n")
    assert run("optimize", config, "--out", tmp_path / "out", "--resume")[0] == 0
    assert (tmp_path / "out" / "journal.jsonl").read_bytes().startswith(journal)


def test_another_runs_folder_is_refused_and_untouched(run: Run, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("optimize", config, "--out", out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for words in (("--seed", "1", "--resume"), (), ("--strategy", "de", "--resume")):
        code, _, errors = run("optimize", config, "--out", out, *words)
        assert code == 2
        assert "--out" in errors
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_recipe_whose_source_has_changed_is_refused(run: Run, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("optimize", config, "--out", out)
    model = AutoModelForSequenceClassification.from_pretrained(experts(config) / "animals")
    model.bert.pooler.dense.bias.data[0] += 1
    model.save_pretrained(experts(config) / "animals")
    code, _, errors = run("merge", out / "recipe.json", "--out", tmp_path / "again")
    assert code == 2
    assert "fingerprint" in errors


def test_a_file_that_is_no_recipe_is_refused(run: Run, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"loss": 1}')
    assert run("merge", wrong, "--out", tmp_path / "again")[0] == 2
    assert run("merge", tmp_path / "none.json", "--out", tmp_path / "again")[0] == 2


def test_pickles_are_read_when_allowed(run: Run, config: Path, tmp_path: Path) -> None:
    pickle_only(config)
    code, _, errors = run("optimize", config, "--out", tmp_path / "out", "--allow-pickle")
    assert code == 0, errors
