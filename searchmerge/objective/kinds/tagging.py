"""Token classification: a tag for each word, read off the first of its tokens."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from seqeval.metrics.sequence_labeling import get_entities
from torch import Tensor, nn

from searchmerge.config import Source
from searchmerge.config.tasks import TokenClassification
from searchmerge.objective import fields
from searchmerge.objective.batching import Batch, pack
from searchmerge.objective.cache import OUTSIDE, WORDS
from searchmerge.objective.data import Row
from searchmerge.objective.kinds.means import Means, common
from searchmerge.objective.metrics import METRICS, Array
from searchmerge.objective.task import Task, digest_of, labels_in_order
from searchmerge.objective.tokens import padding, tokenised
from searchmerge.types import Outcomes, UserError

NO_WORD = -100
"""Stands in ``labels`` where no word begins."""


@dataclass(frozen=True, kw_only=True)
class Tagging(Task):
    """Sentences and the tags of their words.

    Outcomes are int32 ``[sentences, 2]``: words right and words for accuracy; twice the entities found, and
    those there plus those answered for entity F1.

    Args:
        tags: the head's tags by their numbers.
        words: the true tags' numbers of each sentence's words.
    """

    averages: ClassVar[bool] = True

    tags: tuple[str, ...]
    words: tuple[Array, ...]

    @property
    def summary(self) -> str:
        """How many sentences, words and tags."""
        return f"{self.examples} sentences of {sum(map(len, self.words))} words, {len(self.tags)} tags"

    def answer(self, model: nn.Module, batch: Batch) -> Tensor:
        """Give the logits ``[sentences, width, tags]``."""
        logits: Tensor = model(**{name: column for name, column in batch.items() if name != "labels"}).logits
        return logits

    def read(self, answers: Tensor, number: int) -> Outcomes:
        """Decide by the logits of each word's first token; errors as of the base class."""
        starts = self.batches.batches[number]["labels"] != NO_WORD
        decided = self.finite(answers).argmax(-1)[starts].cpu().numpy()
        sentences = [self.words[example] for example in self.batches.examples(number)]
        cuts = np.cumsum([len(words) for words in sentences])[:-1]
        rows = [
            tally(self.metric.name, self.tags, gold, given)
            for gold, given in zip(sentences, np.split(decided, cuts), strict=True)
        ]
        return np.array(rows, dtype=np.int32)

    def check(self, model: nn.Module) -> None:
        """Make sure that the head has these tags, and the model enough positions."""
        config: Any = model.config
        if config.num_labels != len(self.tags):
            raise UserError(
                expected=f"a head of {len(self.tags)} tags for the task {self.name}",
                got=f"one of {config.num_labels}",
                cure="name another head, or correct label2id in that model's config.json",
            )
        self.fits(model)


def tally(metric: str, tags: Sequence[str], gold: Array, given: Array) -> tuple[int, int]:
    """What a sentence adds above and below the line of its metric.

    Args:
        metric: ``accuracy`` or ``entity_f1``.
        tags: by their numbers.
        gold: the words' true tags' numbers ``[words]``.
        given: the answered ones ``[words]``.
    """
    if metric == "accuracy":
        return int((gold == given).sum()), len(gold)
    true, found = (set(get_entities([tags[each] for each in words])) for words in (gold, given))
    return 2 * len(true & found), len(true) + len(found)


def load(task: TokenClassification, source: Source, means: Means) -> Tagging:
    """Read one split and make it ready; words beyond the most tokens are left out, with a warning.

    Raises:
        UserError: the data are at fault; the head has fewer than two tags; the tokenizer cannot tell words or
            has no padding token.
    """
    label2id = means.label2id or {}
    tags = labels_in_order(label2id)
    if len(tags) < 2:
        raise UserError(
            expected=f"a head of two tags or more for the task {task.name}",
            got=f"the tags {', '.join(tags) or 'none'}",
            cure="name the head of a model that was trained to tag words",
        )
    rows = means.read(source, task.tags)
    sentences = [fields.words(row, task.tokens) for row in rows]
    gold = [_tags(task, row, len(words), label2id) for row, words in zip(rows, sentences, strict=True)]
    columns, kept = _columns(task, sentences, gold, means.tokenizer)
    if cut := sum(map(len, gold)) - sum(map(len, kept)):
        warnings.warn(
            f"{cut} words of {source.path or source.dataset} lie beyond the most tokens of a text: left out",
            stacklevel=2,
        )
    right = np.array([tally(task.metric, tags, words, words) for words in kept], dtype=np.int32)
    inputs = digest_of(task.kind, columns)
    return Tagging(
        **common(task),
        metric=METRICS[task.kind][task.metric],
        gold=right,
        batches=pack(
            columns,
            {**padding(means.tokenizer), "labels": NO_WORD},
            batch_tokens=means.batch_tokens,
            device=means.device,
            groups=means.groups,
        ),
        inputs=inputs,
        digest=digest_of(inputs, [task.name, task.head, task.weight, task.metric], tags),
        tags=tags,
        words=tuple(kept),
    )


def _tags(task: TokenClassification, row: Row, words: int, label2id: Mapping[str, int]) -> list[int]:
    tags = fields.labels(row, task.tags, label2id, "tags")
    if len(tags) != words:
        raise UserError(
            expected=f"as many {task.tags} as {task.tokens} in {row[0]}",
            got=f"{len(tags)} for {words}",
            cure="correct or remove that example",
        )
    return tags


def _columns(
    task: TokenClassification,
    sentences: Sequence[Sequence[str]],
    gold: Sequence[Sequence[int]],
    tokenizer: Any,
) -> tuple[dict[str, list[list[int]]], list[Array]]:
    """The columns, the tag of each word at its first token among them, and the tags of the words kept."""
    if not tokenizer.is_fast:
        raise UserError(
            expected="a fast tokenizer, which knows the words of its tokens",
            got=type(tokenizer).__name__,
            cure="save the model with tokenizer.json",
        )
    if tokenizer(["a", "b"], is_split_into_words=True)["input_ids"] != tokenizer("a b")["input_ids"]:
        raise UserError(
            expected="a tokenizer that takes words as they stand in a text, a space before each",
            got=f"{type(tokenizer).__name__}, which glues them together",
            cure="set add_prefix_space: true in tokenizer_config.json, as for RoBERTa and GPT-2",
        )
    columns = tokenised(sentences, tokenizer, task.max_length, is_split_into_words=True)
    numbers = columns.pop(WORDS)
    labels, kept = [], []
    for sentence, tags in enumerate(gold):
        words = numbers[sentence]
        first = [
            word not in (before, OUTSIDE) for word, before in zip(words, [OUTSIDE, *words], strict=False)
        ]
        labels.append([tags[word] if starts else NO_WORD for word, starts in zip(words, first, strict=True)])
        kept.append(np.array([tag for tag in labels[-1] if tag != NO_WORD], dtype=np.int64))
    return {**columns, "labels": labels}, kept
