"""Whether the texts that choose are also among those that judge, or those that an expert was trained on."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from searchmerge.config import Config, Source
from searchmerge.config.tasks import (
    AnyTask,
    Generation,
    LanguageModeling,
    MultipleChoice,
    TextClassification,
    TokenClassification,
)
from searchmerge.objective import fields
from searchmerge.objective.data import Row, read

INTO: tuple[Literal["training", "test"], ...] = ("training", "test")
"""Where dev texts must not be."""

SHOWN = 3
"""Examples of a leak that are shown."""


@dataclass(frozen=True)
class Leak:
    """Texts that stand in two places.

    Args:
        between: which two, in words.
        count: how many of the first place's texts.
        of: how many texts the first place has.
        examples: the first few, cut.
    """

    between: str
    count: int
    of: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        """In one sentence."""
        shown = "; ".join(repr(text) for text in self.examples)
        return f"{self.count} of {self.of} texts are the same in {self.between}: {shown}"

    @property
    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def leaks(config: Config, into: Literal["test", "training"]) -> Iterator[Leak]:
    """Find the dev texts of each task that stand in its test split too, or in any expert's training data.

    Texts are compared without regard to case, white space and Unicode form. What an expert was trained on is
    what ``statistics.data`` of the config names.

    Raises:
        UserError: data that cannot be read.
    """
    trained = _trained_on(config) if into == "training" else {}
    for task in config.objective.tasks:
        if task.dev is None or (into == "test" and task.test is None):
            continue
        dev = texts_of(task, task.dev)
        others = {"test": _known(texts_of(task, task.test))} if into == "test" and task.test else trained
        for name, known in others.items():
            found = [text for text in dev if normalised(text) in known]
            if found:
                place = "test" if into == "test" else f"the training data of the expert {name}"
                shown = tuple(text if len(text) <= 60 else f"{text[:57]}..." for text in found[:SHOWN])
                yield Leak(f"dev of {task.name} and {place}", len(found), len(dev), shown)


def texts_of(task: AnyTask, source: Source) -> list[str]:
    """What the models read of each example; of tasks in Python nothing is known."""
    return [text for row in read(source) if (text := _text(task, row))]


def normalised(text: str) -> str:
    """A text without regard to case, white space and Unicode form."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _text(task: AnyTask, row: Row) -> str:
    if isinstance(task, TextClassification):
        pair = f"\n{fields.text(row, task.pair, 'pair')}" if task.pair else ""
        return fields.text(row, task.text) + pair
    if isinstance(task, TokenClassification):
        return " ".join(fields.words(row, task.tokens))
    if isinstance(task, LanguageModeling):
        prompt = f"{fields.text(row, task.prompt, 'prompt')}\n" if task.prompt else ""
        return prompt + fields.text(row, task.text)
    if isinstance(task, Generation | MultipleChoice):
        return fields.text(row, task.prompt, "prompt")
    return ""


def _trained_on(config: Config) -> Mapping[str, frozenset[str]]:
    known, section = {}, config.statistics
    for name, source in section.data.items():
        known[name] = _known([fields.text(row, section.text) for row in read(source)])
    return known


def _known(texts: list[str]) -> frozenset[str]:
    return frozenset(normalised(text) for text in texts)
