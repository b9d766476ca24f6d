"""Tasks of several kinds in one objective, and whole runs of models that write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig

from tests.fixtures import Run
from tests.objective.kinds.tiny import (
    ENCODER_DECODERS,
    byte_tokenizer,
    forwards,
    objective,
    tiny,
    tokenizer_for,
    word_tokenizer,
)
from tests.objective.making import random_texts, write


def tasks(folder: Path) -> list[dict[str, Any]]:
    """One of each kind that asks a model which writes."""
    texts, prompts = random_texts(12), random_texts(12, longest=6, seed=3)
    rows = [
        {
            "text": f" {text}",
            "prompt": prompt,
            "answer": f"{n} w1",
            "choices": [" w1", " w2 w3"],
            "label": n % 2,
        }
        for n, (text, prompt) in enumerate(zip(texts, prompts, strict=True))
    ]
    data = {"dev": write(folder / "dev.jsonl", rows), "test": write(folder / "test.jsonl", rows[::-1])}
    return [
        {"name": "loss", "kind": "language-modeling", "prompt": "prompt", **data},
        {"name": "choice", "kind": "multiple-choice", **data},
        {
            "name": "rouge",
            "kind": "generation",
            "metric": "rouge_l",
            "max_new_tokens": 6,
            "weight": 2,
            **data,
        },
        {"name": "exact", "kind": "generation", "max_new_tokens": 6, **data},
    ]


def test_kinds_together_are_one_score(tmp_path: Path) -> None:
    tokenizer, model, given = word_tokenizer(), tiny("llama"), tasks(tmp_path)
    whole = objective(tokenizer, *given)({"merged": model})
    alone = {
        task["name"]: objective(tokenizer, task)({"merged": model}).metrics[task["name"]] for task in given
    }
    assert whole.metrics == alone
    assert 0 < alone["rouge"] < 1
    expected = (-alone["loss"] + alone["choice"] + 2 * alone["rouge"] + alone["exact"]) / 5
    assert whole.score == pytest.approx(expected)
    # And with a floor below it, batch by batch.
    above = objective(tokenizer, *given).above({"merged": model}, whole.score - 1e-9)
    assert above is not None
    assert above.metrics == pytest.approx(whole.metrics, abs=1e-12)
    assert objective(tokenizer, *given).above({"merged": model}, whole.score + 1e-9) is None


def calls(tokenizer: Any, model: Any, given: Sequence[dict[str, Any]]) -> int:
    judge = objective(tokenizer, *given)
    return forwards(model, lambda: judge({"merged": model}))


def test_tasks_that_ask_the_same_forward_once(tmp_path: Path) -> None:
    tokenizer, model = word_tokenizer(), tiny("gpt2")
    loss, choice, rouge, exact = tasks(tmp_path)
    once = calls(tokenizer, model, [rouge])
    assert calls(tokenizer, model, [rouge, exact]) == once == calls(tokenizer, model, [exact])
    assert calls(tokenizer, model, [rouge, {**exact, "max_new_tokens": 7}]) > once
    assert calls(tokenizer, model, [rouge, {**exact, "stop": "w"}]) > once
    surprise = {**loss, "name": "surprise", "metric": "perplexity"}
    assert calls(tokenizer, model, [loss, surprise]) == calls(tokenizer, model, [loss])
    other = {**choice, "name": "other", "normalise": "characters"}
    assert calls(tokenizer, model, [choice, other]) == calls(tokenizer, model, [choice])


# Whole runs.

SETTINGS = {
    "eos_token_id": [3, 7],
    "pad_token_id": 0,
    "do_sample": True,
    "temperature": 0.7,
    "repetition_penalty": 1.3,
}


def family(folder: Path, kind: str) -> Path:
    """A base and two experts that write, their settings of generation beside them, and a config."""
    tokenizer = tokenizer_for(kind)
    settings = GenerationConfig(
        **SETTINGS, **({"decoder_start_token_id": 0} if kind in ENCODER_DECODERS else {})
    )
    for seed, name in enumerate(("base", "a", "b")):
        model = tiny(kind)
        with torch.no_grad():
            for parameter in model.parameters():
                noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
                parameter.add_(noise, alpha=0.05 * seed)
        model.generation_config = settings
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    content = {
        "models": {"base": "base", "experts": {"a": "a", "b": "b"}},
        "space": {"kind": "coefficients", "method": "task_arithmetic", "weight": [0.0, 1.0]},
        "strategy": {"kind": "random"},
        "objective": {"tasks": tasks(folder), "precision": "float32"},
        "budget": {"evaluations": 5},
        "baselines": ["experts", "average"],
        "device": "cpu",
        "threads": 1,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    return folder / "config.yaml"


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_a_run_of_models_that_write(run: Run, tmp_path: Path, kind: str) -> None:
    config, out = family(tmp_path, kind), tmp_path / "out"
    code, _, errors = run("optimize", config, "--out", out)
    assert code == 0, errors
    result = json.loads((out / "result.json").read_text())
    code, _, errors = run("merge", config, "--out", tmp_path / "merged")
    assert code == 0, errors
    auto: Any = AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM
    for folder in (out / "model", tmp_path / "merged"):
        saved = json.loads((folder / "generation_config.json").read_text())
        assert {name: saved[name] for name in SETTINGS} == SETTINGS
    # What was exported scores what the search said.
    model = auto.from_pretrained(out / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(out / "model")
    judge = objective(tokenizer, *tasks(tmp_path), encoder_decoder=kind == "t5")
    found = judge({"merged": model})
    said = {name: task["value"] for name, task in result["best"]["dev"]["tasks"].items()}
    assert found.metrics == pytest.approx(said, abs=1e-4)


@pytest.mark.parametrize("left", [0, 2, 5])
def test_cut_off_and_resumed_a_run_is_the_same(run: Run, tmp_path: Path, left: int) -> None:
    """Outcomes of several numbers an example go through the journal."""
    config, out = family(tmp_path, "llama"), tmp_path / "out"
    assert run("optimize", config, "--out", out)[0] == 0
    whole = json.loads((out / "result.json").read_text())
    lines = (out / "journal.jsonl").read_text().splitlines(keepends=True)
    (out / "journal.jsonl").write_text("".join(lines[: left + 1]))
    code, _, errors = run("optimize", config, "--out", out, "--resume")
    assert code == 0, errors
    assert json.loads((out / "result.json").read_text())["best"] == whole["best"]
    again = (out / "journal.jsonl").read_text().splitlines(keepends=True)
    assert again[0] == lines[0]
    before, after = ([line[: line.rindex('"seconds"')] for line in journal[1:]] for journal in (lines, again))
    assert after == before


def test_a_byte_tokenizer_goes_along(tmp_path: Path) -> None:
    """The metrics of words, on tokens that are parts of them."""
    model = tiny("gpt2", vocabulary=len(byte_tokenizer()))
    evaluation = objective(byte_tokenizer(), *tasks(tmp_path))({"merged": model})
    assert np.isfinite(evaluation.score)
