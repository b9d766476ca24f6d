"""Functions of a user's, as the tests write them beside a config: each misbehaves in its own way."""

# ruff: noqa: E722, NPY002, SIM105
# mypy: ignore-errors
from __future__ import annotations

import random
import time
from dataclasses import dataclass

import numpy as np
import torch


@dataclass
class Size:
    """Needs its own module while it is made."""

    of: float


def size(model, tokenizer, examples, **options):
    """A number that differs from candidate to candidate."""
    return -Size(float(next(model.parameters()).abs().mean())).of


def _bad(model):
    """Whether a candidate is one of the bad ones, about half of all."""
    return int(abs(size(model, None, None)) * 1e7) % 2 == 0


def raises(model, tokenizer, examples):
    if _bad(model):
        raise ValueError("no good")
    return size(model, None, None)


def not_a_number(model, tokenizer, examples):
    return float("nan") if _bad(model) else size(model, None, None)


def wrong_shape(model, tokenizer, examples):
    return [[1.0, 2.0]] if _bad(model) else size(model, None, None)


def nothing(model, tokenizer, examples):
    return None if _bad(model) else size(model, None, None)


def sleeps(model, tokenizer, examples):
    if _bad(model):
        time.sleep(1000)
    return size(model, None, None)


def turns(model, tokenizer, examples):
    while _bad(model):
        pass
    return size(model, None, None)


def catches(model, tokenizer, examples):
    while _bad(model):
        try:
            time.sleep(0.05)
        except Exception:
            pass
    return size(model, None, None)


def catches_all(model, tokenizer, examples):
    while _bad(model):
        try:
            time.sleep(0.05)
        except:
            pass
    return size(model, None, None)


def draws(model, tokenizer, examples):
    """Depends on all global generators, and moves them."""
    return random.random() + np.random.random() + float(torch.rand(())) + size(model, None, None)


def seeds(model, tokenizer, examples):
    """As bad a neighbour as can be."""
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    return size(model, None, None)


def trains(model, tokenizer, examples):
    model.train()
    return size(model, None, None)


def halves(model, tokenizer, examples):
    model.half()
    return size(model, None, None)


def zeroes(model, tokenizer, examples):
    model.classifier.weight.zero_()
    return size(model, None, None)


def zeroes_and_raises(model, tokenizer, examples):
    model.classifier.weight.data.zero_()
    raise ValueError("after the harm")


def copies(model, tokenizer, examples):
    from copy import deepcopy

    deepcopy(model).half()
    return size(model, None, None)


def changes_examples(model, tokenizer, examples, words):
    """Were the examples not copies, each call would score more."""
    examples[0]["text"] += "!"
    words.append("more")
    return [len(row["text"]) + len(words) for row in examples]


def lengths(model, tokenizer, examples, times=1):
    return [times * len(tokenizer(row["text"])["input_ids"]) for row in examples]


def drawn_lengths(model, tokenizer, examples):
    """A score an example that differs from candidate to candidate."""
    return [len(row["text"]) * size(model, None, None) for row in examples]


def tensors(model, tokenizer, examples):
    """What comes out of a model in bfloat16."""
    return torch.tensor([1.0, 2.0, 4.0], dtype=torch.bfloat16)


def scalars(model, tokenizer, examples):
    return [torch.tensor(each, dtype=torch.bfloat16) for each in (1.0, 2.0, 4.0)]
