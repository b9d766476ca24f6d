"""Files that are either whole or not there: written beside, then renamed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from searchmerge.types import UserError


def write_text(path: Path, text: str) -> None:
    """Replace a file by ``text``."""
    with _refused(path):
        beside = path.with_name(f".{path.name}.partial")
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a file by a JSON value, indented for people."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a folder to write into, which takes the name ``path`` when the block ends without an error."""
    with _refused(path):
        beside = path.with_name(f".{path.name}.partial")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            yield beside
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        if path.exists():
            shutil.rmtree(path)
        beside.rename(path)


def user_cache(name: str) -> Path:
    """The folder of that name in this program's part of the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "searchmerge" / name


def output_folder(path: Path) -> Path:
    """Make the folder and prove that it can be written to.

    Raises:
        UserError: it cannot.
    """
    with _refused(path):
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".searchmerge.partial"
        probe.write_text("", encoding="utf-8")
        probe.unlink()
    return path


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON mapping; ``what`` names it in the message.

    Raises:
        UserError: no such file, or no JSON mapping in it.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(expected=what, got=f"{path}: {error.strerror}", cure="check the path") from error
    except ValueError as error:
        raise UserError(expected=what, got=f"{path}: no JSON, {error}", cure="check the path") from error
    if not isinstance(value, dict):
        raise UserError(expected=what, got=f"{path} holds a {type(value).__name__}", cure="check the path")
    return value


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            expected=f"to write {path}",
            got=error.strerror or str(error),
            cure="choose a folder that you may write to, with room in it",
        ) from error
