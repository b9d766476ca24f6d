"""Paths in a config file: relative to its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def absolute(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
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
    if isinstance(task.get("function"), str):
        task["function"] = _absolute_function(task["function"], folder)
    return task


def _absolute_function(function: str, folder: Path) -> str:
    """A module that lies beside the config file is taken from there."""
    module, colon, name = function.rpartition(":")
    file = folder / (module if module.endswith(".py") else f"{module.replace('.', '/')}.py")
    return f"{file.resolve()}{colon}{name}" if module and file.is_file() else function


def _absolute_source(source: Any, folder: Path) -> Any:
    source = {"path": source} if isinstance(source, str) else source
    if isinstance(source, dict) and isinstance(source.get("path"), str):
        source = {**source, "path": _absolute_path(source["path"], folder)}
    return source


def _absolute_path(path: Any, folder: Path) -> Any:
    return str((folder / Path(path).expanduser()).resolve()) if isinstance(path, str) else path
