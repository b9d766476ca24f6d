"""The demo: real models, fine-tuned on real text, merged by search."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Literal

from searchmerge.config import Config, load
from searchmerge.files import output_folder, write_text

Case = Literal["tasks", "domains"]


def prepare(case: Case, folder: Path, say: Callable[[str], None]) -> Config:
    """Bring the base and the texts, fine-tune the experts, and write the config that joins them.

    What is there already is used again.

    Args:
        case: ``tasks``, four jobs with a head each; or ``domains``, one job on four kinds of text.
        folder: gets ``CASE.yaml``, ``CASE/base``, ``CASE/experts``, ``CASE/data`` and ``downloads``.
        say: told what is being done.

    Raises:
        UserError: a package cannot be fetched, or the folder cannot be written.
    """
    from searchmerge.demo.experts import prepare as make  # imports torch

    output_folder(folder)
    make(case, folder / case, folder / "downloads", say)
    config = folder / f"{case}.yaml"
    write_text(config, (files(__name__) / f"{case}.yaml").read_text(encoding="utf-8"))
    return load(config)
