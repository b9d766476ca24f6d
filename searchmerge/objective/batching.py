"""Examples into batches: sorted by length, so that little of a forward pass is padding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Batch: TypeAlias = dict[str, Tensor]
"""Keyword arguments of one forward pass, each ``[examples, width]``, on the device."""

Track: TypeAlias = Callable[[Sequence[Batch]], Iterable[Batch]]
"""Goes through batches and shows how far it has come."""

BATCH_TOKENS: Mapping[str, int] = {"cpu": 1024, "cuda": 16384}
"""Tokens of a batch by the device's type.

A CPU takes the same time a token from some 500 tokens a batch on, so that small batches cost nothing and save
padding; a GPU needs many tokens to be busy.
"""


@dataclass(frozen=True)
class Batches:
    """The examples as ready tensors, longest first.

    Args:
        batches: what the model is called with, in turn.
        order: int64 ``[examples]``, the original position of each example in the batches' order.
        tokens: tokens of all examples.
        padded: tokens of all examples and their padding: what the forward passes compute on.
        longest: tokens of the longest example.
    """

    batches: tuple[Batch, ...]
    order: npt.NDArray[np.int64]
    tokens: int
    padded: int
    longest: int

    def examples(self, number: int) -> npt.NDArray[np.int64]:
        """The original positions of one batch's examples."""
        sizes = [len(batch["input_ids"]) for batch in self.batches[: number + 1]]
        return self.order[sum(sizes[:-1]) : sum(sizes)]


def pack(
    columns: Mapping[str, Sequence[Sequence[int]]],
    padding: Mapping[str, int],
    *,
    batch_tokens: int,
    device: torch.device,
) -> Batches:
    """Sort examples by length and cut them into batches, padded on the right.

    A batch has an ``attention_mask`` only where it has padding: without one, attention takes its fast path.

    Args:
        columns: ``input_ids`` and whatever else the model takes for each token, one sequence an example, the
            same lengths in each column.
        padding: what to fill each column with.
        batch_tokens: the most tokens, padding included, in one batch (a longer example is alone in its own).
        device: where the tensors are put.
    """
    lengths = np.array([len(ids) for ids in columns["input_ids"]])
    order = np.argsort(-lengths, kind="stable")
    batches: list[Batch] = []
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // int(lengths[order[start]]))
        chosen = order[start : start + size]
        batches.append(_batch(columns, padding, chosen, lengths[chosen], device))
        start += size
    return Batches(
        batches=tuple(batches),
        order=order,
        tokens=int(lengths.sum()),
        padded=sum(batch["input_ids"].numel() for batch in batches),
        longest=int(lengths.max()),
    )


def _batch(
    columns: Mapping[str, Sequence[Sequence[int]]],
    padding: Mapping[str, int],
    chosen: npt.NDArray[np.int64],
    lengths: npt.NDArray[Any],
    device: torch.device,
) -> Batch:
    real = np.arange(lengths[0]) < lengths[:, None]
    batch = {}
    for name, column in columns.items():
        values = np.full(real.shape, padding[name], dtype=np.int64)
        values[real] = np.concatenate([column[index] for index in chosen])
        batch[name] = torch.from_numpy(values).to(device)
    if not real.all():
        batch["attention_mask"] = torch.from_numpy(real.astype(np.int64)).to(device)
    return batch
