"""The demo's only training loop: lessons of any kind of model, in batches of like length, with AdamW."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

Progress = Callable[[int, int], None]
"""Called after each step with the steps done and the steps to do."""

UNSCORED = -100
"""A target that the loss passes over: the padding, a prompt, a word's further pieces."""


@dataclass(frozen=True)
class Lesson:
    """One text as a model reads it, and what the model has to say of it.

    Args:
        inputs: the model's arguments by name, a list of token numbers each; `input_ids` has no padding.
        targets: a number for each place that the model answers at, or `UNSCORED`: one in all for a
            classifier, one a token of `input_ids` for a tagger or decoder (the next token), one a token of
            `decoder_input_ids` for an encoder-decoder.
    """

    inputs: Mapping[str, Sequence[int]]
    targets: Sequence[int]


@dataclass(frozen=True)
class Recipe:
    """How an expert is fine-tuned: first its head on the frozen body, then both (Kumar et al., 2022, LP-FT).

    A head that fits from the start lets the body keep more of what it can; heads are small, so this is quick.
    Only classifiers have a head to fit. Both steps use AdamW; the second with a rate that rises over `warmup`
    of the steps, then falls to 0.
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


def fine_tune(model: nn.Module, lessons: Sequence[Lesson], recipe: Recipe, progress: Progress) -> None:
    """Train `model` in place; the loss is the mean over the texts of the mean over a text's targets."""
    steps = max(1, int(recipe.epochs * len(lessons) / recipe.batch))
    rising = max(1.0, recipe.warmup * steps)
    decay = recipe.weight_decay
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=decay, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rising, (steps - step) / steps)
    )
    generator = torch.Generator().manual_seed(recipe.seed)
    model.train()
    lengths = [len(lesson.inputs["input_ids"]) for lesson in lessons]
    for step, batch in enumerate(islice(batches(lengths, recipe.batch, generator), steps)):
        inputs, targets = collate([lessons[i] for i in batch])
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(**inputs).logits
        optimizer.zero_grad()
        torch.autograd.backward(loss_of(logits, targets))
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        schedule.step()
        progress(step + 1, steps)
    model.eval()


def loss_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over the texts of the mean cross entropy over a text's scored targets.

    A text counts the same whether it is answered with one word or continued over forty.

    Args:
        logits: shape (texts, places, classes), or (texts, classes) where each text has one place.
        targets: int64, shape (texts, places).
    """
    losses = nn.functional.cross_entropy(
        logits.float().view(targets.numel(), -1), targets.flatten(), ignore_index=UNSCORED, reduction="none"
    )
    scored = (targets != UNSCORED).sum(dim=1)
    return (losses.view_as(targets).sum(dim=1) / scored).mean()


def collate(lessons: Sequence[Lesson]) -> tuple[dict[str, Tensor], Tensor]:
    """Return the model's arguments and the targets, all int64 and (texts, longest).

    The inputs' padding is 0, which the attention mask hides, and the targets' `UNSCORED`.
    """
    inputs = {name: _pad([lesson.inputs[name] for lesson in lessons], 0) for name in lessons[0].inputs}
    inputs["attention_mask"] = _pad([[1] * len(lesson.inputs["input_ids"]) for lesson in lessons], 0)
    return inputs, _pad([lesson.targets for lesson in lessons], UNSCORED)


def _pad(rows: Sequence[Sequence[int]], padding: int) -> Tensor:
    tensors = [torch.tensor(row) for row in rows]
    return nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=padding)


def batches(lengths: Sequence[int], size: int, generator: torch.Generator) -> Iterator[list[int]]:
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
