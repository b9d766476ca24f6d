"""What a task is made ready with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from searchmerge.config import Source
from searchmerge.config.tasks import AnyTask
from searchmerge.objective.data import Row, read
from searchmerge.types import MERGED


@dataclass(frozen=True)
class Means:
    """What there is besides a task's section and its examples.

    Args:
        tokenizer: the models' tokenizer, of transformers.
        label2id: the labels of the task's head; None where it has none.
        encoder_decoder: whether the models have an encoder and a decoder.
        batch_tokens: the most tokens, padding included, in one batch.
        device: where the batches are put.
        chosen: the positions of the only examples that are taken; None for all.
        groups: of each example that is taken, which share no batch; None for one group.
    """

    tokenizer: Any
    label2id: Mapping[str, int] | None
    encoder_decoder: bool
    batch_tokens: int
    device: torch.device
    chosen: Sequence[int] | None = None
    groups: Sequence[int] | None = None

    def read(self, source: Source, label: str = "") -> list[Row]:
        """Read the examples that are taken.

        Args:
            source: the split.
            label: the column that holds labels of the head.

        Raises:
            UserError: as of :func:`searchmerge.objective.data.read`.
        """
        rows = read(source, label=label, label2id=self.label2id or {})
        return rows if self.chosen is None else [rows[position] for position in self.chosen]


def common(task: AnyTask) -> dict[str, Any]:
    """The arguments of a task of any kind that its section gives as they stand."""
    return {"name": task.name, "head": task.head or MERGED, "weight": task.weight}
