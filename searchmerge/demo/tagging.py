"""The case `tagging`: MiniLM as a part-of-speech tagger, an expert a genre of the Brown corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, BertForTokenClassification

from searchmerge.demo import brown
from searchmerge.demo.classifying import CARD, with_head
from searchmerge.demo.download import fetch
from searchmerge.demo.experts import Craft, Row, digest_of, finished, save, tenths, train
from searchmerge.demo.sources import BROWN, MINILM
from searchmerge.demo.training import UNSCORED, Lesson, Recipe

RECIPE = Recipe(head_steps=0, max_length=96)
"""No head is fitted first: the base has one, and experts that start from it keep theirs alike."""


def prepare(folder: Path, cache: Path, say: Callable[[str], None]) -> None:
    """Leave the base, the experts and the data of the case in `folder`; see `demo.prepare`."""
    say("fetching the base model and the Brown corpus")
    folders = fetch(cache, [MINILM, BROWN])
    brown.write(folders[BROWN], folder / "data")
    make_base(folders[MINILM], folder / "base")
    for genre in brown.GENRES:
        data, out = folder / "data" / f"{genre}.train.jsonl", folder / "experts" / genre
        train(TAGGER, folder / "base", data, out, tenths(f"fine-tuning the {genre} expert", say), RECIPE)


def make_base(source: Path, out: Path, seed: int = 0) -> None:
    """Write the tagger whose head, drawn at random, all experts start from."""
    digest = digest_of(source / "model.safetensors", settings={"tags": brown.TAGS, "seed": seed})
    if not finished(out, digest):
        model = with_head(BertForTokenClassification, source, brown.TAGS, seed)
        save(model, AutoTokenizer.from_pretrained(source), out, digest, CARD)


def _load(base: Path, _rows: Sequence[Row], recipe: Recipe) -> Any:
    return with_head(BertForTokenClassification, base, brown.TAGS, recipe.seed)


def teach(model: Any, tokenizer: Any, rows: Sequence[Row], max_length: int) -> list[Lesson]:
    """Turn sentences into lessons that score the first piece of each word."""
    words = [row["tokens"] for row in rows]
    encoded = tokenizer(words, is_split_into_words=True, truncation=True, max_length=max_length)
    lessons = []
    for i, row in enumerate(rows):
        owners = encoded.word_ids(i)  # of each piece; none: [CLS] and [SEP]
        targets = [UNSCORED] * len(owners)
        for word, tag in enumerate(row["tags"]):
            if word in owners:  # not cut off
                targets[owners.index(word)] = model.config.label2id[tag]
        lessons.append(Lesson({"input_ids": encoded["input_ids"][i]}, targets))
    return lessons


TAGGER = Craft(_load, teach)
