"""Multiple choice: the continuation that the model finds the most probable one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from searchmerge.config import Source
from searchmerge.config.tasks import MultipleChoice as Section
from searchmerge.objective import fields
from searchmerge.objective.batching import Batch
from searchmerge.objective.data import Row
from searchmerge.objective.kinds.likelihood import columns_of, loglikelihoods, packed, scored_tokens
from searchmerge.objective.kinds.means import Means, common
from searchmerge.objective.metrics import METRICS
from searchmerge.objective.task import Task, digest_of, smallest
from searchmerge.types import Outcomes


@dataclass(frozen=True, kw_only=True)
class MultipleChoice(Task):
    """Prompts and their possible continuations.

    Outcomes are the number of the continuation with the largest log-likelihood, divided by its length where
    the config says so, the first one of equals: ``[prompts]``.

    Args:
        encoder_decoder: whether an encoder reads the prompts.
        lengths: what each continuation's log-likelihood is divided by, ``[continuations]`` a prompt.
    """

    encoder_decoder: bool
    lengths: tuple[npt.NDArray[np.float64], ...]

    @property
    def summary(self) -> str:
        """How many prompts and continuations."""
        return f"{self.examples} prompts of {sum(map(len, self.lengths)) / self.examples:.3g} continuations"

    def answer(self, model: nn.Module, batch: Batch) -> Tensor:
        """Give the log-likelihoods, float64 ``[rows]``, of all continuations in turn."""
        return loglikelihoods(model, batch, encoder_decoder=self.encoder_decoder)

    def read(self, answers: Tensor, number: int) -> Outcomes:
        """Choose the largest; errors as of the base class."""
        lengths = [self.lengths[example] for example in self.batches.examples(number)]
        values = self.finite(answers).cpu().numpy() / np.concatenate(lengths)
        cuts = np.cumsum([len(each) for each in lengths])[:-1]
        return np.array([each.argmax() for each in np.split(values, cuts)], dtype=self.gold.dtype)

    def check(self, model: nn.Module) -> None:
        """Make sure that the model has enough positions."""
        self.fits(model)


def load(task: Section, source: Source, means: Means) -> MultipleChoice:
    """Read one split and make it ready.

    Raises:
        UserError: the data are at fault, or the tokenizer has no padding token.
    """
    rows = means.read(source)
    prompts = [fields.text(row, task.prompt, "prompt") for row in rows]
    choices = [fields.words(row, task.choices, "choices") for row in rows]
    gold = [_right(task, row, texts) for row, texts in zip(rows, choices, strict=True)]
    repeated = [prompt for prompt, texts in zip(prompts, choices, strict=True) for _ in texts]
    columns = columns_of(
        task.name,
        list(chain(*choices)),
        repeated,
        means.tokenizer,
        task.max_length,
        encoder_decoder=means.encoder_decoder,
    )
    scored = scored_tokens(columns["labels"], encoder_decoder=means.encoder_decoder)
    sizes = [len(texts) for texts in choices]
    inputs = digest_of(task.kind, columns, sizes)
    return MultipleChoice(
        **common(task),
        metric=METRICS[task.kind][task.metric],
        gold=smallest(np.array(gold), max(sizes)),
        batches=packed(columns, means, sizes),
        inputs=inputs,
        digest=digest_of(
            inputs, [task.name, task.head, task.weight, task.metric, task.normalise], gold, choices
        ),
        encoder_decoder=means.encoder_decoder,
        lengths=_lengths(task, choices, scored),
    )


def _right(task: Section, row: Row, texts: list[str]) -> int:
    numbers: Mapping[str, int] = {text: number for number, text in enumerate(texts)}
    return fields.label(row, task.label, numbers)


def _lengths(
    task: Section, choices: list[list[str]], scored: list[int]
) -> tuple[npt.NDArray[np.float64], ...]:
    if task.normalise == "characters":
        return tuple(np.array([len(text) for text in texts], dtype=np.float64) for texts in choices)
    if task.normalise == "none":
        return tuple(np.ones(len(texts)) for texts in choices)
    cuts = np.cumsum([len(texts) for texts in choices])[:-1]
    return tuple(np.split(np.array(scored, dtype=np.float64), cuts))
