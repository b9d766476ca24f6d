"""What is known of each expert's data: read from files, or measured where the data is at hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from searchmerge import config
from searchmerge.files import user_cache
from searchmerge.layout import Layout, Span
from searchmerge.objective.batching import Track
from searchmerge.sources import Sources
from searchmerge.sources.checkpoint import Checkpoint
from searchmerge.statistics import files
from searchmerge.statistics.files import Kind, Statistic
from searchmerge.statistics.measure import measure, texts_of
from searchmerge.types import UserError

__all__ = ["Kind", "Statistic", "Statistics", "of_model"]


@dataclass(frozen=True)
class Known:
    """What is known for one slab: see :class:`searchmerge.merging.method.Statistics`."""

    memo: dict[str, Any]
    input_first: bool
    fisher: Callable[[int], Tensor]
    gram: Callable[[int], Tensor | None]


class Statistics:
    """The statistics of all experts, each read or measured when it is first asked for, then resident.

    Args:
        section: ``statistics`` of the config.
        sources: the opened checkpoints.
        layout: places of the merged tensors.
        device: where models run and tensors are kept.
        trust_remote_code: whether code that came with a checkpoint may be run.
        say: told what is measured.
    """

    def __init__(
        self,
        section: config.Statistics,
        sources: Sources,
        layout: Layout,
        device: torch.device,
        *,
        trust_remote_code: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._section, self._sources, self._layout = section, sources, layout
        self._device, self._trust, self._say = device, trust_remote_code, say
        self._read: dict[tuple[Kind, str], Statistic] = {}
        self._fisher: Tensor | None = None
        self._memos: dict[tuple[str, int, int], dict[str, Any]] = {}

    def require(self, kind: Kind) -> None:
        """Make sure that every expert has a file of that kind, or texts to measure it on.

        Raises:
            UserError: one has neither, or what it has is not there or another model's.
        """
        for name in self._sources.experts:
            if not self._at_hand(kind, name):
                raise UserError(
                    expected=f"{kind} statistics of the expert {name}, or texts to measure them on",
                    got="neither",
                    cure=f"name its training texts as statistics.data.{name}, or a file as "
                    f"statistics.{kind}.{name} (searchmerge stats {kind})",
                )
            if name in self._given(kind):
                self._checked(kind, name, Path(self._given(kind)[name]))
            elif (path := self._section.data[name].path) and not Path(path).is_file():
                raise UserError(
                    expected=f"the texts of the expert {name}",
                    got=f"no file {path}",
                    cure=f"correct statistics.data.{name}",
                )

    def known(self, kind: Kind, method: str, where: slice, span: Span) -> Known:
        """What a method may ask for about a slab.

        Args:
            kind: what it merges by.
            method: its name; what it computed from the statistics is kept under it.
            where: the slab's place.
            span: the tensor there, or the first one.
        """
        experts = list(self._sources.experts)
        first = self._statistic(kind, experts[0])
        memo = self._memos.setdefault((method, where.start, where.stop), {})
        return Known(
            memo=memo,
            input_first=span.name in first.about.input_first,
            fisher=lambda model: self._information()[model, where],
            gram=lambda model: self._gram(experts[model], span.name),
        )

    def named(self, kind: Kind) -> dict[str, Any]:
        """What a recipe file says of them: how they are read, and each expert's file with its SHA-256."""
        paths = {name: self._file(kind, name) for name in self._sources.experts}
        found = {name: {"path": str(path), "sha256": files.digest(path)} for name, path in paths.items()}
        return {"kind": kind, "normalise": self._section.normalise, "files": found}

    def record(self, kind: Kind) -> dict[str, Any]:
        """What the statistics depend on beside the models, as JSON."""
        abouts = {name: self._statistic(kind, name).about for name in self._sources.experts}
        experts = {name: [about.data, about.precision, about.labels] for name, about in abouts.items()}
        return {"kind": kind, "normalise": self._section.normalise, "experts": experts}

    def there(self, kind: Kind) -> bool:
        """Whether every expert has a file of that kind, or texts to measure it on."""
        return all(self._at_hand(kind, name) for name in self._sources.experts)

    def _at_hand(self, kind: Kind, expert: str) -> bool:
        return expert in self._given(kind) or expert in self._section.data

    def _given(self, kind: Kind) -> Mapping[str, str]:
        given: Mapping[str, str] = getattr(self._section, kind)
        return given

    def _information(self) -> Tensor:
        """Fisher information of all merged parameters, float32 ``[experts, size]``."""
        if self._fisher is None:
            experts = list(self._sources.experts)
            rows = torch.zeros(len(experts), self._layout.size, device=self._device)
            for row, name in zip(rows, experts, strict=True):
                tensors = self._statistic("fisher", name).tensors
                for span in self._layout.spans:
                    row[span.start : span.stop].view(span.shape).copy_(_found(tensors, span, name))
                if self._section.normalise and row.any():
                    row.div_(row.mean())
            self._fisher = rows
        return self._fisher

    def _gram(self, expert: str, tensor: str) -> Tensor | None:
        statistic = self._statistic("gram", expert)
        return statistic.tensors.get(statistic.about.same.get(tensor, tensor))

    def _statistic(self, kind: Kind, expert: str) -> Statistic:
        if (kind, expert) not in self._read:
            statistic = self._checked(kind, expert, self._file(kind, expert))
            if kind == "gram":  # information is copied into rows of its own
                kept = {name: each.to(self._device, copy=True) for name, each in statistic.tensors.items()}
                statistic = Statistic(statistic.about, kept)
            self._read[kind, expert] = statistic
        return self._read[kind, expert]

    def _checked(self, kind: Kind, expert: str, path: Path) -> Statistic:
        statistic = files.read(path, kind)
        if statistic.about.model != self._sources.experts[expert].fingerprint:
            raise UserError(
                expected=f"{kind} statistics of the expert {expert}",
                got=f"those of another model in {path}",
                cure=f"measure them anew: searchmerge stats {kind} MODEL DATA --out FILE",
            )
        return statistic

    def _file(self, kind: Kind, expert: str) -> Path:
        if expert in self._given(kind):
            return Path(self._given(kind)[expert])
        self.require(kind)
        checkpoint = self._sources.experts[expert]
        texts = texts_of(
            checkpoint, self._section.data[expert], self._section, kind, self._device, self._trust
        )
        precision = self._section.precision
        made_of = [kind, checkpoint.fingerprint, texts.digest, precision, str(self._device)]
        name = hashlib.sha256(json.dumps([*made_of, self._section.labels]).encode()).hexdigest()[:32]
        path = _cache(self._section) / f"{kind}-{name}.safetensors"
        if not path.exists():
            self._say(f"measuring the {kind} statistics of {expert} on {len(texts.batches.order)} texts")
            made = measure(checkpoint, texts, self._section, kind, self._device, self._trust)
            files.write(made, path)
        return path


def of_model(
    kind: Kind,
    checkpoint: Checkpoint,
    source: config.Source,
    section: config.Statistics,
    device: torch.device,
    *,
    trust_remote_code: bool = False,
    track: Track = iter,
) -> Statistic:
    """Measure one model's statistics; ``track`` shows how far it has come.

    Raises:
        UserError: the data or the model are at fault.
    """
    texts = texts_of(checkpoint, source, section, kind, device, trust_remote_code)
    return measure(checkpoint, texts, section, kind, device, trust_remote_code, track)


def _found(tensors: Mapping[str, Tensor], span: Span, expert: str) -> Tensor:
    if span.name not in tensors or tuple(tensors[span.name].shape) != span.shape:
        raise UserError(
            expected=f"Fisher information of {span.name} {list(span.shape)} of the expert {expert}",
            got="none of that shape in its file",
            cure="measure it anew: searchmerge stats fisher MODEL DATA --out FILE",
        )
    return tensors[span.name]


def _cache(section: config.Statistics) -> Path:
    return Path(section.cache) if section.cache else user_cache("statistics")
