"""The examination: reads the weights, measures every pair of experts, scores the lines between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from searchmerge.bench import Bench
from searchmerge.compatibility.line import Line, evaluations, lines
from searchmerge.compatibility.units import Match, Weights, compare, find
from searchmerge.compatibility.vectors import Geometry, Measure, geometry
from searchmerge.config import Part
from searchmerge.prediction import cost
from searchmerge.sources.memory import check_fits
from searchmerge.types import UserError
from searchmerge.workshop import Workshop, view

BASE = "the base"
"""What the base goes by among the experts' names."""


@dataclass(frozen=True)
class Relation:
    """What was measured of two models.

    Args:
        one: an expert's name, or :data:`BASE`.
        other: an expert's name.
        weights: cosine of their weights, over the matrices of the layers; NaN where there are none.
        matches: how their MLPs' units fit, where MLPs were found.
        cosine: of their task vectors; None without a base, or with it as one of the two.
        conflict: share of parameters at which their task vectors' signs differ; None likewise.
        line: dev scores between them; None with the base as one of the two.
    """

    one: str
    other: str
    weights: float
    matches: tuple[Match, ...]
    cosine: Measure | None = None
    conflict: Measure | None = None
    line: Line | None = None

    @property
    def in_place(self) -> float | None:
        """The share of all matched units that stay in place."""
        units = sum(match.units for match in self.matches)
        return sum(match.in_place * match.units for match in self.matches) / units if units else None

    @property
    def worst(self) -> Match | None:
        """The MLP with the smallest share."""
        return min(self.matches, key=lambda match: match.in_place, default=None)


@dataclass(frozen=True)
class Findings:
    """All that an examination found.

    Args:
        experts: their names.
        layers: names of the layer groups.
        distances: by expert, the norm of its task vector relative to the base's; empty without a base.
        origins: the base and each expert; empty without a base.
        pairs: each two experts.
        seconds: wall time that it took.
    """

    experts: tuple[str, ...]
    layers: tuple[str, ...]
    distances: Mapping[str, Measure]
    origins: tuple[Relation, ...]
    pairs: tuple[Relation, ...]
    seconds: float

    @property
    def has_base(self) -> bool:
        """Whether there is a base, and so task vectors."""
        return bool(self.distances)


def examine(bench: Bench, say: Callable[[str], None]) -> Findings:
    """Measure whether a config's experts can be merged at all.

    Args:
        bench: opened with ``strangers``, so that those can be measured too.
        say: told what is being done, a line at a time.

    Raises:
        UserError: fewer than two models, too little memory, or a weight that is not finite.
    """
    started = time.perf_counter()
    sources, experts = bench.sources, tuple(bench.sources.experts)
    has_base = sources.base is not None
    if len(experts) + has_base < 2:
        raise UserError(
            expected="two models to compare",
            got="one expert and no base",
            cure="name another expert under models.experts, or models.base",
        )
    check_fits(sources, len(experts) + 2, bench.device)
    count, mlps = evaluations(len(experts)), find(bench.layout)
    scored = f"{count} evaluations (about {count * sum(cost(bench)):.0f} s)"
    matches = len(mlps) * sum(range(len(experts) + has_base))
    say(f"reading the weights; then {matches} matchings of MLP units (a second each at 3072 units), {scored}")
    workshop = bench.workshop
    shape = geometry(workshop.task_vectors.deltas, workshop.base, bench.layout, sources.absent)
    models = {i: _weights(workshop, i) for i in range(0 if has_base else 1, len(experts) + 1)}
    fits: dict[tuple[int, int], tuple[Match, ...]] = {}
    for one, other in combinations(models, 2):
        fits[one, other] = tuple(compare(mlp, models[one], models[other]) for mlp in mlps)
    say("MLP units matched; now the lines between the experts on dev")
    # What is measured is the experts, with or without a base, in whatever type the space may store them.
    exact = bench.twin(space=Part(kind="coefficients", method="linear"))
    return _findings(experts, shape, fits, lines(exact, say), has_base, started)


def _findings(
    experts: Sequence[str],
    shape: Geometry,
    fits: Mapping[tuple[int, int], tuple[Match, ...]],
    scored: Mapping[tuple[str, str], Line],
    has_base: bool,
    started: float,
) -> Findings:
    names = (BASE, *experts)
    pairs, origins = [], []
    for (i, j), fit in fits.items():
        one, other = names[i], names[j]
        if i == 0:
            origins.append(Relation(one, other, shape.weights(i, j), fit))
            continue
        cosine, conflict = (shape.cosine(i, j), shape.conflict(i, j)) if has_base else (None, None)
        line = scored[one, other]
        pairs.append(Relation(one, other, shape.weights(i, j), fit, cosine, conflict, line))
    distances = {name: shape.distance(i) for i, name in enumerate(experts, start=1)} if has_base else {}
    seconds = time.perf_counter() - started
    return Findings(tuple(experts), shape.layers, distances, tuple(origins), tuple(pairs), seconds)


def _weights(workshop: Workshop, model: int) -> Weights:
    """What gives the tensors of model 0, the base, or of an expert, counted from 1."""
    base, deltas = workshop.base, workshop.task_vectors.deltas
    if model == 0:
        assert base is not None
        return lambda span: view(base, span)
    if base is None:
        return lambda span: view(deltas[model - 1], span)
    return lambda span: view(base, span) + view(deltas[model - 1], span)
