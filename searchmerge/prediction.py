"""What an evaluation will cost, from probes: no weight of what is merged is read.

Models of random weights answer some of the dev batches; a merge of random task vectors is made of some of
the parameters. Both are scaled up to the whole.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from searchmerge.bench import Bench
from searchmerge.fitness import Fitness
from searchmerge.layout import Layout, Span
from searchmerge.merging.linear import LINEAR
from searchmerge.merging.method import Method, Slab, Statistics
from searchmerge.merging.models import merge
from searchmerge.objective.duration import seconds
from searchmerge.recipes import needed
from searchmerge.types import Recipe, default_genotype

_LIMIT = 2.0
"""Seconds that the dev batches may take, the first of each task apart."""

_PART = 2**25
"""Parameters that are merged at most."""

_ROUNDS = 3

_ASKED = 16
"""Candidates of a strategy whose paths are looked at."""

_NOISE = 0.02

COMPILED = ("ties", "dare_linear", "dare_ties")
"""Methods whose loops a CPU compiles at the first merge, which takes longer than all the rest of a check."""

_MOST_PASSES = 4.0
"""Passes over the memory that these take at most."""


class Cost(NamedTuple):
    """Seconds of one evaluation on the whole of dev, by what they are spent on."""

    merging: float
    answering: float

    def of(self, bench: Bench) -> float | None:
        """Seconds of a search's whole budget; None where it does not count evaluations."""
        evaluations, share = bench.config.budget.evaluations, Fitness(bench).share
        if evaluations is None:
            return None
        return sum(self.merging + self.answering * share(number) for number in range(evaluations))


def cost(bench: Bench) -> Cost:
    """Estimate an evaluation, none of it left out: rejected candidates and known layers cost less.

    Writes random weights into the live models.
    """
    models, live = bench.workshop.models, bench.workshop.live
    noise = _NOISE * torch.randn(min(live.numel(), 2**20), device=bench.device)
    for part in torch.split(live, noise.numel()):
        part.copy_(noise[: part.numel()])
    answering = seconds(bench.unrelated("dev").asking, models, _LIMIT) * _depth(bench)
    return Cost(_merging(bench, answering), answering)


def _depth(bench: Bench) -> float:
    """How much longer than the models the paths are that the strategy asks for first; 1 of other spaces."""
    recipe = bench.space.decode(default_genotype(bench.space.dims))
    if recipe["space"] != "paths":
        return 1.0
    strategy = bench.strategy()
    lengths = [_layers(recipe)]
    while len(lengths) < _ASKED and (batch := strategy.ask()):
        lengths += [_layers(bench.space.decode(candidate.genotype)) for candidate in batch]
        strategy.tell([0.0] * len(batch))
    return statistics.mean(lengths) / sum(bench.layout.stacks.values())


def _layers(recipe: Recipe) -> int:
    return sum(len(path) for path in recipe["stacks"].values())


def _merging(bench: Bench, answering: float) -> float:
    """Seconds of a merge: none of paths, whose candidates copy nothing; a pass where a probe cannot tell."""
    recipe = bench.space.decode(default_genotype(bench.space.dims))
    if recipe["space"] == "paths":
        return 0.0
    experts, size, device = len(bench.sources.experts), bench.layout.size, bench.device
    of = Synthetic(min(_PART, size), experts, device, has_base=bench.sources.base is not None)
    a_pass = _median(of.floor, device) * size / of.size
    if recipe["space"] != "coefficients" or needed(recipe):
        return a_pass
    slow = recipe["method"] in COMPILED and device.type == "cpu"
    if slow and _MOST_PASSES * a_pass < answering / 5:
        return _MOST_PASSES / 2 * a_pass  # wrong by less than a tenth of the evaluation
    spans = bench.layout.spans
    layout = Layout(tuple(span for span in spans if span.stop <= of.size) or spans[:1])
    of = Synthetic(layout.size, experts, device, has_base=bench.sources.base is not None)
    of.names = tuple(bench.sources.experts)
    return _median(lambda: merge(recipe, of, layout, of.out), device) * size / layout.size


def _median(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call, after one that warms up."""
    times = []
    for _ in range(1 + _ROUNDS):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


class Synthetic:
    """Ingredients of a merge without sources: random task vectors that take little memory.

    They are even between minus and plus ``spread``, and overlap; their beginnings are so far apart that none
    finds what another has brought into the cache.

    Args:
        size: parameters.
        experts: how many.
        device: where they are.
        has_base: whether there is a base.

    Attributes:
        out: room for a merge, float32 ``[size]``.
    """

    lasting = True
    spread = 1e-3
    apart = 2**22

    def __init__(self, size: int, experts: int, device: torch.device, *, has_base: bool = True) -> None:
        self.size = size
        self.names: tuple[str, ...] = tuple(f"expert {number}" for number in range(experts))
        values = torch.empty(size + (experts - 1) * self.apart, device=device)
        generator = torch.Generator(device).manual_seed(0)
        values.uniform_(-self.spread, self.spread, generator=generator)
        self._deltas = values.as_strided((experts, size), (self.apart, 1))
        self._base = torch.full((size,), 0.5, device=device) if has_base else None
        self._memo: dict[tuple[str, int, int], dict[str, Any]] = {}
        self.out = torch.empty(size, device=device)

    def floor(self) -> None:
        """One pass over the memory: a linear merge, which reads everything once and writes once."""
        slab = Slab(self._base, self._deltas, self.out, cutoff=lambda *_: 0.0, keys=())
        LINEAR.merge(slab, {"weight": 1.0})

    def pieces(self, run: slice) -> Iterable[slice]:
        """The run as it is."""
        return (run,)

    def base(self, where: slice) -> Tensor | None:
        """Parameters of the base, if there is one."""
        return None if self._base is None else self._base[where]

    def deltas(self, where: slice) -> Tensor:
        """Task vectors ``[experts, n]``."""
        return self._deltas[:, where]

    def cutoff(self, _model: int, _scope: slice, density: float) -> float:
        """The magnitude that a share of ``density`` exceeds."""
        return (1 - density) * self.spread

    def memo(self, method: str, run: slice) -> dict[str, Any]:
        """What a method remembers of a run."""
        return self._memo.setdefault((method, run.start, run.stop), {})

    def known(self, _method: Method, _where: slice, _span: Span) -> Statistics | None:
        """Nothing."""
        return None
