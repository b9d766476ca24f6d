"""The workshop: the source tensors, resident once, and the live model that every candidate is written into.

Memory: experts + 2 times the merged parameters in float32 (the base, the task vectors, the live weights),
and each expert's own head. Every live model (one a head) is made of views into the one live vector, so a
candidate that is written there is in all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from searchmerge.layout import Layout, Span
from searchmerge.merging.magnitudes import Magnitudes
from searchmerge.skeleton import fill, skeleton
from searchmerge.sources import Sources
from searchmerge.sources.checkpoint import Checkpoint
from searchmerge.types import MERGED, UserError


class Workshop:
    """The live models and the resident sources of one process.

    Args:
        sources: the opened checkpoints.
        heads: which live models to build: names of experts (the merged body under that expert's own head) and
            ``merged``.
        device: where all of it lives.
        trust_remote_code: whether code that came with a checkpoint may be run to build its module.

    Attributes:
        layout: places of the merged tensors.
        experts: names of the experts, in order.
        base: float32 ``[size]``, or None where no base was given.
        deltas: float32 ``[experts, size]``: expert minus base, or the experts themselves without a base.
        live: float32 ``[size]``: the candidate.
        models: the live models by head.
        magnitudes: the look-up tables of the task vectors' magnitudes.

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
    ) -> None:
        self.sources = sources
        self.device = device
        self.layout = layout_of(sources)
        self.experts = tuple(sources.experts)
        self._places = {span.name: span for span in self.layout.spans}
        self._memos: dict[tuple[str, int, int], dict[str, Any]] = {}
        self.base, self.deltas = self._resident()
        self.live = torch.empty(self.layout.size, device=device)
        self.models = {head: self._model(head, trust_remote_code) for head in heads}
        self.magnitudes = Magnitudes(self.deltas)

    def memo(self, method: str, run: slice) -> dict[str, Any]:
        """What a method computed for a run of parameters once and for all; the same mapping every time."""
        return self._memos.setdefault((method, run.start, run.stop), {})

    def _resident(self) -> tuple[Tensor | None, Tensor]:
        experts = list(self.sources.experts.values())
        deltas = torch.empty(len(experts), self.layout.size, device=self.device)
        base = None if self.sources.base is None else torch.empty(self.layout.size, device=self.device)
        absent = set(self.sources.absent)
        for span in self.layout.spans:
            rows = deltas[:, span.start : span.stop]
            for row, expert in zip(rows, experts, strict=True):
                row.copy_(_finite(expert, span.name).reshape(-1))
            if base is None:
                continue
            origin = base[span.start : span.stop]
            if span.name in absent:
                torch.mean(rows, dim=0, out=origin)
            else:
                assert self.sources.base is not None
                origin.copy_(_finite(self.sources.base, span.name).reshape(-1))
            rows.sub_(origin)
        return base, deltas

    def _model(self, head: str, trust_remote_code: bool) -> nn.Module:
        expert = next(iter(self.sources.experts.values())) if head == MERGED else self.sources.experts[head]
        model = skeleton(expert, trust_remote_code=trust_remote_code)

        def source(parameter: str) -> Tensor:
            name = expert.canonical(parameter)
            if (span := self._places.get(name)) is not None:
                return view(self.live, span)
            if name not in expert.tensors or head == MERGED:
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
    first = next(iter(sources.experts.values()))
    return Layout.of({name: first.tensors[name].shape for name in sources.merged})


def view(flat: Tensor, span: Span) -> Tensor:
    """The tensor of ``span`` inside the flat vector, sharing its memory."""
    return flat[span.start : span.stop].view(span.shape)


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
    merged = workshop.live.untyped_storage().data_ptr()
    state = workshop.models[head].state_dict()
    return {name: tensor for name, tensor in state.items() if tensor.untyped_storage().data_ptr() != merged}
