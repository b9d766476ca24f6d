"""Which tensors several models share, which are heads of their own, and what stands in the way of a merge."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from searchmerge.sources.checkpoint import Checkpoint
from searchmerge.sources.labels import Alignment, align
from searchmerge.types import UserError

_LAYER = re.compile(r"(^|\.)\d+\.")
_TRAINING = re.compile(
    r"^_|dropout|_ids?$|cache|problem_type|dtype|version|initializer|label|output_|return_|architectures|gradient|task"
)
"""Settings that say how a model was trained or is called, not what its weights compute."""


@dataclass
class Census:
    """The tensors of several sources, sorted by what becomes of them.

    Args:
        base: the base model, if any.
        experts: the experts by name.
        patterns: globs over canonical and stored names of tensors to keep out of the merge.
        own_heads: whether every task is scored with an expert's own head, so that heads need not agree.

    Attributes:
        merged: canonical names of the tensors that are merged.
        heads: by expert, those that it keeps for itself.
        absent: those among ``merged`` that the base does not have.
        dropped: those that only the base has.
        integers: those that hold no floating-point numbers.
        alignment: how merged heads become heads of the same labels; None where they are already.

    Raises:
        UserError: labels that cannot be aligned, tensors that only some sources have or whose shapes differ,
            tensors that a source lacks though its class needs them, a pattern that matches none, nothing left
            to merge.
    """

    base: Checkpoint | None
    experts: Mapping[str, Checkpoint]
    patterns: Sequence[str]
    own_heads: bool
    merged: list[str] = field(default_factory=list)
    heads: dict[str, list[str]] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    integers: list[str] = field(default_factory=list)
    alignment: Alignment | None = None

    def __post_init__(self) -> None:
        self._sources = sources_of(self.base, self.experts)
        self.heads = {name: [] for name in self.experts}
        self._check_patterns()
        self._check_complete()
        if not self.own_heads:
            self.alignment = align(self.base, self.experts, self._not_listed())
        in_order = [*self.experts.values(), *([self.base] if self.base else [])]
        for name in dict.fromkeys(name for source in in_order for name in source.model.parameters):
            self._sort(name)
        if not self.merged:
            raise UserError(
                expected="tensors to merge",
                got="none: all are kept out, or hold integers",
                cure="list nothing but heads under models.heads",
            )

    def _sort(self, name: str) -> None:
        owners = {who: source for who, source in self._sources.items() if _has(source, name, who == "base")}
        if not owners:
            return
        if any(not source.tensors[name].dtype.is_floating_point for source in owners.values()):
            self.integers.append(name)
        elif owners.keys() == {"base"} and not self._in_layer(name):
            self.dropped.append(name)
        elif self._kept_out(name, owners):
            for expert, tensors in self.heads.items():
                if f"expert {expert}" in owners:
                    tensors.append(name)
        else:
            self._check_common(name, owners)
            self.merged.append(name)
            if self.base is not None and "base" not in owners:
                self.absent.append(name)

    def _not_listed(self) -> set[str]:
        """The experts' tensors that no pattern keeps out."""
        return {
            name
            for expert in self.experts.values()
            for name in expert.tensors.keys() - expert.extra
            if not _matches(self.patterns, name, expert)
        }

    def _in_layer(self, name: str) -> bool:
        """Whether a tensor belongs to one of the body's numbered layers."""
        in_body = any(name in source.model.body for source in self._sources.values())
        return in_body and _LAYER.search(name) is not None

    def _kept_out(self, name: str, owners: Mapping[str, Checkpoint]) -> bool:
        listed = any(_matches(self.patterns, name, source) for source in owners.values())
        return listed or (self.own_heads and self._is_head(name, owners))

    def _is_head(self, name: str, owners: Mapping[str, Checkpoint]) -> bool:
        """Whether a tensor is no part of the body, or a part outside its layers that some source lacks."""
        models = [source.model for source in self.experts.values()]
        if any(name in model.parameters and name not in model.body for model in models):
            return True
        return owners.keys() != self._sources.keys() and not self._in_layer(name)

    def _check_common(self, name: str, owners: Mapping[str, Checkpoint]) -> None:
        # Of an aligned tensor the rows may differ.
        first = 1 if self.alignment is not None and name in self.alignment.tensors else 0
        shapes = {source.tensors[name].shape[first:] for source in owners.values()}
        # A part that only the base's class leaves out, such as a pooler, can still be merged.
        lacking = self._sources.keys() - owners.keys() - (set() if self._in_layer(name) else {"base"})
        if len(shapes) == 1 and not lacking:
            return
        found = [
            f"{list(source.tensors[name].shape) if who in owners else 'none'} in {who}"
            for who, source in self._sources.items()
        ]
        settings = differing_settings(self._sources)[:4]
        raise UserError(
            expected=f"{name} of one shape in every source",
            got=", ".join(found) + (f" (config.json: {'; '.join(settings)})" if settings else ""),
            cure=(
                "name an expert's head for every task"
                if self._is_head(name, owners)
                else "merge models of one base"
            )
            + ", or list the tensor under models.heads to keep each expert's own",
        )

    def _check_patterns(self) -> None:
        for pattern in self.patterns:
            if not any(
                _matches([pattern], name, source)
                for source in self._sources.values()
                for name in source.tensors
            ):
                some = list(next(iter(self.experts.values())).tensors)
                raise UserError(
                    expected=f"tensors that match {pattern} of models.heads",
                    got=f"none among names such as {some[0]} and {some[-1]}",
                    cure="correct or remove the pattern",
                )

    def _check_complete(self) -> None:
        for who, source in self._sources.items():
            needed = source.missing & source.model.body if who == "base" else source.missing
            lacking = [
                name for name in sorted(needed) if not any(fnmatchcase(name, p) for p in self.patterns)
            ]
            if lacking:
                raise UserError(
                    expected=f"all tensors of {type(source.model.model).__name__} in {who} ({source.folder})",
                    got=f"none for {', '.join(lacking[:3])}{' …' if lacking[3:] else ''}",
                    cure="save the model again; if another part of it is meant, correct architectures in its "
                    "config.json, or list the tensors under models.heads",
                )


def sources_of(base: Checkpoint | None, experts: Mapping[str, Checkpoint]) -> dict[str, Checkpoint]:
    """All sources by what messages call them: ``base``, ``expert NAME``."""
    named = {f"expert {name}": expert for name, expert in experts.items()}
    return named if base is None else {"base": base, **named}


def differing_settings(sources: Mapping[str, Checkpoint]) -> list[str]:
    """What differs between the sources' configs and bears on what the weights mean.

    Defaults are filled in; what only governs training or generation is left out.

    Returns:
        Texts such as ``hidden_size: 32 (base), 64 (expert a)``.
    """
    settings = {who: source.model.model.config.to_dict() for who, source in sources.items()}
    keys = dict.fromkeys(key for values in settings.values() for key in values)
    return [
        f"{key}: " + ", ".join(f"{values.get(key)} ({who})" for who, values in settings.items())
        for key in keys
        if not _TRAINING.search(key) and len({repr(values.get(key)) for values in settings.values()}) > 1
    ]


def _has(source: Checkpoint, name: str, is_base: bool) -> bool:
    """Whether a source brings a tensor in: of a base, also one that its class would not load.

    What an expert's class does not load had no part in its training; a base's pooler was trained even where
    its config names a class without one, and experts start from it.
    """
    return name in source.tensors and (is_base or name not in source.extra)


def _matches(patterns: Sequence[str], name: str, source: Checkpoint) -> bool:
    names = {name, source.tensors[name].stored}
    return any(fnmatchcase(candidate, pattern) for pattern in patterns for candidate in names)
