"""Text classification: one label a text, predicted by the largest logit."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from searchmerge.config import Source, Task
from searchmerge.objective.batching import Batches, pack
from searchmerge.objective.data import Examples, read
from searchmerge.objective.metrics import METRICS, Confusion, Metric, confusion
from searchmerge.objective.tokens import padding, tokenised
from searchmerge.types import MERGED, Outcomes, UserError


@dataclass(frozen=True)
class Classification:
    """A task's examples, ready on the device, and how predictions of them are scored.

    Args:
        name: as in the config.
        head: whose head scores it.
        weight: its share in the mean over the tasks, relative to the others'.
        metric: what predictions are scored by.
        gold: int64 ``[examples]``, the true labels' numbers, in the order of the data.
        n_labels: the number of labels of the head.
        batches: the tokenised texts.
        pad_token_id: what ``input_ids`` are padded with.
        digest: SHA-256 of all that a score depends on, the model apart.
    """

    name: str
    head: str
    weight: float
    metric: Metric
    gold: npt.NDArray[np.int64]
    n_labels: int
    batches: Batches
    pad_token_id: int
    digest: str

    def predict(self, model: nn.Module) -> Outcomes:
        """Give the predicted labels' numbers ``[examples]``, in the order of the data.

        The device is waited for once, at the end.

        Raises:
            FloatingPointError: a logit is infinite or not a number.
            UserError: the model has other labels, another padding token or too few positions.
        """
        return self.largest(self.logits(model))

    def logits(self, model: nn.Module) -> Tensor:
        """Give the model's logits, ``[examples, labels]`` in the order of the batches.

        Raises:
            UserError: as :meth:`predict`.
        """
        self._check(model)
        model.eval()
        return torch.cat([model(**batch).logits for batch in self.batches.batches])

    def largest(self, logits: Tensor) -> Outcomes:
        """Give the labels of the largest logits ``[examples]``, in the order of the data.

        Raises:
            FloatingPointError: as :meth:`predict`.
        """
        unknown = torch.full((), -1, device=logits.device)
        predicted = torch.where(logits.isfinite().all(-1), logits.argmax(-1), unknown).cpu().numpy()
        if failed := int((predicted < 0).sum()):
            raise FloatingPointError(
                f"task {self.name}: the logits of {failed} of {len(predicted)} examples are not finite"
            )
        outcomes = np.empty(len(predicted), dtype=self._dtype)
        outcomes[self.batches.order] = predicted
        return outcomes

    def perfect(self) -> Outcomes:
        """The outcomes of a model without errors, ``[examples]``."""
        return self.gold.astype(self._dtype)

    def predict_batch(self, model: nn.Module, number: int, outcomes: Outcomes) -> int:
        """Overwrite the outcomes of one batch's examples with the model's; gives the number of errors.

        Raises:
            FloatingPointError, UserError: as :meth:`predict`.
        """
        self._check(model)
        model.eval()
        batch = self.batches.batches[number]
        logits = model(**batch).logits
        if not logits.isfinite().all():
            raise FloatingPointError(f"task {self.name}: the logits of batch {number} are not finite")
        where = self.batches.examples(number)
        outcomes[where] = logits.argmax(-1).cpu().numpy()
        return int((outcomes[where] != self.gold[where]).sum())

    def confusion(self, outcomes: Outcomes) -> Confusion:
        """Count ``[truth, prediction]`` over the examples."""
        return confusion(self.gold, outcomes, self.n_labels)

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.min_scalar_type(self.n_labels - 1)

    def _check(self, model: nn.Module) -> None:
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
        positions = getattr(config, "max_position_embeddings", None)
        if positions is not None and self.batches.longest > positions:
            raise UserError(
                expected=f"texts of at most {positions} tokens in the task {self.name}",
                got=f"one of {self.batches.longest}",
                cure=f"set max_length: {positions} in the task, and longer texts are cut",
            )


def load(
    task: Task,
    source: Source,
    *,
    tokenizer: Any,
    label2id: Mapping[str, int],
    batch_tokens: int,
    device: torch.device,
) -> Classification:
    """Read one split of a task and make it ready.

    Args:
        task: its section of the config.
        source: the split.
        tokenizer: a tokenizer of transformers.
        label2id: the labels of the task's head.
        batch_tokens: the most tokens, padding included, in one batch.
        device: where the batches are put.

    Raises:
        UserError: as :func:`searchmerge.objective.data.read`; the head has fewer than two labels; the
            tokenizer has no padding token.
    """
    n_labels = max(label2id.values(), default=-1) + 1
    if n_labels < 2:
        raise UserError(
            expected=f"a head of two labels or more for the task {task.name}",
            got=f"the labels {', '.join(label2id) or 'none'}",
            cure="name the head of a model that was trained to classify",
        )
    examples = read(source, text=task.text, label=task.label, label2id=label2id)
    if len(np.unique(examples.labels)) < 2:
        warnings.warn(
            f"all examples of {source.path or source.dataset} have one label: a constant answer is perfect",
            stacklevel=2,
        )
    columns = tokenised(examples.texts, tokenizer, task.max_length)
    return Classification(
        name=task.name,
        head=task.head or MERGED,
        weight=task.weight,
        metric=METRICS[task.metric],
        gold=examples.labels,
        n_labels=n_labels,
        batches=pack(columns, padding(tokenizer), batch_tokens=batch_tokens, device=device),
        pad_token_id=tokenizer.pad_token_id,
        digest=_digest([task.name, task.head, task.weight, task.metric, n_labels], columns, examples),
    )


def _digest(settings: list[Any], columns: Mapping[str, list[list[int]]], examples: Examples) -> str:
    content = json.dumps([settings, columns, examples.labels.tolist()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
