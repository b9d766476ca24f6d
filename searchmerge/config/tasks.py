"""The tasks of the objective: a section for each kind of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from searchmerge.config.section import Section, Source

METRICS: Mapping[str, tuple[str, ...]] = {
    "single-label": ("accuracy", "f1", "macro_f1", "matthews"),
    "multi-label": ("micro_f1", "macro_f1", "accuracy"),
    "regression": ("pearson", "spearman", "pearson_spearman"),
}
"""What each problem of text classification can be scored by, its default first."""


class _Task(Section):
    """What tasks of every kind have."""

    name: str
    head: str | None = Field(
        default=None, description="the expert whose head scores it; none: the merged one"
    )
    expert: str | None = Field(
        default=None, description="the task's own expert; none: that of its head or of its name"
    )
    weight: float = Field(default=1.0, gt=0)
    ood: bool = Field(
        default=False, description="out of domain: its test texts judge, apart, and never choose"
    )
    dev: Source | None = None
    test: Source | None = None

    @field_validator("name")
    @classmethod
    def _a_file(cls, name: str) -> str:
        if set(name) & set("/\\") or name in ("", ".", ".."):
            raise ValueError("a name for the file of the task's head, without slashes")
        return name

    @field_validator("dev", "test", mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _chooses_or_judges(self) -> _Task:
        if self.ood and (self.test is None or self.dev is not None):
            raise ValueError("a task out of domain has test and no dev: it never chooses")
        if not self.ood and self.dev is None and not isinstance(self, Python):
            raise ValueError("give dev, the texts that choose")
        return self


class TextClassification(_Task):
    """One label a text, any number of labels, or a number."""

    kind: Literal["text-classification"] = "text-classification"
    problem: Literal["single-label", "multi-label", "regression"] = "single-label"
    text: str = "text"
    pair: str | None = Field(default=None, description="column of the second text")
    label: str = "label"
    metric: Literal[
        "accuracy", "f1", "macro_f1", "matthews", "micro_f1", "pearson", "spearman", "pearson_spearman"
    ] = "accuracy"
    max_length: int | None = Field(default=None, ge=2)

    @model_validator(mode="before")
    @classmethod
    def _default_metric(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and "metric" not in raw and raw.get("problem") in METRICS:
            return {**raw, "metric": METRICS[raw["problem"]][0]}
        return raw

    @model_validator(mode="after")
    def _metric_of_the_problem(self) -> TextClassification:
        if self.metric not in METRICS[self.problem]:
            known = ", ".join(METRICS[self.problem])
            raise ValueError(f"{self.problem} is scored by {known}, not by {self.metric}")
        return self


class TokenClassification(_Task):
    """A tag for each word."""

    kind: Literal["token-classification"]
    tokens: str = "tokens"
    tags: str = "tags"
    metric: Literal["accuracy", "entity_f1"] = "accuracy"
    max_length: int | None = Field(default=None, ge=2)


class LanguageModeling(_Task):
    """How probable texts are, alone or after a prompt."""

    kind: Literal["language-modeling"]
    text: str = "text"
    prompt: str | None = Field(default=None, description="what stands before the text and is not scored")
    metric: Literal["loss", "perplexity"] = "loss"
    max_length: int | None = Field(default=None, ge=2)


class MultipleChoice(_Task):
    """Which of several continuations is the most probable one."""

    kind: Literal["multiple-choice"]
    prompt: str = "prompt"
    choices: str = "choices"
    label: str = "label"
    normalise: Literal["none", "characters", "tokens"] = Field(
        default="none", description="what log-likelihoods are divided by"
    )
    metric: Literal["accuracy"] = "accuracy"
    max_length: int | None = Field(default=None, ge=2)


class Generation(_Task):
    """What the model writes after a prompt."""

    kind: Literal["generation"]
    prompt: str = "prompt"
    answer: str = "answer"
    chat: bool = Field(default=False, description="whether the prompt is a user's turn of the chat template")
    max_new_tokens: int = Field(default=32, ge=1)
    stop: tuple[str, ...] = Field(default=(), description="texts that end an answer")
    metric: Literal["exact_match", "numeric", "rouge_l"] = "exact_match"
    max_length: int | None = Field(default=None, ge=2)

    @field_validator("stop", mode="before")
    @classmethod
    def _one_alone(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class Python(_Task):
    """Whatever a function says of the live model."""

    kind: Literal["python"]
    function: str = Field(pattern=r"^.+:\w+$", description="module:function, or path/to/file.py:function")
    options: dict[str, Any] = Field(default={}, description="keyword arguments of the function")
    time_limit: float | None = Field(default=None, gt=0, description="seconds of one call")
    best: float | None = Field(default=None, description="the highest score that there can be")


def _classification_by_default(raw: Any) -> Any:
    return {"kind": "text-classification", **raw} if isinstance(raw, dict) else raw


AnyTask: TypeAlias = (
    TextClassification | TokenClassification | LanguageModeling | MultipleChoice | Generation | Python
)

Task: TypeAlias = Annotated[
    Annotated[AnyTask, Field(discriminator="kind")], BeforeValidator(_classification_by_default)
]
"""One task of the objective."""

KINDS: Mapping[str, type[Section]] = {
    get_args(section.model_fields["kind"].annotation)[0]: section for section in get_args(AnyTask)
}
"""The section of each kind of task."""
