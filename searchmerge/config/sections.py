"""The sections of a config."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from searchmerge.config.section import Section, Source
from searchmerge.config.tasks import Task

Baseline: TypeAlias = Literal[
    "experts", "average", "soup", "ensemble", "tuned", "ties", "dare", "fisher", "regmean"
]
"""What a winner is compared with; see :func:`searchmerge.baselines.baselines`."""


class Models(Section):
    """The sources: Hugging Face folders (relative to the config file) or hub ids."""

    base: str | None = None
    experts: dict[str, str] = Field(min_length=1)
    heads: tuple[str, ...] = Field(default=(), description="glob patterns of tensors kept out of the merge")
    allow_pickle: bool = False
    trust_remote_code: bool = False


class Part(BaseModel):
    """A named part with options of its own: the part's class checks those."""

    model_config = ConfigDict(extra="allow", frozen=True)
    kind: str

    @property
    def options(self) -> dict[str, Any]:
        """Everything but ``kind``."""
        return dict(self.model_extra or {})


class Penalty(Section):
    """What is taken off a candidate's score; neither baselines nor the report know of it."""

    coefficients: float = Field(
        default=0.0, ge=0, description="times the mean size of the experts' coefficients (LoRAHub: 0.05)"
    )
    distance: float = Field(
        default=0.0, ge=0, description="times the distance from the base, relative to the base's length"
    )


class Subset(Section):
    """How much of dev the search sees: a part that grows, drawn alike from every label."""

    start: float = Field(default=0.25, gt=0, lt=1, description="share of dev in the first round")
    rounds: int = Field(default=3, ge=1, description="of the evaluations; the last one's share is 1")
    finalists: int = Field(default=5, ge=1, description="best candidates that are scored on the whole dev")


class Objective(Section):
    """What a merged model is judged by."""

    tasks: tuple[Task, ...] = Field(min_length=1)
    aggregate: Literal["mean", "worst", "relative", "pareto"] = Field(
        default="mean",
        description="of the tasks; relative: mean of what each is of its own expert's; pareto: kept apart",
    )
    penalty: Penalty = Penalty()
    subset: Subset | None = Field(default=None, description="search on a part of dev, decide on the whole")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    batches: Literal["auto", "length", "difficulty"] = Field(
        default="auto",
        description="what dev texts of a batch have in common; auto: difficulty for a population, whose "
        "children are stopped when they cannot win any more",
    )
    batch_tokens: int | None = Field(
        default=None, ge=1, description="padded tokens in one forward pass; none: what suits the device"
    )
    prefix_gib: float = Field(
        default=1.0, ge=0, description="memory for hidden states of layers that candidates have in common"
    )

    @field_validator("tasks")
    @classmethod
    def _names_differ(cls, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
        names = [task.name for task in tasks]
        if len(set(names)) < len(names):
            raise ValueError(f"every task needs a name of its own, these were given: {', '.join(names)}")
        if all(task.ood for task in tasks):
            raise ValueError("give a task that is not out of domain, to choose by")
        return tasks

    @model_validator(mode="after")
    def _kept_apart(self) -> Objective:
        if self.aggregate != "pareto":
            return self
        if sum(not task.ood for task in self.tasks) < 2:
            raise ValueError("two tasks or more to choose by, for aggregate: pareto")
        if any(self.penalty.model_dump().values()):
            raise ValueError("no penalty with aggregate: pareto, which has no one score to take it off")
        if self.subset is not None:
            raise ValueError(
                "no subset with aggregate: pareto, where values of all rounds stand side by side"
            )
        return self


class Statistics(Section):
    """What is known of the data that the experts were trained on, for methods that merge by it."""

    data: dict[str, Source] = Field(
        default={}, description="texts of each expert, of its training set if they are at hand"
    )
    text: str = "text"
    label: str = "label"
    limit: int = Field(default=1000, ge=1, description="take only the first so many texts")
    max_length: int | None = Field(default=None, ge=2)
    precision: Literal["auto", "float32", "bfloat16", "int8"] = Field(
        default="float32",
        description="int8: float32, but inner products of inputs rounded at random to 8 bits, on a CPU; "
        "auto: the same, or in bfloat16, where that is quicker; bfloat16: all of it",
    )
    labels: Literal["expected", "true"] = Field(
        default="expected", description="of Fisher information: over all labels, or the true one"
    )
    normalise: bool = Field(default=False, description="give the experts' Fisher information one mean")
    gram: dict[str, str] = Field(default={}, description="the file of each expert")
    fisher: dict[str, str] = Field(default={}, description="the file of each expert")
    cache: str | None = Field(default=None, description="folder of what is measured; none: the user's cache")

    @field_validator("labels", mode="before")
    @classmethod
    def _yaml_reads_true_as_a_boolean(cls, value: Any) -> Any:
        return "true" if value is True else value

    @field_validator("data", mode="before")
    @classmethod
    def _paths_alone(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: {"path": each} if isinstance(each, str) else each for name, each in value.items()}


class Budget(Section):
    """When the search ends: whichever comes first."""

    evaluations: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0)
    patience: int | None = Field(default=None, ge=1, description="evaluations without a better score")

    @model_validator(mode="after")
    def _ends(self) -> Budget:
        if self.evaluations is None and self.seconds is None and self.patience is None:
            raise ValueError("give at least one of evaluations, seconds, patience")
        return self


class Stage(Section):
    """A search before the main one, with the same models, objective and seed."""

    name: str = Field(description="of its winner among the sources, and of its folder")
    space: Part
    strategy: Part = Part(kind="de")
    budget: Budget = Budget(evaluations=200)

    @field_validator("name")
    @classmethod
    def _a_folder(cls, name: str) -> str:
        if set(name) & set("/\\") or name in ("", ".", "..", "model"):
            raise ValueError("a name for a folder beside model, without slashes")
        return name


class Compare(Section):
    """What `searchmerge compare` puts side by side; no other command reads it."""

    strategies: dict[str, Part] = Field(default={}, description="by what the tables call them")
    spaces: dict[str, Part] = Field(default={}, description="likewise; none: the config's own")
    seeds: int = Field(default=5, ge=1, description="runs of each strategy over each space")


class Config(Section):
    """A whole run."""

    models: Models
    space: Part
    strategy: Part = Part(kind="de")
    objective: Objective
    statistics: Statistics = Statistics()
    budget: Budget = Budget(evaluations=200)
    before: tuple[Stage, ...] = Field(
        default=(), description="earlier searches, whose winners are sources of the space paths"
    )
    seed: int = Field(default=0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    baselines: tuple[Baseline, ...] = get_args(Baseline)
    references: dict[str, str] = Field(default={}, description="further checkpoints to compare with, by name")
    compare: Compare = Compare()

    @field_validator("before")
    @classmethod
    def _each_gives_a_model(cls, before: tuple[Stage, ...]) -> tuple[Stage, ...]:
        if any(stage.space.kind == "paths" for stage in before):
            raise ValueError("give searches whose winner has as many layers as its sources, so not of paths")
        names = [stage.name for stage in before]
        if len(set(names)) < len(names):
            raise ValueError(f"every search needs a name of its own, these were given: {', '.join(names)}")
        return before
