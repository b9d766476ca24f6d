"""The check before the run: what headers, configs and dev texts tell in seconds; no merged weight is read."""

from __future__ import annotations

from collections.abc import Iterator

from searchmerge import baselines, recipes
from searchmerge.bench import Bench
from searchmerge.fitness import Fitness
from searchmerge.leaks import INTO, leaks
from searchmerge.prediction import cost
from searchmerge.sources.memory import bytes_needed, check_fits, memory_there
from searchmerge.types import Founders, default_genotype, names

Fact = tuple[str, str]

_GIB = 2**30


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
    for task in bench.unrelated("dev").tasks:
        yield f"task {task.name}", f"dev: {task.summary}; {task.metric.name}"
    for into in INTO:
        for leak in leaks(config, into):
            yield "leak", str(leak)
    check_fits(sources, bench.resident_models, bench.device)
    needed, there = bytes_needed(sources, bench.resident_models), memory_there(bench.device)
    yield "memory", f"{needed / _GIB:.1f} GiB needed, {there / _GIB:.1f} GiB there ({bench.device})"
    each = cost(bench)
    whole = each.of(bench)
    total = f", {_minutes(whole)} for {config.budget.evaluations}" if whole is not None else ""
    yield "time", f"about {sum(each):.2g} s an evaluation{total} (estimated; {each.merging:.2g} s to merge)"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
