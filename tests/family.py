"""A tiny family on disk: a base, experts that differ from it by noise, texts, a config that joins them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from tests.fixtures import WORDS, tiny_bert, tiny_tokenizer

LABELS = {"animals": ("cat", "dog"), "colours": ("red", "green", "blue")}


def tiny_family(folder: Path, *, heads: bool = True, seed: int = 0) -> Path:
    """Write ``base``, ``experts/NAME``, ``data/NAME.SPLIT.jsonl`` and ``config.yaml``; return that path.

    Args:
        folder: an empty folder.
        heads: whether each task is scored by its expert's own head (then the label sets differ); else both
            experts have the same labels and the head is merged.
        seed: of weights and texts.
    """
    labels = LABELS if heads else dict.fromkeys(LABELS, ("cat", "dog"))
    base = tiny_bert(folder / "base", labels["animals"], seed)
    tiny_tokenizer(folder / "base")
    (base.bert if heads else base).save_pretrained(folder / "base")
    for number, (name, words) in enumerate(labels.items(), start=1):
        expert = tiny_bert(folder / "experts" / name, words, seed)
        nudge(expert, seed + number)
        expert.save_pretrained(folder / "experts" / name)
        tiny_tokenizer(folder / "experts" / name)
        for offset, split in enumerate(("dev", "test")):
            _texts(folder / "data" / f"{name}.{split}.jsonl", words, seed + 10 * number + offset)
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(_config(heads)), encoding="utf-8")
    return config


def rewrite(config: Path, **sections: Any) -> Path:
    """Replace whole sections of a config file (None removes one)."""
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    content.update(sections)
    content = {key: value for key, value in content.items() if value is not None}
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    return config


def nudge(model: Any, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)


def _texts(path: Path, labels: Sequence[str], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    path.parent.mkdir(exist_ok=True)
    rows = []
    for number in range(24):
        words = torch.randint(len(WORDS), (3 + number % 5,), generator=generator).tolist()
        row = {"text": " ".join(WORDS[word] for word in words), "label": labels[number % len(labels)]}
        rows.append(json.dumps(row))
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def _config(heads: bool) -> Mapping[str, Any]:
    tasks = [
        {
            "name": name,
            "dev": f"data/{name}.dev.jsonl",
            "test": f"data/{name}.test.jsonl",
            **({"head": name} if heads else {}),
        }
        for name in LABELS
    ]
    return {
        "models": {"base": "base", "experts": {name: f"experts/{name}" for name in LABELS}},
        "space": {
            "kind": "coefficients",
            "method": "task_arithmetic",
            "granularity": "layer",
            "weight": [0.0, 1.0],
        },
        "strategy": {"kind": "random"},
        "objective": {"tasks": tasks, "precision": "float32"},
        "budget": {"evaluations": 12},
        "seed": 0,
        "device": "cpu",
        "threads": 1,
    }
