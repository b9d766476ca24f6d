"""The check before the run: what headers, configs and the dev texts can tell, in seconds, no weight read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch

from searchmerge import baselines, recipes
from searchmerge.bench import Bench
from searchmerge.fitness import Fitness
from searchmerge.leaks import INTO, leaks
from searchmerge.objective.precision import resolve
from searchmerge.sources.memory import bytes_needed, check_fits, memory_there
from searchmerge.types import Founders, default_genotype, names

Fact = tuple[str, str]

_GIB = 2**30
_PROBE = 0.1
"""Seconds that each of the two speed probes may take."""


def check(bench: Bench) -> Iterator[Fact]:
    """Yield what was found, a topic and a sentence at a time.

    Raises:
        UserError: anything that would stop the run.
    """
    sources, layout, config = bench.sources, bench.layout, bench.config
    base = sources.base.ref if sources.base else "none: the method must do without"
    yield "base", base
    for name, expert in sources.experts.items():
        yield f"expert {name}", f"{expert.ref} ({expert.architecture})"
    layers = len(layout.groups("layer"))
    yield (
        "merged",
        f"{layout.size / 1e6:.1f} M parameters in {len(layout.spans)} tensors, {layers} layer groups",
    )
    for name, tensors in sources.heads.items():
        if tensors:
            yield f"head of {name}", f"kept out of the merge: {', '.join(tensors)}"
    for note in sources.notes:
        yield "note", note
    of = "individuals" if isinstance(bench.space.dims, Founders) else "dimensions"
    bench.check_space()
    for stage in config.before:
        earlier = bench.before(stage)
        earlier.strategy()
        yield f"before: {stage.name}", f"{stage.strategy.kind} over {stage.space.kind}"
    yield "space", f"{config.space.kind} with {len(names(bench.space.dims))} {of}"
    if kind := recipes.needed(bench.space.decode(default_genotype(bench.space.dims))):
        bench.statistics.require(kind)
    baselines.require(bench)
    bench.strategy()
    yield "strategy", config.strategy.kind
    Fitness(bench)
    for task in bench.tasks("dev"):
        yield f"task {task.name}", f"dev: {task.summary}; {task.metric.name}"
    for into in INTO:
        for leak in leaks(config, into):
            yield "leak", str(leak)
    check_fits(sources, bench.resident_models, bench.device)
    needed, there = bytes_needed(sources, bench.resident_models), memory_there(bench.device)
    yield "memory", f"{needed / _GIB:.1f} GiB needed, {there / _GIB:.1f} GiB there ({bench.device})"
    seconds = seconds_per_evaluation(bench)
    evaluations = config.budget.evaluations
    total = f", {_minutes(seconds * evaluations)} for {evaluations}" if evaluations else ""
    yield "time", f"about {seconds:.2g} s an evaluation{total} (an estimate from two short probes)"


def seconds_per_evaluation(bench: Bench) -> float:
    """Estimate an evaluation: the bytes of a merge and the operations of the forward passes over their rates.

    A forward pass costs 2 operations a parameter and padded token (embeddings look up, they do not count); a
    merge reads every source once and writes the live model. Both rates are probed on this device.
    """
    layout = bench.layout
    embeddings = layout.groups("layer").get("embeddings", slice(0, 0))
    dense: int = layout.size - (embeddings.stop - embeddings.start)
    dtype = resolve(bench.config.objective.precision, bench.device)
    tokens = sum(sum(task.costs) for task in bench.tasks("dev"))
    operations = 2.0 * dense * tokens
    moved = 4.0 * layout.size * (len(bench.sources.experts) + 2)
    return operations / _matmul_rate(dtype, bench.device) + moved / _copy_rate(bench.device)


def _matmul_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second of a matrix product of an encoder layer's size."""
    left = torch.randn(2048, 768, device=device, dtype=dtype)
    right = torch.randn(768, 1536, device=device, dtype=dtype)
    return 2.0 * 2048 * 768 * 1536 * _times_a_second(lambda: left @ right, device)


def _copy_rate(device: torch.device) -> float:
    """Bytes read and written a second."""
    source = torch.zeros(16 * 2**20, device=device)
    target = torch.empty_like(source)
    return 2.0 * 4 * source.numel() * _times_a_second(lambda: target.copy_(source), device)


def _times_a_second(work: Callable[[], object], device: torch.device) -> float:
    work()
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < _PROBE:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        count += 1
    return count / passed


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
