"""Make the demo's models: a base a case, an expert a task, each kept so that it is made once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from searchmerge.demo.training import Lesson, Progress, Recipe, fine_tune
from searchmerge.files import new_folder, write_json, write_text

Row = Mapping[str, Any]
"""One line of a task's JSON lines."""

MARK = "demo.json"
"""Written last into a finished folder: the digest of everything that it was made from."""


@dataclass(frozen=True)
class Craft:
    """What differs between the kinds of models that the demo trains.

    Args:
        load: the base in float32, ready for the labels that the rows have.
        teach: the rows as lessons of that model, with that tokenizer and at most so many tokens a text.
        prepare: done to the loaded model before all of it is trained.
    """

    load: Callable[[Path, Sequence[Row], Recipe], Any]
    teach: Callable[[Any, Any, Sequence[Row], int], list[Lesson]]
    prepare: Callable[[Any, Sequence[Lesson], Recipe], None] | None = None


def train(
    craft: Craft, base: Path, data: Path, out: Path, progress: Progress, recipe: Recipe | None = None
) -> None:
    """Fine-tune `base` on the rows of `data` (JSON lines) into the Hugging Face folder `out`.

    The same arguments on the same machine give the same weights, and leave torch's global generator alone.
    """
    recipe = recipe or Recipe()
    digest = digest_of(base / "model.safetensors", data, settings=asdict(recipe))
    if finished(out, digest):
        return
    rows = [json.loads(line) for line in data.read_text("utf-8").splitlines()]
    model = craft.load(base, rows, recipe)
    tokenizer = AutoTokenizer.from_pretrained(base)
    lessons = craft.teach(model, tokenizer, rows, recipe.max_length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)  # dropout draws from the global generator, and from no other
        if craft.prepare:
            craft.prepare(model, lessons, recipe)
        fine_tune(model, lessons, recipe, progress)
    # A tokenizer that has cut texts would be saved as one that cuts, hence a fresh one.
    save(
        model, AutoTokenizer.from_pretrained(base), out, digest, card=(base / "README.md").read_text("utf-8")
    )


def save(model: Any, tokenizer: Any, out: Path, digest: str, card: str) -> None:
    """Write the Hugging Face folder `out`, whole or not at all."""
    with new_folder(out) as beside:
        model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
        write_text(beside / "README.md", card)
        write_json(beside / MARK, {"made_from": digest})


def card_of(licence: str, base: str | None = None) -> str:
    """Return the model card of a base; a merged model's card finds the licence there."""
    lines = [f"license: {licence}", *([f"base_model: {base}"] if base else [])]
    return "\n".join(["---", *lines, "---", "", "Made by `searchmerge demo`.", ""])


def digest_of(*files: Path, settings: Mapping[str, Any]) -> str:
    """Return one SHA-256 of all that a folder is made from."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def finished(folder: Path, digest: str) -> bool:
    """Say whether `folder` was made, whole, from what `digest` stands for."""
    mark = folder / MARK
    return mark.is_file() and bool(json.loads(mark.read_text("utf-8"))["made_from"] == digest)


def tenths(what: str, say: Callable[[str], None]) -> Progress:
    """Return a progress that says something ten times in all."""

    def progress(done: int, steps: int) -> None:
        if done * 10 // steps > (done - 1) * 10 // steps:
            say(f"{what}: {done} of {steps} steps")

    return progress
