"""Small data files and objectives for the tests of this folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from searchmerge import config
from searchmerge.objective import Objective
from searchmerge.objective.making import build
from tests.fixtures import WORDS

CPU = torch.device("cpu")
LABELS = {"merged": {"bad": 0, "fair": 1, "good": 2}}


def random_texts(n: int, *, longest: int = 30, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, longest + 1))) for _ in range(n)]


def random_rows(
    n: int, labels: Sequence[str] = ("bad", "fair", "good"), *, seed: int = 0
) -> list[dict[str, str]]:
    rng = np.random.default_rng(seed + 1)
    return [{"text": text, "label": str(rng.choice(labels))} for text in random_texts(n, seed=seed)]


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def task(dev: str, **options: Any) -> dict[str, Any]:
    return {"name": "tones", "dev": dev, **options}


def objective(
    tokenizer: Any,
    *tasks: Mapping[str, Any],
    labels: Mapping[str, Mapping[str, int]] = LABELS,
    split: Literal["dev", "test"] = "dev",
    **options: Any,
) -> Objective:
    section = config.Objective.model_validate({"precision": "float32", **options, "tasks": list(tasks)})
    return build(section, split, tokenizer=tokenizer, labels=labels, device=CPU)


@torch.inference_mode()
def one_by_one(model: Any, tokenizer: Any, texts: list[str]) -> torch.Tensor:
    """The logits of texts that never met in a batch."""
    return torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in texts])
