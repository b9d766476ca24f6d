"""Examples into batches: sorted by length, so that little of a forward pass is padding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Batch: TypeAlias = dict[str, Tensor]
"""Keyword arguments of one forward pass, each ``[rows, width]``, on the device."""

Columns: TypeAlias = Mapping[str, Sequence[Sequence[int]]]
"""``input_ids`` and whatever else there is, one sequence of numbers a row."""

Track: TypeAlias = Callable[[Sequence[Batch]], Iterable[Batch]]
"""Goes through batches and shows how far it has come."""

BATCH_TOKENS: Mapping[str, int] = {"cpu": 1024, "cuda": 16384}
"""Tokens of a batch by the device's type.

A CPU takes the same time a token from some 500 tokens a batch on; a GPU needs many tokens to be busy.
"""

CALL_TOKENS: Mapping[str, int] = {"cpu": 40, "cuda": 2000}
"""What a forward pass costs besides its tokens, in tokens, by the device's type: worth so much padding."""


@dataclass(frozen=True)
class Batches:
    """The examples as ready tensors, of each group the longest first.

    Args:
        batches: what the model is called with, in turn.
        order: int64 ``[examples]``, the original position of each example in the batches' order.
        sizes: the number of examples in each batch.
        tokens: tokens of all examples.
        padded: tokens of all examples and their padding: what the forward passes compute on.
        longest: tokens of the longest row of any column.
        grouped: whether examples of different groups are kept apart.
    """

    batches: tuple[Batch, ...]
    order: npt.NDArray[np.int64]
    sizes: tuple[int, ...]
    tokens: int
    padded: int
    longest: int
    grouped: bool = False

    def examples(self, number: int) -> npt.NDArray[np.int64]:
        """The original positions of one batch's examples."""
        return self.order[self._starts[number] : self._starts[number + 1]]

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        return np.cumsum([0, *self.sizes])


def pack(
    columns: Columns,
    padding: Mapping[str, int],
    *,
    batch_tokens: int,
    device: torch.device,
    rows: Sequence[int] | None = None,
    left: bool = False,
    calls: int = 1,
    groups: Sequence[int] | None = None,
) -> Batches:
    """Sort examples by length and cut them into batches where that costs least, padding and calls together.

    A batch has an ``attention_mask`` only where it has padding: without one, attention takes its fast path.

    Args:
        columns: ``input_ids`` and whatever else the model or its reader takes, one sequence a row; columns
            may differ in length.
        padding: what to fill each column with.
        batch_tokens: the most tokens of ``input_ids``, padding included, in one batch (a longer example is
            alone in its own).
        device: where the tensors are put.
        rows: how many rows in turn make up each example; None for one each.
        left: whether the padding stands on the left.
        calls: forward passes that a batch takes, as many as tokens are written.
        groups: of each example; no batch has examples of two, and those of the lowest group come first.
    """
    lengths = np.array([len(ids) for ids in columns["input_ids"]])
    sizes = np.ones(len(lengths), dtype=np.int64) if rows is None else np.array(rows)
    starts = np.cumsum([0, *sizes])
    longest = np.maximum.reduceat(lengths, starts[:-1])
    group = np.zeros(len(longest), dtype=np.int64) if groups is None else np.array(groups)
    order = np.lexsort((-longest, group))  # of equals the first comes first
    ends = [
        start + end
        for start, stop in pairwise([0, *np.flatnonzero(np.diff(group[order])) + 1, len(order)])
        for end in _cuts(
            longest[order[start:stop]],
            sizes[order[start:stop]],
            batch_tokens,
            calls * CALL_TOKENS[device.type],
        )
    ]
    batches = tuple(
        _batch(columns, padding, _rows_of(order[start:end], starts), left, device)
        for start, end in pairwise([0, *ends])
    )
    return Batches(
        batches=batches,
        order=order,
        sizes=tuple(np.diff([0, *ends]).tolist()),
        tokens=int(lengths.sum()),
        padded=sum(batch["input_ids"].numel() for batch in batches),
        longest=max(len(row) for column in columns.values() for row in column),
        grouped=groups is not None,
    )


def _cuts(widths: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], most: int, call: int) -> list[int]:
    """Where to end batches of examples, widest first, so that their tokens and calls together are fewest.

    Args:
        widths: of each example, ``[examples]``, falling.
        sizes: its rows.
        most: tokens of a batch that has more than one example.
        call: what a batch costs besides its tokens.
    """
    rows = np.cumsum([0, *sizes])
    least = np.zeros(len(widths) + 1, dtype=np.int64)
    cut = np.zeros(len(widths) + 1, dtype=np.int64)
    first = 0
    for end in range(1, len(widths) + 1):
        while first < end - 1 and widths[first] * (rows[end] - rows[first]) > most:
            first += 1
        costs = least[first:end] + widths[first:end] * (rows[end] - rows[first:end]) + call
        cut[end] = first + int(costs.argmin())
        least[end] = costs.min()
    ends = [len(widths)]
    while cut[ends[-1]]:
        ends.append(int(cut[ends[-1]]))
    return ends[::-1]


def _rows_of(examples: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.arange(starts[each], starts[each + 1]) for each in examples])


def _batch(
    columns: Columns,
    padding: Mapping[str, int],
    chosen: npt.NDArray[np.int64],
    left: bool,
    device: torch.device,
) -> Batch:
    batch = {}
    for name, column in columns.items():
        lengths = np.array([len(column[index]) for index in chosen])
        real = np.arange(lengths.max()) < lengths[:, None]
        real = real[:, ::-1] if left else real
        values = np.full(real.shape, padding[name], dtype=np.int64)
        values[real] = np.concatenate([column[index] for index in chosen])
        batch[name] = torch.from_numpy(values).to(device)
        if name == "input_ids" and not real.all():
            batch["attention_mask"] = torch.from_numpy(real.astype(np.int64)).to(device)
    return batch
