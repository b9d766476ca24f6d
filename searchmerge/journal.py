"""The journal: one JSON line a trial, flushed and synced, the only state that a run has.

Line 1 is the header: what must be the same for a run to go on. A line cut short by a kill is removed before
the next is written, so the file is always a whole number of lines.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from searchmerge.types import Cross, Evaluation, Outcomes, Trial, UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FORMAT = 1

FOR_PEOPLE = {"config", "means"}
"""Keys of the header that may differ when a run goes on: they follow from the others, or tell about them."""


class Journal:
    """The trials of one run, on disk and in memory.

    Args:
        path: the file; made with its header where there is none.
        header: a JSON mapping; the keys ``FOR_PEOPLE`` are not compared, all others must be equal to those of
            the header that stands in the file.
        resume: whether an existing file may be gone on with.

    Raises:
        UserError: the file is another run's, or exists and ``resume`` is false, or cannot be written, or
            another process writes it.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], *, resume: bool = False) -> None:
        self.path = path
        self.trials: list[Trial] = []
        header = {"format": FORMAT, **header}
        if path.exists() and path.stat().st_size and not resume:
            raise UserError(
                expected="an output folder without a run",
                got=f"{path} holds one",
                cure="add --resume to go on with it, or choose another --out",
            )
        self._file = self._open(header)

    def _open(self, header: Mapping[str, Any]) -> FileIO:
        try:
            file = self.path.open("r+b" if self.path.exists() else "x+b", buffering=0)
        except OSError as error:
            raise UserError(
                expected="a journal that can be written",
                got=f"{self.path}: {error.strerror}",
                cure="choose an --out folder that you may write to",
            ) from error
        try:
            _lock(file, self.path)
            self._begin(file, header)
        except BaseException:
            file.close()  # and gives the lock back
            raise
        return file

    def _begin(self, file: FileIO, header: Mapping[str, Any]) -> None:
        """Read what is there and stand at its end, or write the header."""
        content = file.read()
        whole = content.rfind(b"\n") + 1
        file.truncate(whole)
        file.seek(whole)
        if whole:
            first, *records = _records(content[:whole], self.path)
            _same_run(_header(first, self.path), json.loads(_dumps(header)), self.path)
            self.trials = [from_line(record) for record in records]
        else:
            _write(file, header)

    def append(self, trial: Trial) -> None:
        """Write a trial; when this returns, the line is on the disk.

        Raises:
            UserError: the disk is full; the trial is lost, the journal is whole.
        """
        end = self._file.tell()
        try:
            _write(self._file, to_line(trial))
        except OSError as error:
            self._file.truncate(end)
            self._file.seek(end)
            raise UserError(
                expected="room for the journal",
                got=f"{self.path}: {error.strerror}",
                cure="free some disk and go on with --resume",
            ) from error
        self.trials.append(trial)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Reader:
    """Reads a journal without touching it, as far as it has been written and then on.

    Args:
        path: the file.

    Attributes:
        header: its first line, None as long as there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header: dict[str, Any] | None = None
        self._place = self._lines = 0

    def more(self) -> list[Trial]:
        """The trials that have come since the last call; a torn last line is left for the next one.

        Raises:
            UserError: no such file, a damaged line, or not the file that was read before.
        """
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(self._place)
                content = file.read()
        except OSError as error:
            raise UserError(
                expected="a run's journal.jsonl",
                got=f"{self.path}: {error.strerror}",
                cure="give the --out folder of a run",
            ) from error
        if size < self._place:
            raise UserError(
                expected=f"{self.path} to grow",
                got=f"{size} bytes, {self._place} of which had been read before",
                cure="read it again from its beginning",
            )
        whole = content[: content.rfind(b"\n") + 1]
        records = _records(whole, self.path, self._lines)
        self._place, self._lines = self._place + len(whole), self._lines + len(records)
        if self.header is None and records:
            self.header = _header(records.pop(0), self.path)
        return [from_line(record) for record in records]


def read(path: Path) -> tuple[dict[str, Any], list[Trial]]:
    """Read a journal without touching it: header and whole trials; a torn last line is left out.

    Raises:
        UserError: no such file, or a damaged line.
    """
    reader = Reader(path)
    trials = reader.more()
    return reader.header or _header(None, path), trials


def _records(content: bytes, path: Path, before: int = 0) -> list[Any]:
    """The JSON values of whole lines, of which the first comes after ``before`` others."""
    records = []
    for number, line in enumerate(content.splitlines(), start=before + 1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise UserError(
                expected=f"JSON in line {number} of {path}",
                got=line[:60].decode(errors="replace"),
                cure="remove that line and all after it, then resume",
            ) from error
    return records


def _header(record: Any, path: Path) -> dict[str, Any]:
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise UserError(
            expected=f"a journal of format {FORMAT}",
            got=f"{path} is empty" if record is None else f"{path} has another first line",
            cure="give the --out folder of a run, made with this version",
        )
    return record


def to_line(trial: Trial) -> dict[str, Any]:
    """The JSON value of a trial; ``seconds`` stands last, since it alone differs between equal runs."""
    evaluation = trial.evaluation
    return {
        "number": trial.number,
        "genotype": [asdict(gene) if isinstance(gene, Cross) else gene for gene in trial.genotype],
        "recipe": trial.recipe,
        "score": evaluation.score if evaluation else None,
        "metrics": dict(evaluation.metrics) if evaluation else {},
        "state": trial.state,
        "error": trial.error,
        "repeats": trial.repeats,
        **({"share": trial.share} if trial.share < 1 else {}),
        **({"cost": trial.cost} if trial.cost < 1 else {}),
        **({} if trial.lost_to is None else {"lost_to": trial.lost_to}),
        "outcomes": {task: pack(value) for task, value in evaluation.outcomes.items()} if evaluation else {},
        "seconds": round(trial.seconds, 4),
    }


def from_line(record: Mapping[str, Any]) -> Trial:
    """The trial that :func:`to_line` wrote."""
    evaluation = None
    if record["state"] == "complete":
        outcomes = {task: unpack(text) for task, text in record["outcomes"].items()}
        evaluation = Evaluation(record["score"], record["metrics"], outcomes)
    return Trial(
        number=record["number"],
        genotype=tuple(_cross(gene) if isinstance(gene, dict) else gene for gene in record["genotype"]),
        recipe=record["recipe"],
        evaluation=evaluation,
        error=record["error"],
        repeats=record["repeats"],
        seconds=record["seconds"],
        share=record.get("share", 1.0),
        cost=record.get("cost", 1.0),
        lost_to=record.get("lost_to"),
    )


def _cross(record: Mapping[str, Any]) -> Cross:
    mutant = tuple((individual, coefficient) for individual, coefficient in record["mutant"])
    return Cross(record["parent"], mutant, record["cr"], record["seed"])


def pack(outcomes: Outcomes) -> str:
    """An array ``[examples, ...]`` as one short text: an example's shape and dtype, colon, base64."""
    shape = f"{outcomes.shape[1:]}".replace(" ", "") if outcomes.ndim > 1 else ""
    return f"{shape}{outcomes.dtype.str}:{base64.b64encode(outcomes.tobytes()).decode()}"


def unpack(text: str) -> Outcomes:
    """The array that :func:`pack` wrote."""
    dtype, _, data = text.partition(":")
    return np.frombuffer(base64.b64decode(data), dtype=np.dtype(dtype))


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _write(file: FileIO, value: Any) -> None:
    # Unbuffered: what a full disk refuses must not come back at the next flush.
    line = memoryview(_dumps(value).encode() + b"\n")
    while line:
        line = line[file.write(line) :]
    os.fsync(file.fileno())


def _lock(file: FileIO, path: Path) -> None:
    """Keep other processes out until the file is closed, by its process's end at the latest."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(
            expected="a run that no other process is going on with",
            got=f"one that writes {path}",
            cure="wait for its end or stop it, or choose another --out",
        ) from error
    except OSError:  # a network's file system without locks
        return


def _same_run(found: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    for key in sorted((found.keys() | wanted.keys()) - FOR_PEOPLE):
        if found.get(key) != wanted.get(key):
            raise UserError(
                expected=f"a run of this config in {path}",
                got=f"another run's: its {key} is {_short(found.get(key))}, now {_short(wanted.get(key))}",
                cure="resume with the config that the run was started with, or choose another --out",
            )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."
