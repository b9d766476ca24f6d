"""Reading a config file, and what is said of mistakes in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from searchmerge.config.paths import absolute
from searchmerge.config.sections import Config
from searchmerge.config.tasks import KINDS
from searchmerge.types import UserError

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
    return validate(absolute(raw, path.parent))


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
    *parents, _ = location = first["loc"] or (where,)
    path = ".".join(
        str(part) for part, before in zip(location, (None, *parents), strict=True) if not _tag(part, before)
    )
    if first["type"] == "extra_forbidden":
        valid = ", ".join(sorted(_fields_at(model, parents)))
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


def _tag(part: int | str, before: int | str | None) -> bool:
    """Whether a part of a location is pydantic's word for the kind of the task of that number."""
    return isinstance(before, int) and part in KINDS


def _fields_at(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    here: Any = model
    for part, before in zip(path, (None, *path), strict=False):
        if _tag(part, before):
            here = KINDS[str(part)]
            continue
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
