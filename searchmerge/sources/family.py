"""The checkpoints of one merge: opened together, and refused together where they do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from searchmerge.config import Models
from searchmerge.sources import kinship, vocabulary
from searchmerge.sources.census import Census, differing_settings, sources_of
from searchmerge.sources.checkpoint import Checkpoint
from searchmerge.sources.labels import Alignment, some
from searchmerge.types import UserError

_MEANING = ("model_type", "vocab_size", "num_attention_heads", "num_key_value_heads", "hidden_act")
"""Settings that give the same weights another meaning."""


@dataclass(frozen=True, eq=False)
class Sources:
    """Several checkpoints that are to be merged.

    Args:
        base: what the experts were fine-tuned from, if given.
        experts: the fine-tuned models by name, in the config's order.
        merged: canonical names of the tensors that are merged: floating point, of one shape in every expert
            (but for the rows of aligned heads), and in the base too unless ``absent``; in the model's order.
        heads: by expert, the tensors that it keeps for itself.
        absent: those among ``merged`` that the base does not have: the experts' mean stands in for it there.
        notes: what was ignored, assumed or aligned, in sentences.
        alignment: how merged heads become heads of the same labels; None where they are already.
    """

    base: Checkpoint | None
    experts: Mapping[str, Checkpoint]
    merged: tuple[str, ...]
    heads: Mapping[str, tuple[str, ...]]
    absent: tuple[str, ...]
    notes: tuple[str, ...]
    alignment: Alignment | None = None

    @property
    def encoder_decoder(self) -> bool:
        """Whether the models have an encoder and a decoder."""
        return next(iter(self.experts.values())).encoder_decoder

    @classmethod
    def open(cls, models: Models, tasks_name_heads: bool, *, strangers: bool = False) -> Sources:
        """Open all checkpoints by their headers and check that they can be merged.

        Beyond headers it reads the vocabularies and a sample of the weights (megabytes of gigabytes).

        Args:
            models: the config's section.
            tasks_name_heads: whether every task names the expert whose head scores it. Then all that is not
                part of the base model is kept out of the merge, and so are parts outside its layers that some
                source lacks (a pooler). If not, heads are merged like the rest, rows by the labels' names.
            strangers: whether experts whose weights are unrelated are let in, with a note.

        Raises:
            UserError: a checkpoint that cannot be opened, or sources that do not fit together.
        """

        def opened(ref: str) -> Checkpoint:
            return Checkpoint.open(
                ref, allow_pickle=models.allow_pickle, trust_remote_code=models.trust_remote_code
            )

        base = None if models.base is None else opened(models.base)
        experts = {name: opened(ref) for name, ref in models.experts.items()}
        everyone = sources_of(base, experts)
        for setting in _MEANING:
            _check_same(setting, everyone)
        census = Census(base, experts, models.heads, tasks_name_heads)
        alignment = census.alignment
        apart = {*census.absent, *(alignment.tensors if alignment else ())}
        shared = [name for name in census.merged if name not in apart]
        notes = [
            *(alignment.notes if alignment else ()),
            *_left_out(census, everyone),
            *(f"config.json differs in {difference}" for difference in differing_settings(everyone)),
            *vocabulary.compare({who: source.folder for who, source in everyone.items()}),
            *kinship.compare(
                everyone, shared, heads=any(census.heads.values()) or bool(alignment), strangers=strangers
            ),
        ]
        return cls(
            base=base,
            experts=experts,
            merged=tuple(census.merged),
            heads={name: tuple(tensors) for name, tensors in census.heads.items()},
            absent=tuple(census.absent),
            notes=tuple(notes),
            alignment=alignment,
        )

    @property
    def label2id(self) -> Mapping[str, int] | None:
        """The labels of the merged head, None if there is none."""
        return self.alignment.label2id if self.alignment else next(iter(self.experts.values())).label2id

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a merged tensor."""
        stored = next(iter(self.experts.values())).tensors[name].shape
        return self.alignment.shape(stored) if self.alignment and name in self.alignment.tensors else stored

    @cached_property
    def tokenizer_folder(self) -> Path:
        """The folder of the tokenizer to use: the base's if it has one, else the first expert's that does.

        Raises:
            UserError: no source has a tokenizer.
        """
        for source in sources_of(self.base, self.experts).values():
            if vocabulary.has_tokenizer(source.folder):
                return source.folder
        raise UserError(
            expected="a tokenizer in the base's or an expert's folder",
            got="none",
            cure="save the tokenizer beside the model with tokenizer.save_pretrained",
        )


def _check_same(setting: str, sources: Mapping[str, Checkpoint]) -> None:
    values = {who: getattr(source.model.model.config, setting, None) for who, source in sources.items()}
    if len(set(map(repr, values.values()))) > 1:
        raise UserError(
            expected=f"one {setting} in every source",
            got=", ".join(f"{value} in {who}" for who, value in values.items()),
            cure="merge models that were fine-tuned from one base"
            + (" with its tokenizer, without added tokens" if setting == "vocab_size" else ""),
        )


def _left_out(census: Census, sources: Mapping[str, Checkpoint]) -> list[str]:
    notes = []
    if census.dropped:
        notes.append(f"only the base has {some(census.dropped)}: left out")
    if census.absent:
        notes.append(f"the base lacks {some(census.absent)}: the experts' mean stands in for it")
    if census.integers:
        notes.append(f"{some(census.integers)} hold integers: not merged")
    known = {name for source in sources.values() for name in source.model.parameters}
    for who, source in sources.items():
        if extra := sorted(source.extra - known):
            notes.append(f"{who} stores {some(extra)}, which no source's class has: ignored")
    return notes
