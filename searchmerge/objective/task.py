"""A task: examples ready on the device, how a live model answers them, and how answers are scored."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from searchmerge.objective.batching import Batch, Batches
from searchmerge.objective.metrics import Array, Metric, Seen
from searchmerge.types import Outcomes, UserError


@dataclass
class Partial:
    """A task that is being answered batch by batch.

    Args:
        outcomes: ``[examples, ...]``; what stands there for examples not yet seen does not count.
        seen: bool ``[examples]``.
    """

    outcomes: Outcomes
    seen: Seen


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A task of any kind.

    Args:
        name: as in the config.
        head: whose head scores it.
        weight: its share in the mean over the tasks, relative to the others'.
        metric: what answers are scored by.
        gold: the outcomes of a model that is always right, ``[examples, ...]``.
        batches: the examples as the model takes them.
        digest: SHA-256 of all that a score depends on, the model apart.
        inputs: SHA-256 of all that the model's answers depend on, the model apart.
    """

    averages: ClassVar[bool] = False
    """Whether the mean of several models' answers is an answer, so that there are ensembles."""

    side_by_side: ClassVar[bool] = True
    """Whether a model may answer several batches at once, on as many threads."""

    name: str
    head: str
    weight: float
    metric: Metric
    gold: Array
    batches: Batches
    digest: str
    inputs: str

    @property
    @abstractmethod
    def summary(self) -> str:
        """What there is to answer, in a few words."""

    @abstractmethod
    def check(self, model: nn.Module) -> None:
        """Make sure that model and task fit together.

        Raises:
            UserError: they do not.
        """

    @abstractmethod
    def answer(self, model: nn.Module, batch: Batch) -> Tensor:
        """Give the model's answers to one batch, ``[examples, ...]``; the device is not waited for."""

    @abstractmethod
    def read(self, answers: Tensor, number: int) -> Outcomes:
        """Turn the answers to one batch into the outcomes of its examples, ``[examples, ...]``.

        Raises:
            FloatingPointError: an answer is infinite or not a number.
        """

    @property
    def examples(self) -> int:
        """How many there are."""
        return len(self.batches.order)

    @property
    def asked(self) -> Sequence[Batch]:
        """What a model is asked in turn."""
        return self.batches.batches

    @property
    def costs(self) -> Sequence[int]:
        """What each batch costs, in tokens."""
        return [batch["input_ids"].numel() for batch in self.batches.batches]

    def outcomes(self, answers: Sequence[Tensor]) -> Outcomes:
        """Turn the answers to all batches into outcomes ``[examples, ...]``, in the order of the data."""
        outcomes = self.start().outcomes
        for number, answer in enumerate(answers):
            outcomes[self.batches.examples(number)] = self.read(answer, number)
        return outcomes

    def start(self) -> Partial:
        """Begin to answer batch by batch: nothing has been seen, and all counts as right."""
        return Partial(self.gold.copy(), np.zeros(self.examples, dtype=bool))

    def note(self, answers: Tensor, number: int, partial: Partial) -> float:
        """Note the outcomes of one batch's answers; gives how much they fall short of the right ones.

        Raises:
            FloatingPointError: an answer is infinite or not a number.
        """
        where = self.batches.examples(number)
        partial.outcomes[where] = self.read(answers, number)
        partial.seen[where] = True
        return float(shortfalls(self.gold[where], partial.outcomes[where]).sum())

    def difficulty(self, answers: Sequence[Tensor]) -> Array:
        """How hard each example is for a model that gave these answers to all batches, ``[examples]``.

        Its shortfall, unless a kind can tell more.
        """
        return shortfalls(self.gold, self.outcomes(answers))

    def bound(self, partial: Partial) -> float:
        """The best value that the metric can still have."""
        return self.metric.bound(self.gold, partial.outcomes, partial.seen)

    def value(self, outcomes: Outcomes) -> float:
        """The metric of recorded outcomes."""
        return self.metric.value(self.gold, outcomes)

    def fits(self, model: nn.Module) -> None:
        """Make sure that the model has a position for every token.

        Raises:
            UserError: it has too few.
        """
        positions = positions_of(model)
        if positions is not None and self.batches.longest > positions:
            raise UserError(
                expected=f"texts of at most {positions} tokens in the task {self.name}",
                got=f"one of {self.batches.longest}",
                cure=f"set max_length: {positions} in the task, and longer texts are cut",
            )

    def finite(self, answers: Tensor) -> Tensor:
        """Give answers ``[examples, ...]`` back if they are all finite.

        Raises:
            FloatingPointError: they are not.
        """
        if not torch.isfinite(answers).all():
            failed = int((~torch.isfinite(answers).reshape(len(answers), -1).all(1)).sum())
            raise FloatingPointError(
                f"task {self.name}: the answers to {failed} of {len(answers)} examples are not finite"
            )
        return answers


def positions_of(model: Any) -> int | None:
    """How many tokens a text may have for the model; None where any number."""
    positions: int | None = getattr(model.config, "max_position_embeddings", None)
    if positions is None:
        return None
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    # RoBERTa's positions begin after the padding token's number.
    before = getattr(table, "padding_idx", None)
    return positions if before is None else positions - before - 1


def shortfalls(gold: Array, outcomes: Outcomes) -> Array:
    """How far each outcome is from the right one, ``[examples]``: errors for labels, distance for numbers."""
    apart = gold != outcomes if gold.dtype.kind in "iub" else np.abs(gold - outcomes)
    return np.asarray(apart.reshape(len(gold), -1).sum(axis=1))


def digest_of(*content: Any) -> str:
    """The SHA-256 of JSON values and arrays."""
    plain = [each.tolist() if isinstance(each, np.ndarray) else each for each in content]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def labels_in_order(label2id: Mapping[str, int]) -> tuple[str, ...]:
    """The names of labels by their numbers."""
    return tuple(sorted(label2id, key=label2id.__getitem__))


def smallest(labels: npt.NDArray[np.int64], n_labels: int) -> Array:
    """Label numbers in the smallest type that holds all of them, as they stand in the journal."""
    return labels.astype(np.min_scalar_type(n_labels - 1))
