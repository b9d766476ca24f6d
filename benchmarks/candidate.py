"""What a candidate costs before it is evaluated: merging four 125M-parameter experts, against the floor.

The floor is one `torch.addmv` pass over float32: every source read once, the merge written once. All in one
process, turn by turn; the median of each. Then the same with the task vectors in bfloat16: seconds, memory,
and by how much the merged weights differ, relative to the largest. Then candidates that differ from the one
before in one layer of the encoder. mergekit's merge of the same runs in an environment of its own.

    python -m benchmarks.candidate [--threads 2] [--mergekit]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import RobertaConfig, RobertaForSequenceClassification

from searchmerge.config import Models
from searchmerge.sources import Sources
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.types import MERGED
from searchmerge.workshop import Workshop

EXPERTS = ("a", "b", "c", "d")
ROUNDS = 7
GIB = 2**30
KINDS: Mapping[str, dict[str, Any]] = {
    "linear": {"method": "linear", "granularity": "layer", "weight": [0, 1]},
    "task_arithmetic": {"method": "task_arithmetic", "granularity": "layer", "weight": [0, 1]},
    "ties": {"method": "ties", "weight": [0, 1.5], "density": [0.1, 0.9]},
    "ties_layer": {"method": "ties", "granularity": "layer", "weight": [0, 1.5], "density": [0.1, 0.9]},
    "dare_ties": {"method": "dare_ties", "density": [0.1, 0.9]},
}
"""Spaces whose candidates are timed; those by layer also where one layer differs."""


def main() -> None:
    """Measure, print the table and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument(
        "--mergekit", action="store_true", help="also time mergekit's TIES merge of the same"
    )
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        write_family(Path(folder))
        figures = measured(Path(folder))
        if arguments.mergekit:
            from benchmarks.mergekit_parity import timed_ties

            figures["mergekit_seconds"] = timed_ties(Path(folder), EXPERTS, arguments.threads)
            figures["mergekit_speedup_ratio"] = figures["mergekit_seconds"] / figures["ties_seconds"]
    for name, value in figures.items():
        print(f"{name:<34} {value:>12.4f}")
    print(json.dumps({name: round(value, 5) for name, value in figures.items()}))


def write_family(folder: Path, names: Sequence[str] = EXPERTS, dtype: torch.dtype = torch.float32) -> None:
    """A random RoBERTa base, and experts that differ from it by noise (mergekit stops on BERT)."""
    config = RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1)
    model = RobertaForSequenceClassification(config).eval()
    model.save_pretrained(folder / "base")
    for number, name in enumerate(names):
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=1e-3)
        deepcopy(model).to(dtype).save_pretrained(folder / name)


def measured(folder: Path) -> dict[str, float]:
    """Seconds and ratios of each kind of candidate, and the peak of memory."""
    rng = np.random.default_rng(0)
    models = Models(base=str(folder / "base"), experts={name: str(folder / name) for name in EXPERTS})
    sources = Sources.open(models, tasks_name_heads=False)
    with peak_memory() as peak:
        workshop = Workshop(sources, [MERGED], torch.device("cpu"))
        kinds = {name: candidate(workshop, rng, options) for name, options in KINDS.items()}
        times = take_turns({"floor": floor(workshop), **kinds})
    size = workshop.layout.size
    figures = {"parameters_millions": size / 1e6, "floor_seconds": times["floor"]}
    figures |= compared(times) | memory(peak, (len(EXPERTS) + 2) * 4 * size + GIB)
    with peak_memory() as peak:
        half = Workshop(sources, [MERGED], torch.device("cpu"))
        stored = {name: {**options, "storage": "bfloat16"} for name, options in KINDS.items()}
        kinds = {name: candidate(half, rng, options) for name, options in stored.items()}
        for run in kinds.values():
            run()  # makes its tables
    times = take_turns({"floor": floor(workshop), **kinds})
    halved = compared(times) | memory(peak, (len(EXPERTS) + 4) * 2 * size + GIB)
    halved |= {f"{name}_difference": difference(workshop, half, rng, KINDS[name]) for name in KINDS}
    figures |= {f"bfloat16_{name}": value for name, value in halved.items()}
    for name, options in KINDS.items():
        if options.get("granularity") == "layer":
            kind = name.removesuffix("_layer")
            figures[f"{kind}_one_layer_seconds"] = one_layer(workshop, rng, options)
            figures[f"{kind}_one_layer_ratio"] = figures[f"{kind}_one_layer_seconds"] / times["floor"]
    return figures


def compared(times: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each kind, and their ratios to the floor's."""
    figures = {}
    for name, seconds in times.items():
        if name != "floor":
            figures[f"{name}_seconds"] = seconds
            figures[f"{name}_ratio"] = seconds / times["floor"]
    return figures


def memory(peak: Peak, allowed: int) -> dict[str, float]:
    """The peak beside what the sources and the live model take, with a GiB for all else."""
    return {
        "peak_memory_gib": peak.bytes / GIB,
        "peak_memory_allowed_gib": allowed / GIB,
        "peak_memory_ratio": peak.bytes / allowed,
    }


def difference(one: Workshop, half: Workshop, rng: np.random.Generator, options: dict[str, Any]) -> float:
    """The largest difference that bfloat16 makes to a random candidate's weights, over the largest weight."""
    space = CoefficientSpace(options, experts=EXPERTS, layout=one.layout)
    recipe = space.decode(tuple(rng.random(len(space.dims)).tolist()))
    space.realise(recipe, one)
    space.realise({**recipe, "storage": "bfloat16"}, half)
    exact = one.written.weights
    return float(torch.dist(exact, half.written.weights, p=torch.inf) / exact.abs().max())


def one_layer(workshop: Workshop, rng: np.random.Generator, options: dict[str, Any]) -> float:
    """Median seconds of candidates that differ from the one before in one layer of the encoder."""
    space, times = CoefficientSpace(options, experts=EXPERTS, layout=workshop.layout), []
    genotype = rng.random(len(space.dims))
    for turn in range(ROUNDS):
        space.realise(space.decode(tuple(genotype.tolist())), workshop)
        at = [number for number, dim in enumerate(space.dims) if dim.name.endswith(f"/layer.{turn}")]
        genotype[at] = rng.random(len(at))
        start = time.perf_counter()
        space.realise(space.decode(tuple(genotype.tolist())), workshop)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def floor(workshop: Workshop) -> Callable[[], None]:
    """One pass over the same tensors by BLAS."""
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4])
    assert workshop.base is not None
    base, deltas, live = workshop.base, workshop.task_vectors.deltas, workshop.live

    def run() -> None:
        torch.addmv(base, deltas.t(), weights, out=live)

    return run


def candidate(workshop: Workshop, rng: np.random.Generator, options: dict[str, Any]) -> Callable[[], None]:
    """A new random candidate at every call: all of its knobs have changed."""
    space = CoefficientSpace(options, experts=EXPERTS, layout=workshop.layout)

    def run() -> None:
        space.realise(space.decode(tuple(rng.random(len(space.dims)).tolist())), workshop)

    return run


def take_turns(work: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each, in turn so that a slow moment hits all alike; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(ROUNDS + 1):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


class Peak:
    """The largest anonymous memory seen, less what the process had before."""

    bytes = 0


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Watch the process's own memory; mapped checkpoint files are page cache, given back on demand."""
    peak, done, before = Peak(), threading.Event(), _anonymous()

    def watch() -> None:
        while not done.wait(0.005):
            peak.bytes = max(peak.bytes, _anonymous() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def _anonymous() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise OSError("this benchmark reads /proc/self/status of Linux")


if __name__ == "__main__":
    main()
