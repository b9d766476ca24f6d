"""A tiny random BERT goes through the whole training, once, reproducibly, and whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from searchmerge.demo import experts
from searchmerge.demo.classifying import CLASSIFIER, make_base
from searchmerge.demo.experts import MARK, train
from searchmerge.demo.training import Recipe
from tests.demo.making import tiny_encoder

RECIPE = Recipe(epochs=1.0, batch=4)
LABELS = ["acq", "earn", "trade"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "shares", "buys", "tariff", "the", "of"]
    return tiny_encoder(folder, words, layers=2)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    words = ["shares of the", "buys", "tariff the"]
    rows = [
        {"text": f"{words[i % 3]} {words[i % 3]}", "label": ["earn", "acq", "trade"][i % 3]}
        for i in range(24)
    ]
    path = tmp_path / "topic.train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


class Steps:
    """Counts the progress calls."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def __call__(self, done: int, steps: int) -> None:
        self.seen.append((done, steps))


def test_an_expert_is_a_plain_folder_that_was_trained_and_is_kept(
    source: Path, data: Path, tmp_path: Path
) -> None:
    base, out, steps = tmp_path / "base", tmp_path / "experts" / "topic", Steps()
    make_base(source, base, labels=None)
    train(CLASSIFIER, base, data, out, steps, RECIPE)
    assert steps.seen == [(step, 6) for step in range(1, 7)]
    model = AutoModelForSequenceClassification.from_pretrained(out)
    assert model.config.id2label == dict(enumerate(LABELS))
    assert model.config.label2id == {label: number for number, label in enumerate(LABELS)}
    assert AutoTokenizer.from_pretrained(out)("buys")["input_ids"] == [2, 6, 3]
    assert json.loads((out / "tokenizer.json").read_text("utf-8"))["truncation"] is None
    before, after = load_file(base / "model.safetensors"), load_file(out / "model.safetensors")
    assert {f"bert.{name}" for name in before} == {
        name for name in after if not name.startswith("classifier.")
    }
    assert any(not torch.equal(before[name], after[f"bert.{name}"]) for name in before)
    train(CLASSIFIER, base, data, out, steps, RECIPE)
    assert len(steps.seen) == 6
    assert not list(out.parent.glob(".*"))


def test_the_head_is_fitted_first_and_leaves_the_body_alone(source: Path, data: Path, tmp_path: Path) -> None:
    make_base(source, tmp_path / "base", labels=LABELS)
    for out, steps in (("fitted", 300), ("unfitted", 0)):
        recipe = Recipe(head_steps=steps, epochs=1.0, batch=4, rate=1e-9)
        train(CLASSIFIER, tmp_path / "base", data, tmp_path / out, Steps(), recipe)
    fitted, unfitted = (load_file(tmp_path / out / "model.safetensors") for out in ("fitted", "unfitted"))
    changed = {name for name in fitted if not torch.allclose(fitted[name], unfitted[name], atol=1e-6)}
    assert changed == {"classifier.weight", "classifier.bias"}


def test_training_lowers_the_loss(source: Path, data: Path, tmp_path: Path) -> None:
    make_base(source, tmp_path / "base", labels=None)
    train(
        CLASSIFIER,
        tmp_path / "base",
        data,
        tmp_path / "out",
        Steps(),
        Recipe(epochs=40.0, batch=8, rate=2e-2),
    )
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    with torch.inference_mode():
        logits = model(
            **tokenizer(["buys buys", "tariff the tariff the"], return_tensors="pt", padding=True)
        ).logits
    assert logits.argmax(-1).tolist() == [LABELS.index("acq"), LABELS.index("trade")]


def test_the_weights_are_seeded_and_the_global_generator_is_left_alone(
    source: Path, data: Path, tmp_path: Path
) -> None:
    make_base(source, tmp_path / "base", labels=None)
    with torch.random.fork_rng(devices=[]):
        for number, out in enumerate("ab"):
            torch.manual_seed(number)
            expected = torch.get_rng_state()
            train(CLASSIFIER, tmp_path / "base", data, tmp_path / out, Steps(), RECIPE)
            assert torch.equal(torch.get_rng_state(), expected)
    first, second = (load_file(tmp_path / out / "model.safetensors") for out in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("change", ["recipe", "data"])
def test_an_expert_made_from_other_things_is_trained_anew(
    source: Path, data: Path, tmp_path: Path, change: str
) -> None:
    make_base(source, tmp_path / "base", labels=None)
    steps = Steps()
    train(CLASSIFIER, tmp_path / "base", data, tmp_path / "out", steps, RECIPE)
    if change == "data":
        data.write_text(data.read_text("utf-8").replace("buys", "shares"), "utf-8")
    other = Recipe(epochs=1.0, batch=4, rate=1e-3) if change == "recipe" else RECIPE
    train(CLASSIFIER, tmp_path / "base", data, tmp_path / "out", steps, other)
    assert len(steps.seen) == 12


def test_a_half_written_expert_is_not_taken(
    source: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    make_base(source, tmp_path / "base", labels=None)

    def disk_full(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(experts, "write_json", disk_full)
        with pytest.raises(Exception, match="disk full"):
            train(CLASSIFIER, tmp_path / "base", data, out, Steps(), RECIPE)
    assert not out.exists()
    out.mkdir()
    (out / "model.safetensors").write_bytes(b"torn")
    train(CLASSIFIER, tmp_path / "base", data, out, Steps(), RECIPE)
    assert (out / MARK).is_file()
    assert load_file(out / "model.safetensors")


def test_experts_of_a_base_with_a_head_start_from_that_head(source: Path, data: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    make_base(source, base, labels=LABELS)
    head = load_file(base / "model.safetensors")["classifier.weight"]
    assert head.shape == (3, 16)
    train(
        CLASSIFIER,
        base,
        data,
        tmp_path / "out",
        Steps(),
        Recipe(head_steps=0, epochs=1.0, batch=4, rate=1e-9),
    )
    trained = load_file(tmp_path / "out" / "model.safetensors")["classifier.weight"]
    assert torch.allclose(trained, head, atol=1e-6)
