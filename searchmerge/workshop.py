"""The workshop: what candidates are made of, resident once, and the live model that each is written into.

Memory, in copies of the merged parameters: the live weights in float32 and, as a space asks for them, base
and task vectors, the individuals of a population, or the sources of paths; and each expert's own head. Task
vectors and individuals may be stored in 16 bits, all else is float32. Every live model (one a head) is made
of views into the one live vector, so a candidate that is written there is in all of them at once. Live models
of paths are views into their sources.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from searchmerge import plugins
from searchmerge.layout import Layout, Span
from searchmerge.merging.magnitudes import Magnitudes
from searchmerge.merging.method import Method
from searchmerge.nursery import Nursery
from searchmerge.skeleton import fill, share, skeleton
from searchmerge.sources import Sources
from searchmerge.sources.checkpoint import Checkpoint
from searchmerge.statistics import Known, Statistics
from searchmerge.types import MERGED, Recipe, UserError
from searchmerge.walker import Walker
from searchmerge.written import Written

_PIECE = 2**20
"""Parameters whose differences are computed at once."""


class TaskVectors:
    """The experts' task vectors, resident, and what methods look up in them.

    Args:
        deltas: ``[experts, size]``: expert minus base, or the experts themselves without a base; in
            float32, or rounded to 16 bits.

    Attributes:
        deltas: as given.
        magnitudes: the look-up tables of their magnitudes.
    """

    def __init__(self, deltas: Tensor) -> None:
        self.deltas = deltas
        self.magnitudes = Magnitudes(deltas)
        self._memos: dict[tuple[str, int, int], dict[str, Any]] = {}

    def memo(self, method: str, run: slice) -> dict[str, Any]:
        """What a method computed for a run of parameters once and for all; the same mapping every time."""
        return self._memos.setdefault((method, run.start, run.stop), {})


class Workshop:
    """The live models and the resident sources of one process.

    Args:
        sources: the opened checkpoints.
        heads: which live models to build: names of experts (the merged body under that expert's own head) and
            ``merged``.
        device: where all of it lives.
        trust_remote_code: whether code that came with a checkpoint may be run to build its module.
        statistics: of the experts' data, for methods that merge by it.

    Attributes:
        layout: places of the merged tensors.
        experts: names of the experts, in order.
        models: the live models by head.
        written: the live vector for those who read it, and what is known to stand in it.
        resident: the task vectors that are in memory; None while there are none.

    Raises:
        UserError: a weight that is not finite, or a parameter that no source holds.
    """

    def __init__(
        self,
        sources: Sources,
        heads: Iterable[str],
        device: torch.device,
        *,
        trust_remote_code: bool = False,
        statistics: Statistics | None = None,
    ) -> None:
        self.sources = sources
        self.statistics = statistics
        self.device = device
        self.layout = layout_of(sources)
        self.experts = tuple(sources.experts)
        self._places = {span.name: span for span in self.layout.spans}
        self.resident: TaskVectors | None = None
        self._nursery: Nursery | None = None
        self._heads, self._trust_remote_code = tuple(heads), trust_remote_code
        self._walker: Walker | None = None
        self._live = torch.empty(self.layout.size, device=device)
        self.models = self.built(self._live)
        parameters = {id(each): each for model in self.models.values() for each in model.parameters()}
        self.written = Written(self._live, parameters.values())

    @property
    def live(self) -> Tensor:
        """The candidate, float32 ``[size]``, for who writes it: to be asked for each time that is done."""
        self.written.forget()
        return self._live

    # What spaces work on is read when it is first asked for. Task vectors, a population and the sources of
    # paths are not kept at the same time: each may be all that fits.

    @cached_property
    def base(self) -> Tensor | None:
        """float32 ``[size]``; None without a base. The experts' mean where the base lacks a tensor."""
        if self.sources.base is None:
            return None
        base = torch.empty(self.layout.size, device=self.device)
        self.source(None, base)
        return base

    @property
    def task_vectors(self) -> TaskVectors:
        """The experts minus the base in float32, and what is known of them."""
        return self.stored(torch.float32)

    def stored(self, dtype: torch.dtype) -> TaskVectors:
        """The experts minus the base, each difference rounded to that type; those of another are let go.

        Raises:
            UserError: a difference that is too large for the type.
        """
        if self.resident is None or self.resident.deltas.dtype != dtype:
            self.resident = self._nursery = self._walker = None
            self.written.forget()  # whose writes were counted are others
            self.resident = TaskVectors(self._deltas(dtype))
        return self.resident

    @property
    def nursery(self) -> Nursery:
        """The living individuals of a population."""
        if self._nursery is None:
            self.resident = self._walker = None
            self._nursery = Nursery(self.layout, self.device)
        return self._nursery

    def walker(self, stages: Mapping[str, Recipe]) -> Walker:
        """What takes paths through the layers of whole sources.

        Args:
            stages: the recipes of those sources that an earlier search found.
        """
        known = {} if self._walker is None else self._walker.stages
        if self._walker is None or not all(stages[name] == known.get(name, (None,))[0] for name in stages):
            made = {name: (recipe, self._merged(recipe)) for name, recipe in stages.items()}
            self.resident = self._nursery = None
            self._walker = Walker(self, {**known, **made})
        return self._walker

    def _merged(self, recipe: Recipe) -> Tensor:
        plugins.load("spaces", recipe["space"]).realise(recipe, self)
        return self._live.clone()

    def source(self, name: str | None, out: Tensor) -> None:
        """Write an expert, or the base for None, whole into ``out``, float32 ``[size]``."""
        for span in self.layout.spans:
            view(out, span).copy_(self.tensor(name, span))

    def average(self) -> Mapping[str, nn.Module]:
        """Write the plain mean of the experts into the live models; nothing becomes resident for it."""
        live = self.live
        for span in self.layout.spans:
            tensors = torch.stack([self.tensor(name, span) for name in self.experts])
            view(live, span).copy_(tensors.mean(dim=0))
        return self.models

    def known(self, method: Method, where: slice, span: Span) -> Known | None:
        """What a method has to know of the experts' data for a run whose first tensor is ``span``."""
        if method.statistics is None or self.statistics is None:
            return None
        return self.statistics.known(method.statistics, method.name, where, span)

    def tensor(self, source: str | None, span: Span) -> Tensor:
        """Read one merged tensor of an expert, or of the base for None, in float32; a head with all labels.

        Raises:
            UserError: a weight that is not finite.
        """
        alignment = self.sources.alignment
        if alignment is not None and span.name in alignment.tensors:
            return alignment.read(source, lambda who: self._stored(who, span.name))
        if source is None and span.name in self.sources.absent:
            return torch.stack([self._stored(name, span.name) for name in self.experts]).mean(dim=0)
        return self._stored(source, span.name)

    def _stored(self, source: str | None, name: str) -> Tensor:
        checkpoint = self.sources.base if source is None else self.sources.experts[source]
        assert checkpoint is not None
        return _finite(checkpoint, name)

    def _deltas(self, dtype: torch.dtype) -> Tensor:
        deltas = torch.empty(len(self.experts), self.layout.size, dtype=dtype, device=self.device)
        for row, name in zip(deltas, self.experts, strict=True):
            for span in self.layout.spans:
                where = slice(span.start, span.stop)
                base = None if self.base is None else self.base[where]
                _write_difference(self.tensor(name, span), base, row[where])
                if dtype != torch.float32 and not torch.isfinite(row[where]).all():
                    raise UserError(
                        expected=f"task vectors within the range of {str(dtype).removeprefix('torch.')}",
                        got=f"more than {torch.finfo(dtype).max:g} in {span.name} of {name}",
                        cure="set space.storage to bfloat16 or float32",
                    )
        return deltas

    def built(self, row: Tensor) -> dict[str, nn.Module]:
        """Make live models, one a head, out of the merged parameters that stand in ``row`` ``[size]``."""
        models = {head: self._model(head, row) for head in self._heads}
        share(models.values())
        return models

    def expert(self, head: str) -> Checkpoint:
        """Whose class and config a live model has."""
        return self.sources.experts.get(head) or next(iter(self.sources.experts.values()))

    def _model(self, head: str, row: Tensor) -> nn.Module:
        merged, alignment, expert = head == MERGED, self.sources.alignment, self.expert(head)
        labels = alignment.label2id if merged and alignment else None
        model = skeleton(expert, labels=labels, trust_remote_code=self._trust_remote_code)

        def source(parameter: str) -> Tensor:
            name = expert.canonical(parameter)
            # Beside tasks of the merged head, one that names an expert's head is still scored by that.
            span = self._places.get(name) if merged or name in expert.model.body else None
            if span is not None:
                return view(row, span)
            if name not in expert.tensors or merged:
                raise UserError(
                    expected=f"weights for {parameter} of {expert.architecture}",
                    got="a tensor that is not merged"
                    if name in expert.tensors
                    else f"none in {expert.folder}",
                    cure="name an expert's head for every task, or give experts saved with that head",
                )
            return _finite(expert, name).to(self.device)

        fill(model, source, self.device)
        return model


def layout_of(sources: Sources) -> Layout:
    """The layout of the merged tensors, from headers alone."""
    return Layout.of({name: sources.shape(name) for name in sources.merged})


def view(flat: Tensor, span: Span) -> Tensor:
    """The tensor of ``span`` inside the flat vector, sharing its memory."""
    return flat[span.start : span.stop].view(span.shape)


def _write_difference(tensor: Tensor, base: Tensor | None, out: Tensor) -> None:
    """Write ``tensor - base``, rounded once to the type of ``out``, flat, with little memory beside it."""
    parts = torch.split(tensor.reshape(-1).to(out.device), _PIECE)
    origins = [None] * len(parts) if base is None else torch.split(base, _PIECE)
    for part, origin, room in zip(parts, origins, torch.split(out, _PIECE), strict=True):
        room.copy_(part if origin is None else part - origin)


def _finite(checkpoint: Checkpoint, name: str) -> Tensor:
    tensor = checkpoint.load(name).float()
    if not torch.isfinite(tensor).all():
        raise UserError(
            expected="finite weights",
            got=f"NaN or infinity in {name} of {checkpoint.folder}",
            cure="leave that checkpoint out, or save it again",
        )
    return tensor


def head_state(workshop: Workshop, head: str) -> Mapping[str, Tensor]:
    """The tensors of a live model that are not merged: the expert's own head, by parameter name."""
    merged = workshop.written.weights.untyped_storage().data_ptr()
    state = workshop.models[head].state_dict()
    return {name: tensor for name, tensor in state.items() if tensor.untyped_storage().data_ptr() != merged}
