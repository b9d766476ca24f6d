"""Language modelling: the mean negative log-likelihood of texts' tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from searchmerge.config import Source
from searchmerge.config.tasks import LanguageModeling as Section
from searchmerge.objective import fields
from searchmerge.objective.batching import Batch
from searchmerge.objective.kinds.likelihood import columns_of, loglikelihoods, packed, scored_tokens
from searchmerge.objective.kinds.means import Means, common
from searchmerge.objective.metrics import METRICS
from searchmerge.objective.task import Task, digest_of
from searchmerge.types import Outcomes


@dataclass(frozen=True, kw_only=True)
class LanguageModeling(Task):
    """Texts whose tokens the model predicts.

    Outcomes are float64 ``[texts, 2]``: the negative log-likelihood in nats, and the number of tokens.

    Args:
        encoder_decoder: whether an encoder reads the prompts.
    """

    encoder_decoder: bool

    @property
    def summary(self) -> str:
        """How many texts and tokens."""
        return f"{self.examples} texts, {int(self.gold[:, 1].sum())} tokens scored"

    def answer(self, model: nn.Module, batch: Batch) -> Tensor:
        """Give the log-likelihoods, float64 ``[texts]``."""
        return loglikelihoods(model, batch, encoder_decoder=self.encoder_decoder)

    def read(self, answers: Tensor, number: int) -> Outcomes:
        """Put the number of tokens beside them; errors as of the base class."""
        rows = self.gold[self.batches.examples(number)].copy()
        rows[:, 0] = -self.finite(answers).cpu().numpy()
        return rows

    def check(self, model: nn.Module) -> None:
        """Make sure that the model has enough positions."""
        self.fits(model)


def load(task: Section, source: Source, means: Means) -> LanguageModeling:
    """Read one split and make it ready.

    Raises:
        UserError: the data are at fault, or the tokenizer has no padding token.
    """
    rows = means.read(source)
    texts = [fields.text(row, task.text) for row in rows]
    prompts = [fields.text(row, task.prompt, "prompt") if task.prompt else None for row in rows]
    columns = columns_of(
        task.name,
        texts,
        prompts,
        means.tokenizer,
        task.max_length,
        encoder_decoder=means.encoder_decoder,
    )
    scored = scored_tokens(columns["labels"], encoder_decoder=means.encoder_decoder)
    inputs = digest_of(task.kind, columns)
    return LanguageModeling(
        **common(task),
        metric=METRICS[task.kind][task.metric],
        gold=np.stack([np.zeros(len(rows)), np.array(scored, dtype=np.float64)], axis=1),
        batches=packed(columns, means),
        inputs=inputs,
        digest=digest_of(inputs, [task.name, task.head, task.weight, task.metric]),
        encoder_decoder=means.encoder_decoder,
    )
