"""Whole models merged as a recipe says: one method, run by run of the parameters that share its knobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

from torch import Tensor

from searchmerge.layout import Granularity, Layout, Span
from searchmerge.merging import find
from searchmerge.merging.masks import key
from searchmerge.merging.method import Knob, Method, Slab, Statistics
from searchmerge.types import Recipe

Setting: TypeAlias = float | dict[str, Any]
"""A knob's value in a recipe: a number, or a mapping of models and groups down to numbers."""


@dataclass(frozen=True)
class _Run:
    """Neighbouring tensors that share every coefficient, and the group of each knob that they stand in."""

    spans: tuple[Span, ...]
    groups: Mapping[str, str]

    @property
    def where(self) -> slice:
        return slice(self.spans[0].start, self.spans[-1].stop)


def _signature(recipe: Recipe, method: Method) -> tuple[tuple[tuple[str, Granularity], ...], bool]:
    granularity = tuple((knob.name, recipe["granularity"][knob.name]) for knob in method.knobs)
    return granularity, method.scope == "tensor"


@lru_cache(maxsize=8)
def _runs(layout: Layout, signature: tuple[tuple[tuple[str, Granularity], ...], bool]) -> tuple[_Run, ...]:
    granularity, by_tensor = signature
    runs: list[_Run] = []
    for span in layout.spans:
        groups = {knob: span.group(word) for knob, word in granularity}
        if runs and runs[-1].groups == groups and not by_tensor:
            runs[-1] = _Run((*runs[-1].spans, span), groups)
        else:
            runs.append(_Run((span,), groups))
    return tuple(runs)


class Ingredients(Protocol):
    """What is merged: models by name, whose parameters are given run by run."""

    @property
    def names(self) -> Sequence[str]:
        """Of the models, in order."""

    def pieces(self, run: slice) -> Iterable[slice]:
        """How a run is cut where the method allows it."""

    def base(self, where: slice) -> Tensor | None:
        """Parameters of the base, float32 ``[n]``; None where there is none."""

    def deltas(self, where: slice) -> Tensor:
        """Task vectors, or without a base the models themselves, as they are stored, ``[models, n]``."""

    def cutoff(self, model: int, scope: slice, density: float) -> float:
        """The least magnitude among the ``density`` largest of one model in a scope."""

    @property
    def lasting(self) -> bool:
        """Whether the next candidate is made of the same models."""

    def memo(self, method: str, run: slice) -> dict[str, Any]:
        """What a method computed for a run; the same mapping for as long as the models are the same."""

    def known(self, method: Method, where: slice, span: Span) -> Statistics | None:
        """What the method has to know of the models' data there; ``span`` is the tensor, or the first."""


def models_known(
    method: Method, experts: int, layout: Layout, *, searched: bool = False, lasting: bool = True
) -> float:
    """Copies of the merged parameters, counted in float32, that what a method has to know takes.

    Grams are counted for every matrix as if none shared its inputs with another. What is made of them once
    is counted too: a decomposition where their weighting is searched, shares where the models change.
    """
    if method.statistics == "fisher":
        return experts
    if method.statistics == "gram":
        squares = sum(span.shape[-1] ** 2 for span in layout.spans if _linear(span)) / layout.size
        return squares * experts * (1 if lasting else 2) + (5 if searched else 0)
    return 0.0


def _linear(span: Span) -> bool:
    return len(span.shape) == 2 and span.layer != "embeddings"


def merge(
    recipe: Recipe,
    of: Ingredients,
    layout: Layout,
    out: Tensor,
    known: MutableMapping[tuple[int, int], str] | None = None,
) -> None:
    """Write the merge that a recipe describes.

    Args:
        recipe: ``method``, ``reading``, ``granularity`` by knob, ``knobs`` with their settings, ``seed``; of
            methods that prepare for it also which knobs are ``searched``.
        of: what is merged.
        layout: places of the tensors.
        out: float32 ``[size]``.
        known: of runs in ``out``, by start and stop, the values that they were merged by, all else in the
            recipe and the models being the same. What would come out the same is left as it is.
    """
    known = {} if known is None else known
    method = find(recipe["method"], recipe["reading"])
    for run in _runs(layout, _signature(recipe, method)):
        if run.where.start == run.where.stop:
            continue  # a tensor without elements
        values = {
            knob.name: _at(recipe["knobs"][knob.name], knob, of.names, run.groups[knob.name])
            for knob in method.knobs
        }
        place, said = (run.where.start, run.where.stop), repr(values)  # which tells 0.0 from -0.0
        if known.get(place) == said:
            continue
        known.pop(place, None)  # should this fail, nobody knows what stands there
        for where in of.pieces(run.where) if method.scope == "run" else (run.where,):
            method.merge(_slab(run, where, recipe, method, of, layout, out[where]), values)
        known[place] = said


def _slab(
    run: _Run, where: slice, recipe: Recipe, method: Method, of: Ingredients, layout: Layout, out: Tensor
) -> Slab:
    trimmed = run.where
    if method.scope == "run" and "density" in run.groups:
        trimmed = layout.groups(recipe["granularity"]["density"])[run.groups["density"]]
    return Slab(
        base=of.base(where),
        deltas=of.deltas(where),
        out=out,
        cutoff=lambda model, density: of.cutoff(model, trimmed, density),
        keys=[key(recipe.get("seed", 0), name, run.spans[0].name) for name in of.names],
        memo=of.memo(method.name, where),
        row=run.spans[0].shape[-1] if run.spans[0].shape else 1,
        lasting=of.lasting,
        searched=frozenset(recipe.get("searched", ())),
        statistics=of.known(method, where, run.spans[0]),
    )


def _at(setting: Setting, knob: Knob, experts: Sequence[str], group: str) -> float | list[float]:
    if not knob.per_expert:
        return _in_group(setting, group)
    if isinstance(setting, dict):
        return [_in_group(setting[expert], group) for expert in experts]
    return [setting] * len(experts)


def _in_group(setting: Setting, group: str) -> float:
    return float(setting[group] if isinstance(setting, dict) else setting)
