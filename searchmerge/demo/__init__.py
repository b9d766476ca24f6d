"""The demo: real models, fine-tuned on real text, merged by search."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Literal

from searchmerge.config import Config, load
from searchmerge.files import output_folder, write_text

Case = Literal["tasks", "domains", "tagging", "writing", "answers"]


def prepare(case: Case, folder: Path, say: Callable[[str], None]) -> Config:
    """Bring the base and the texts, fine-tune the experts, and write the config that joins them.

    What is there already and made from the same things is used again.

    Args:
        case: ``tasks``, four jobs with a head each; ``domains``, one job on four kinds of text; ``tagging``,
            parts of speech in four genres; ``writing``, a decoder's two kinds of text; or ``answers``, an
            encoder-decoder's three questions.
        folder: gets ``CASE.yaml``, ``CASE/base``, ``CASE/experts``, ``CASE/data`` and ``downloads``.
        say: told what is being done.

    Raises:
        UserError: a package cannot be fetched or is not installed, or the folder cannot be written.
    """
    from searchmerge.quiet import quiet  # imports transformers

    output_folder(folder)
    with quiet():
        _make(case, folder / case, folder / "downloads", say)
    config = folder / f"{case}.yaml"
    write_text(config, (files(__name__) / f"{case}.yaml").read_text(encoding="utf-8"))
    return load(config)


def _make(case: Case, folder: Path, cache: Path, say: Callable[[str], None]) -> None:
    from searchmerge.demo import answers, classifying, tagging, writing  # import torch

    if case == "tagging":
        tagging.prepare(folder, cache, say)
    elif case == "writing":
        writing.prepare(folder, cache, say)
    elif case == "answers":
        answers.prepare(folder, cache, say)
    else:
        classifying.prepare(case, folder, cache, say)
