"""Two classifiers of one task that learned other labels, trained for seconds, merged by the labels' names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from searchmerge import merge
from searchmerge.bench import Bench
from searchmerge.check import check
from searchmerge.config import Config, load
from searchmerge.evaluate import evaluate
from searchmerge.optimize import header, optimize
from searchmerge.types import UserError, default_genotype
from tests.fixtures import WORDS, tiny_bert, tiny_tokenizer
from tests.sources.zoo import configure

LABELS = {"reviews": ("joy", "anger", "fear"), "tweets": ("anger", "joy", "calm")}
UNION = ("joy", "anger", "fear", "calm")


def texts(labels: Sequence[str], count: int, seed: int) -> list[tuple[str, str]]:
    """Texts with two of their label's six words among words of no label, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number in range(count):
        label = labels[number % len(labels)]
        own = WORDS[6 * UNION.index(label) :][:6]
        words = [own[i] for i in torch.randint(6, (2,), generator=generator).tolist()]
        words += [WORDS[24 + i] for i in torch.randint(36, (4,), generator=generator).tolist()]
        order = torch.randperm(6, generator=generator).tolist()
        found.append((" ".join(words[i] for i in order), label))
    return found


def train(model: Any, tokenizer: Any, labels: Sequence[str], seed: int) -> Any:
    """Fine-tune a classifier on texts of its labels."""
    examples = texts(labels, 240, seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for start in list(range(0, 240, 24)) * 6:
        batch = examples[start : start + 24]
        inputs = tokenizer([text for text, _ in batch], padding=True, return_tensors="pt")
        loss = model(**inputs, labels=torch.tensor([labels.index(label) for _, label in batch])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained models ``base``, ``reviews`` and ``tweets``; ``dev.jsonl`` and ``test.jsonl`` have all labels.

    The base has seen such texts, and what becomes of its head is nobody's; each expert's head starts anew.
    """
    folder = tmp_path_factory.mktemp("trained")
    tokenizer = tiny_tokenizer(folder / "base")
    base = train(tiny_bert(folder / "start", UNION, 0), tokenizer, UNION, 0)
    base.bert.save_pretrained(folder / "base")
    for seed, (name, labels) in enumerate(LABELS.items(), start=1):
        model = tiny_bert(folder / "start", labels, seed)
        model.bert.load_state_dict(base.bert.state_dict())
        train(model, tokenizer, labels, seed).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    for seed, split in enumerate(("dev", "test"), start=10):
        rows = [json.dumps({"text": text, "label": label}) for text, label in texts(UNION, 120, seed)]
        (folder / f"{split}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return folder


def config_of(folder: Path, *first: Any, dev: str = "dev.jsonl", tweets: str = "tweets") -> Config:
    """A config of the two experts with a task of the merged head, after other tasks if they are given."""
    merged = {"name": "feelings", "dev": dev, "test": "test.jsonl"}
    content = {
        "models": {"base": "base", "experts": {"reviews": "reviews", "tweets": tweets}},
        "space": {"kind": "coefficients", "method": "ties"},
        "strategy": {"kind": "random"},
        "objective": {"tasks": [*first, merged], "precision": "float32"},
        "budget": {"evaluations": 6},
        "device": "cpu",
        "threads": 1,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return load(path)


def only(folder: Path, labels: Sequence[str]) -> str:
    """The dev texts of those labels alone, in a file of their own."""
    rows = (folder / "dev.jsonl").read_text().splitlines()
    kept = [row for row in rows if json.loads(row)["label"] in labels]
    (folder / "some.jsonl").write_text("\n".join(kept), encoding="utf-8")
    return "some.jsonl"


def accuracy(folder: Path, path: Path) -> tuple[float, Mapping[int, str]]:
    """What plain transformers score, text by text, and the labels of the model."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [json.loads(row) for row in path.read_text().splitlines()]
    right = 0
    for row in rows:
        with torch.inference_mode():
            logits = model(**tokenizer(row["text"], return_tensors="pt")).logits
        right += model.config.id2label[int(logits.argmax())] == row["label"]
    return right / len(rows), model.config.id2label


def test_matched_by_name_the_merge_knows_what_matched_by_place_it_does_not(trained: Path) -> None:
    dev = only(trained, ("joy", "anger"))  # what both experts learned
    by_name = Bench(config_of(trained, dev=dev))
    score = by_name.evaluate(by_name.space.decode(default_genotype(by_name.space.dims))).score
    # The same weights, their labels called as the first expert's in the same places.
    wrong = AutoModelForSequenceClassification.from_pretrained(trained / "tweets")
    wrong.save_pretrained(trained / "wrong")
    names = dict(enumerate(LABELS["reviews"]))
    configure(trained / "wrong", id2label=names, label2id={label: place for place, label in names.items()})
    by_place = Bench(config_of(trained, dev=dev, tweets="wrong"))
    assert by_place.sources.alignment is None
    naive = by_place.evaluate(by_place.space.decode(default_genotype(by_place.space.dims))).score
    assert score > naive + 0.2


def test_a_search_leaves_a_model_of_all_labels_that_scores_what_it_said(
    trained: Path, tmp_path: Path
) -> None:
    config, out = config_of(trained), tmp_path / "out"
    result = optimize(config, out, resume=False, watch=lambda *_: None, say=lambda _: None)
    best = result["best"]
    assert best["dev"]["score"] > 0.75, "more than an expert's three labels of four can give"
    for split in ("dev", "test"):
        found, labels = accuracy(out / "model", trained / f"{split}.jsonl")
        assert found == pytest.approx(best[split]["score"])
        assert dict(labels) == dict(enumerate(UNION))
        assert evaluate(str(out / "model"), config, split)["score"] == pytest.approx(best[split]["score"])
    assert not (out / "model" / "heads").exists()
    card = (out / "model" / "README.md").read_text()
    assert "- reviews: joy, anger, fear\n- tweets: anger, joy, calm\n" in card

    merge.from_recipe(out / "recipe.json", tmp_path / "again", allow_pickle=False, trust_remote_code=False)
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (out / "model" / name).read_bytes()


def test_a_recipe_and_a_journal_are_of_their_labels(trained: Path, tmp_path: Path) -> None:
    config = config_of(trained)
    before = header(Bench(config))
    merge.from_config(config, tmp_path / "model")
    optimize(config, tmp_path / "out", resume=False, watch=lambda *_: None, say=lambda _: None)
    settings = (trained / "tweets" / "config.json").read_text()
    turned = {0: "joy", 1: "anger", 2: "calm"}
    try:
        configure(
            trained / "tweets", id2label=turned, label2id={label: place for place, label in turned.items()}
        )
        assert header(Bench(config)) != before
        with pytest.raises(UserError, match="the labels that the recipe was found with") as refusal:
            merge.from_recipe(
                tmp_path / "out" / "recipe.json",
                tmp_path / "again",
                allow_pickle=False,
                trust_remote_code=False,
            )
        assert "'tweets': ['joy', 'anger', 'calm']" in refusal.value.got
    finally:
        (trained / "tweets" / "config.json").write_text(settings)
    assert header(Bench(config)) == before


def test_check_says_how_the_heads_were_matched(trained: Path) -> None:
    facts = list(check(Bench(config_of(trained))))
    said = "joy, anger from reviews and tweets; fear from reviews only; calm from tweets only"
    assert ("note", f"head: 4 labels, matched by name: {said}") in facts
    assert ("task feelings", "dev: 120 examples, 4 labels; accuracy") in facts


def test_an_experts_own_head_and_the_merged_one_are_exported_side_by_side(
    trained: Path, tmp_path: Path
) -> None:
    own = {"name": "own", "head": "tweets", "dev": only(trained, LABELS["tweets"])}
    config = config_of(trained, own)
    bench = Bench(config)
    scored = bench.evaluate(bench.space.decode(default_genotype(bench.space.dims)))
    merge.from_config(config, tmp_path / "model")
    assert accuracy(tmp_path / "model", trained / "dev.jsonl")[0] == pytest.approx(scored.metrics["feelings"])
    found = evaluate(str(tmp_path / "model"), config, "dev")["tasks"]
    assert {name: task["value"] for name, task in found.items()} == pytest.approx(scored.metrics)
    assert [path.name for path in (tmp_path / "model" / "heads").iterdir()] == ["own.safetensors"]
    assert "the model carries the merged one" in (tmp_path / "model" / "README.md").read_text()
