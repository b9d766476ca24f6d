"""The config file: YAML checked by a typed schema, every mistake answered with what is valid there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from searchmerge.types import UserError

Baseline: TypeAlias = Literal[
    "experts", "average", "soup", "ensemble", "tuned", "ties", "dare", "fisher", "regmean"
]
"""What a winner is compared with; see :func:`searchmerge.baselines.baselines`."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Models(_Section):
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


class Source(_Section):
    """Where the examples of one split come from: a local file, or a data set of the hub."""

    path: str | None = None
    dataset: str | None = None
    name: str | None = None
    split: str | None = None
    limit: int | None = Field(default=None, ge=1, description="take only the first so many examples")

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give either path (a local file) or dataset (a hub id)")
        if self.dataset is not None and self.split is None:
            raise ValueError("a hub data set needs its split")
        return self


class Task(_Section):
    """One task of the objective."""

    name: str
    kind: Literal["text-classification"] = "text-classification"
    head: str | None = Field(
        default=None, description="the expert whose head scores it; none: the merged one"
    )
    weight: float = Field(default=1.0, gt=0)
    ood: bool = Field(
        default=False, description="out of domain: its test texts judge, apart, and never choose"
    )
    dev: Source | None = None
    test: Source | None = None
    text: str = "text"
    label: str = "label"
    metric: Literal["accuracy", "macro_f1", "matthews"] = "accuracy"
    max_length: int | None = Field(default=None, ge=2)

    @field_validator("dev", "test", mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _chooses_or_judges(self) -> Task:
        if self.ood and (self.test is None or self.dev is not None):
            raise ValueError("a task out of domain has test and no dev: it never chooses")
        if not self.ood and self.dev is None:
            raise ValueError("give dev, the texts that choose")
        return self


class Objective(_Section):
    """What a merged model is judged by."""

    tasks: tuple[Task, ...] = Field(min_length=1)
    aggregate: Literal["mean"] = "mean"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    batch_tokens: int | None = Field(
        default=None, ge=1, description="padded tokens in one forward pass; none: what suits the device"
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


class Statistics(_Section):
    """What is known of the data that the experts were trained on, for methods that merge by it."""

    data: dict[str, Source] = Field(
        default={}, description="texts of each expert, of its training set if they are at hand"
    )
    text: str = "text"
    label: str = "label"
    limit: int = Field(default=1000, ge=1, description="take only the first so many texts")
    max_length: int | None = Field(default=None, ge=2)
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="float32", description="auto: float32, but inner products in bfloat16 where that is native"
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


class Budget(_Section):
    """When the search ends: whichever comes first."""

    evaluations: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0)
    patience: int | None = Field(default=None, ge=1, description="evaluations without a better score")

    @model_validator(mode="after")
    def _ends(self) -> Budget:
        if self.evaluations is None and self.seconds is None and self.patience is None:
            raise ValueError("give at least one of evaluations, seconds, patience")
        return self


class Config(_Section):
    """A whole run."""

    models: Models
    space: Part
    strategy: Part = Part(kind="de")
    objective: Objective
    statistics: Statistics = Statistics()
    budget: Budget = Budget(evaluations=200)
    seed: int = Field(default=0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    baselines: tuple[Baseline, ...] = get_args(Baseline)
    references: dict[str, str] = Field(default={}, description="further checkpoints to compare with, by name")


_Checked = TypeVar("_Checked", bound=BaseModel)


def load(path: Path, overrides: Iterable[str] = ()) -> Config:
    """Read a config file.

    Args:
        path: the YAML file; relative paths inside are taken from its folder.
        overrides: ``path.to.key=value`` texts that replace values of the file, the value in YAML.

    Raises:
        UserError: no such file, no YAML, an unknown key, a wrong value.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            expected="a readable config file", got=f"{path}: {error.strerror}", cure="check the path"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            expected=f"YAML in {path}", got=" ".join(str(error).split()), cure="mend that line"
        ) from error
    if not isinstance(raw, dict):
        raise UserError(
            expected=f"a mapping of sections in {path}",
            got=type(raw).__name__,
            cure=f"give the sections {', '.join(Config.model_fields)}",
        )
    for override in overrides:
        _override(raw, override)
    return validate(_absolute(raw, path.parent))


def validate(raw: Mapping[str, Any]) -> Config:
    """Check a config that is already a mapping, with the same errors as :func:`load`."""
    return checked(Config, raw, "config")


def checked(section: type[_Checked], raw: Mapping[str, Any], where: str) -> _Checked:
    """Check one section, or the whole, with the same errors as :func:`load`; ``where`` names it."""
    try:
        return section.model_validate(raw)
    except ValidationError as error:
        raise explain(error, section, where) from error


def explain(error: ValidationError, model: type[BaseModel], where: str) -> UserError:
    """Turn pydantic's first complaint into the three-part message; unknown keys list the valid ones."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"]) or where
    if first["type"] == "extra_forbidden":
        valid = ", ".join(sorted(_fields_at(model, first["loc"][:-1])))
        return UserError(
            expected=f"one of the keys {valid}", got=f"unknown key {path}", cure="correct or remove that key"
        )
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return UserError(expected=f"{path} in the {where}", got="nothing", cure=f"add {path}")
    return UserError(
        expected=f"{path}: {message}", got=_short(first["input"]), cure=f"correct {path} in the {where}"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    here: Any = model
    for part in path:
        annotation = here.model_fields[part].annotation if part in getattr(here, "model_fields", {}) else here
        here = _section_in(annotation) or here
    return list(here.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, tuple, dict) or get_args(annotation):
        return next((found for arg in get_args(annotation) if (found := _section_in(arg))), None)
    return None


def _override(raw: dict[str, Any], override: str) -> None:
    path, equals, value = override.partition("=")
    if not equals or not path:
        raise UserError(
            expected="--set path.to.key=value", got=override, cure="for example --set strategy.population=8"
        )
    *parents, key = path.split(".")
    here: Any = raw
    for parent in parents:
        here = here[int(parent)] if isinstance(here, list) else here.setdefault(parent, {})
        if not isinstance(here, dict | list):
            raise UserError(
                expected=f"a section at {parent}", got=_short(here), cure=f"correct the path {path}"
            )
    here[int(key) if isinstance(here, list) else key] = yaml.safe_load(value)


def _absolute(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Resolve what names a file of the config's folder; what does not exist there may be a hub id."""

    def resolve(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        path = folder / Path(value).expanduser()
        return str(path.resolve()) if path.exists() or value.startswith((".", "/", "~")) else value

    models = raw.get("models")
    if isinstance(models, dict):
        models = {**models, "base": resolve(models.get("base"))}
        if isinstance(models.get("experts"), dict):
            models["experts"] = {name: resolve(ref) for name, ref in models["experts"].items()}
        raw = {**raw, "models": models}
    objective = raw.get("objective")
    if isinstance(objective, dict) and isinstance(objective.get("tasks"), list):
        tasks = [_absolute_task(task, folder) for task in objective["tasks"]]
        raw = {**raw, "objective": {**objective, "tasks": tasks}}
    if isinstance(raw.get("references"), dict):
        raw = {**raw, "references": {name: resolve(ref) for name, ref in raw["references"].items()}}
    if isinstance(raw.get("statistics"), dict):
        raw = {**raw, "statistics": _absolute_statistics(raw["statistics"], folder)}
    return raw


def _absolute_statistics(section: dict[str, Any], folder: Path) -> dict[str, Any]:
    section = dict(section)
    if isinstance(section.get("data"), dict):
        section["data"] = {name: _absolute_source(each, folder) for name, each in section["data"].items()}
    for kind in ("gram", "fisher"):
        if isinstance(section.get(kind), dict):
            section[kind] = {name: _absolute_path(each, folder) for name, each in section[kind].items()}
    if "cache" in section:
        section["cache"] = _absolute_path(section["cache"], folder)
    return section


def _absolute_task(task: Any, folder: Path) -> Any:
    if not isinstance(task, dict):
        return task
    task = dict(task)
    for split in ("dev", "test"):
        if task.get(split) is not None:
            task[split] = _absolute_source(task[split], folder)
    return task


def _absolute_source(source: Any, folder: Path) -> Any:
    source = {"path": source} if isinstance(source, str) else source
    if isinstance(source, dict) and isinstance(source.get("path"), str):
        source = {**source, "path": _absolute_path(source["path"], folder)}
    return source


def _absolute_path(path: Any, folder: Path) -> Any:
    return str((folder / Path(path).expanduser()).resolve()) if isinstance(path, str) else path
