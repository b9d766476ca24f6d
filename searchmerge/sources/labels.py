"""Heads of other labels, or of the same in another order, made heads of one shape, rows matched by name."""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from searchmerge.sources.checkpoint import Checkpoint
from searchmerge.types import UserError

_UNNAMED = re.compile(r"LABEL_\d+")
"""What transformers calls a label that nobody named."""

_CURE = "name an expert's head for every task, or list its tensors under models.heads"


@dataclass(frozen=True)
class Alignment:
    """How the heads of several classifiers become heads of one shape, with a row for every label.

    An expert's row goes to the place of its label. For a label that an expert does not have, the mean of the
    experts that have it stands in: the experts' plain mean is then that mean, and so is the base's row where
    the base has none, so that the expert's task vector is zero there.

    Args:
        tensors: canonical names of the tensors whose rows are the labels'.
        experts: each expert's labels, in the order of its rows.
        base: the base's labels; empty where it has such a head but no names, None where it has no such head.
    """

    tensors: frozenset[str]
    experts: Mapping[str, tuple[str, ...]]
    base: tuple[str, ...] | None = None

    @cached_property
    def label2id(self) -> dict[str, int]:
        """The merged head's labels: the first expert's, then what each further one adds."""
        union = dict.fromkeys(label for labels in self.experts.values() for label in labels)
        return {label: number for number, label in enumerate(union)}

    def shape(self, own: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of an aligned tensor, ``[labels, ...]``, by the one that an expert stores."""
        return (len(self.label2id), *own[1:])

    def read(self, source: str | None, stored: Callable[[str | None], Tensor]) -> Tensor:
        """Give an aligned tensor of an expert, or of the base for None: float32 ``[labels, ...]``.

        Args:
            source: whose.
            stored: gives the tensor as a source stores it, float32 ``[its labels, ...]``.
        """
        aligned = self._mean({name: stored(name) for name in self.experts})
        labels = self.base if source is None else self.experts[source]
        if labels:
            for label, row in zip(labels, stored(source), strict=True):
                if label in self.label2id:
                    aligned[self.label2id[label]] = row
        return aligned

    def _mean(self, heads: Mapping[str, Tensor]) -> Tensor:
        """The mean of every label's rows over the experts that have it, ``[labels, ...]``."""
        rows = defaultdict(list)
        for name, head in heads.items():
            for label, row in zip(self.experts[name], head, strict=True):
                rows[label].append(row.double())
        # In float64, so that it is rounded once, whatever the order of the experts.
        return torch.stack([torch.stack(rows[label]).mean(dim=0) for label in self.label2id]).float()

    @property
    def record(self) -> dict[str, Any]:
        """What the alignment depends on, as JSON."""
        return {
            "experts": {name: list(labels) for name, labels in self.experts.items()},
            "base": None if self.base is None else list(self.base),
        }

    @property
    def notes(self) -> list[str]:
        """Who brings which labels, in sentences."""
        labels_of = defaultdict(list)
        for label in self.label2id:
            owners = [name for name, own in self.experts.items() if label in own]
            labels_of[" and ".join(owners) if owners[1:] else f"{owners[0]} only"].append(label)
        parts = [f"{some(labels, 8)} from {owners}" for owners, labels in labels_of.items()]
        notes = [f"head: {len(self.label2id)} labels, matched by name: {'; '.join(parts)}"]
        if self.base is not None:
            known = [label for label in self.base if label in self.label2id]
            only = [label for label in self.base if label not in self.label2id]
            notes += [f"head of the base: its rows count for {some(known, 8)}"] if known else []
            notes += [f"only the base's head has {some(only, 8)}: left out"] if only else []
            notes += [] if self.base else ["the base's head does not name its labels: left out"]
        return notes


def align(base: Checkpoint | None, experts: Mapping[str, Checkpoint], merged: Set[str]) -> Alignment | None:
    """Find out how the experts' heads are to be aligned, from configs and empty models.

    Args:
        base: the base model, if any.
        experts: the experts by name.
        merged: canonical names of the experts' tensors that are to be merged.

    Returns:
        None where every row has its place already: the same labels in the same order. Labels that nobody
        named (``LABEL_0`` …) go by their places as long as all experts have equally many.

    Raises:
        UserError: labels that differ and cannot be matched by name, or that no tensor has a row each for.
    """
    named = {name: source.label2id for name, source in experts.items() if _is_named(source)}
    first = next(iter(named.values()), None)
    differ = any(labels != first for labels in named.values())
    alike = not differ and len({source.model.model.config.num_labels for source in experts.values()}) == 1
    base_differs = base is not None and _is_named(base) and base.label2id != first
    if alike and not (base_differs and len(named) == len(experts)):
        return None
    rows, *others = [_label_rows(name, source) for name, source in experts.items()]
    if any(found != rows for found in others):
        raise _undecided("other ones in one expert than in another", experts)
    if not rows and differ and any(merged - source.model.body for source in experts.values()):
        raise _undecided("none", experts)
    tensors = rows & merged
    in_base = base is not None and tensors <= base.tensors.keys()
    if not tensors or (alike and not in_base):
        return None
    own = {name: _labels(f"expert {name}", source) for name, source in experts.items()}
    return Alignment(tensors, own, _base_labels(base, tensors) if base is not None and in_base else None)


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few of several names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if names[most:] else "")


def _is_named(source: Checkpoint) -> bool:
    return not all(_UNNAMED.fullmatch(label) for label in source.label2id or ())


def _label_rows(name: str, source: Checkpoint) -> frozenset[str]:
    """The tensors with a row a label: those with one row more where the class is made for one label more."""
    model = source.model.model
    config = copy.deepcopy(model.config)
    config.num_labels += 1
    with torch.device("meta"):
        larger = type(model)(config).state_dict()
    grown = {
        tensor: tuple(larger[parameter].shape)
        for tensor, parameter in source.model.parameters.items()
        if larger[parameter].shape != source.model.shapes[tensor]
    }
    for tensor, shape in grown.items():
        rows, *rest = source.model.shapes[tensor]
        if shape != (rows + 1, *rest) or rows != model.config.num_labels:
            raise _undecided(f"{tensor}, which has another number of rows", {name: source})
    return frozenset(grown)


def _labels(who: str, source: Checkpoint) -> tuple[str, ...]:
    """The names of a classifier's labels, in the order of its rows."""
    numbers = source.label2id or {}
    labels = tuple(sorted(numbers, key=numbers.__getitem__))
    if not _is_named(source):
        raise UserError(
            expected="labels with names in every expert, since heads of other labels are matched by name",
            got=f"{some(labels) or 'none'} in {who}",
            cure=f"write the names as id2label and label2id into config.json of {who}, or {_CURE}",
        )
    names = {number: str(label) for number, label in source.model.model.config.id2label.items()}
    if names != dict(enumerate(labels)) or numbers != {label: number for number, label in names.items()}:
        raise UserError(
            expected=f"label2id and id2label of one meaning, numbered from 0, in config.json of {who}",
            got=f"{numbers} and {names}",
            cure="correct what is wrong there: heads of other labels are matched by name",
        )
    return labels


def _base_labels(base: Checkpoint, tensors: Set[str]) -> tuple[str, ...]:
    """As :func:`_labels`, but empty where the base's rows are not named."""
    if not _is_named(base):
        return ()
    labels = _labels("base", base)
    # A base's file may hold a head that its class leaves out, and that the config does not describe.
    return labels if all(base.tensors[name].shape[0] == len(labels) for name in tensors) else ()


def _undecided(got: str, experts: Mapping[str, Checkpoint]) -> UserError:
    said = "; ".join(
        f"{source.architecture} of {source.label2id} in expert {name}" for name, source in experts.items()
    )
    return UserError(
        expected="the same labels in every expert, or tensors with one row a label to match them by name",
        got=f"{got} ({said})",
        cure=_CURE,
    )
