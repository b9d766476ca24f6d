"""Text classification: one label a text, any number of labels, or a number."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from searchmerge.config import Source
from searchmerge.config.tasks import TextClassification
from searchmerge.objective import fields
from searchmerge.objective.batching import Batch, pack
from searchmerge.objective.data import Row
from searchmerge.objective.kinds.means import Means, common
from searchmerge.objective.metrics import METRICS, Array, Metric
from searchmerge.objective.metrics.labels import MATTHEWS, MATTHEWS_OF_MANY
from searchmerge.objective.task import Task, digest_of, smallest
from searchmerge.objective.tokens import padding, tokenised
from searchmerge.types import Outcomes, UserError


@dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """Texts and the labels or numbers that a head gives them.

    Outcomes are the number of the largest logit's label ``[examples]``; of several labels whether each one's
    logit is above 0, bool ``[examples, labels]``; of a regression the logit itself, float32 ``[examples]``.

    Args:
        problem: which of the three.
        n_labels: the number of labels of the head, 1 for a regression.
        pad_token_id: what ``input_ids`` are padded with.
    """

    averages: ClassVar[bool] = True

    problem: str
    n_labels: int
    pad_token_id: int

    @property
    def summary(self) -> str:
        """How many examples and labels."""
        return f"{self.examples} examples, " + (f"{self.n_labels} labels" if self.n_labels > 1 else "numbers")

    def answer(self, model: nn.Module, batch: Batch) -> Tensor:
        """Give the logits ``[examples, labels]``."""
        logits: Tensor = model(**batch).logits
        return logits

    def read(self, answers: Tensor, number: int) -> Outcomes:
        """Decide by the logits; errors as of the base class."""
        logits = self.finite(answers)
        if self.problem == "regression":
            decided = logits[:, 0].float()
        else:
            decided = logits.argmax(-1) if self.problem == "single-label" else logits > 0
        return np.asarray(decided.cpu().numpy())

    def difficulty(self, answers: Sequence[Tensor]) -> Array:
        """How far the best of the wrong labels is above the right one; of other problems the shortfall."""
        if self.problem != "single-label":
            return super().difficulty(answers)
        logits = np.empty((self.examples, self.n_labels), dtype=np.float32)
        logits[self.batches.order] = self.finite(torch.cat(list(answers))).float().cpu().numpy()
        right = np.arange(self.examples), self.gold
        margins = logits[right].copy()
        logits[right] = -np.inf
        return np.asarray(logits.max(axis=1) - margins)

    def check(self, model: nn.Module) -> None:
        """Make sure that the head has these labels, and the model this padding and enough positions."""
        config: Any = model.config
        if config.num_labels != self.n_labels:
            raise UserError(
                expected=f"a head of {self.n_labels} labels for the task {self.name}",
                got=f"one of {config.num_labels}",
                cure="name another head, or correct label2id in that model's config.json",
            )
        # Decoders find a text's last token by looking for the first padding.
        if config.pad_token_id != self.pad_token_id:
            raise UserError(
                expected=f"the tokenizer's padding token {self.pad_token_id} as the model's",
                got=f"pad_token_id {config.pad_token_id}",
                cure="make pad_token_id of config.json and pad_token of tokenizer_config.json agree",
            )
        self.fits(model)


def load(task: TextClassification, source: Source, means: Means) -> Classification:
    """Read one split and make it ready.

    Raises:
        UserError: the data are at fault; the head has other than one output for a regression, or fewer than
            two labels for anything else; the tokenizer has no padding token.
    """
    label2id = means.label2id or {}
    n_labels = _n_labels(task, label2id)
    rows = means.read(source, task.label)
    texts = [fields.text(row, task.text) for row in rows]
    pairs = [fields.text(row, task.pair, "pair") for row in rows] if task.pair else None
    gold = _gold(task, rows, label2id, n_labels)
    if task.problem == "single-label" and len(np.unique(gold)) < 2:
        warnings.warn(
            f"all examples of {source.path or source.dataset} have one label: a constant answer is perfect",
            stacklevel=2,
        )
    columns = dict(tokenised(texts, means.tokenizer, task.max_length, pairs=pairs))
    inputs = digest_of(task.kind, columns)
    return Classification(
        **common(task),
        metric=_metric(task, n_labels),
        gold=gold,
        batches=pack(
            columns,
            padding(means.tokenizer),
            batch_tokens=means.batch_tokens,
            device=means.device,
            groups=means.groups,
        ),
        inputs=inputs,
        digest=digest_of(inputs, [task.name, task.head, task.weight, task.metric, n_labels], gold),
        problem=task.problem,
        n_labels=n_labels,
        pad_token_id=means.tokenizer.pad_token_id,
    )


def _n_labels(task: TextClassification, label2id: Mapping[str, int]) -> int:
    n_labels = max(label2id.values(), default=-1) + 1
    if task.problem == "regression" and n_labels != 1:
        raise UserError(
            expected=f"a head of one output for the regression {task.name}",
            got=f"one of {n_labels}",
            cure="name the head of a model that was trained to give a number (num_labels: 1)",
        )
    if task.problem != "regression" and n_labels < 2:
        raise UserError(
            expected=f"a head of two labels or more for the task {task.name}",
            got=f"the labels {', '.join(label2id) or 'none'}",
            cure="name the head of a model that was trained to classify",
        )
    if task.metric == "f1" and n_labels != 2:
        raise UserError(
            expected=f"two labels for the metric f1 of the task {task.name}, which is that of the second",
            got=f"{n_labels}: {', '.join(label2id)}",
            cure="take macro_f1",
        )
    return n_labels


def _gold(task: TextClassification, rows: Sequence[Row], label2id: Mapping[str, int], n_labels: int) -> Array:
    if task.problem == "regression":
        return np.array([fields.number(row, task.label) for row in rows], dtype=np.float32)
    if task.problem == "single-label":
        return smallest(np.array([fields.label(row, task.label, label2id) for row in rows]), n_labels)
    gold = np.zeros((len(rows), n_labels), dtype=bool)
    for example, row in enumerate(rows):
        gold[example, fields.labels(row, task.label, label2id)] = True
    return gold


def _metric(task: TextClassification, n_labels: int) -> Metric:
    metric = METRICS[task.problem][task.metric]
    return MATTHEWS_OF_MANY if metric is MATTHEWS and n_labels > 2 else metric
