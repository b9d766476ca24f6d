"""How cost grows: merges with parameters and experts, evaluations with dev, searches with trials.

    python -m benchmarks.growth [--threads 2] [--most 500] [--trials 10000]

Everything is synthetic. Each table ends with the exponent ``b`` of a fit ``seconds = a * size ** b`` in
logarithms: 1 is linear. Merges have a coefficient an expert and layer, and cutoffs that are known (tables of
magnitudes are made once a search). The trials are those of the real loop, strategy and journal in a space
of 100 coordinates, and only the evaluation costs nothing; waiting for the disk is measured apart.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.candidate import take_turns
from searchmerge.config import Budget
from searchmerge.journal import Journal
from searchmerge.layout import Layout
from searchmerge.merging.models import merge
from searchmerge.objective import METRICS, Objective
from searchmerge.objective.batching import BATCH_TOKENS, pack
from searchmerge.objective.kinds.classification import Classification
from searchmerge.plugins import make_strategy
from searchmerge.prediction import Synthetic
from searchmerge.search import search
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.types import MERGED, Evaluation, Recipe

CPU = torch.device("cpu")
METHODS = ("linear", "ties", "dare_ties")
LAYERS = 12
EXPERTS = 4
MILLIONS = (5, 15, 50, 150, 500)
EXPERT_COUNTS = (2, 4, 8, 16)
MILLIONS_FOR_EXPERTS = 40
TEXTS = (200, 400, 800, 1600, 3200)
STRATEGIES = ("de", "cmaes", "random", "grid")
DIMS_PER_EXPERT = 25
OUTCOMES = 1600
"""Examples whose outcomes stand in each line of the journal: the demo has as many."""


def main() -> None:
    """Measure, print the tables and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument("--most", type=int, default=MILLIONS[-1], help="millions of parameters")
    options.add_argument("--trials", type=int, default=10_000)
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    figures = searches(arguments.trials) | evaluations()
    figures |= merges_by_experts() | merges_by_parameters([n for n in MILLIONS if n <= arguments.most])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
    print(f"\npeak memory of the process: {peak:.1f} GiB")
    figures["peak_memory_gib"] = peak
    print(json.dumps({name: round(value, 5) for name, value in figures.items()}))


def merges_by_parameters(millions: Sequence[int]) -> dict[str, float]:
    """Merges of four experts of ever more parameters."""
    times = {n: merged(n, EXPERTS) for n in millions}
    return report(f"merge of {EXPERTS} experts by millions of parameters", "parameters", times)


def merges_by_experts() -> dict[str, float]:
    """Merges of ever more experts."""
    times = {count: merged(MILLIONS_FOR_EXPERTS, count) for count in EXPERT_COUNTS}
    return report(f"merge of {MILLIONS_FOR_EXPERTS} M parameters by experts", "experts", times)


def merged(millions: int, experts: int) -> dict[str, float]:
    """Median seconds of a merge by each method."""
    layout = layout_of(millions * 1_000_000)
    of = Synthetic(layout.size, experts, CPU)
    rng = np.random.default_rng(0)

    def candidate(method: str) -> Callable[[], None]:
        options = {"method": method, "granularity": "layer", "weight": [0, 1]}
        space = CoefficientSpace(
            options if method == "linear" else options | {"density": [0.1, 0.9]},
            experts=of.names,
            layout=layout,
        )
        return lambda: merge(space.decode(tuple(rng.random(len(space.dims)).tolist())), of, layout, of.out)

    return take_turns({method: candidate(method) for method in METHODS})


def layout_of(size: int) -> Layout:
    """A transformer's matrices, about ``size`` parameters in all."""
    width = round((size / (12 * LAYERS)) ** 0.5)
    shapes = {"attention.qkv": (3, width, width), "attention.out": (width, width)}
    shapes |= {"mlp.up": (4 * width, width), "mlp.down": (width, 4 * width), "norm": (width,)}
    return Layout.of(
        {f"model.layers.{n}.{name}.weight": shape for n in range(LAYERS) for name, shape in shapes.items()}
    )


def evaluations() -> dict[str, float]:
    """Evaluations of a small random encoder on ever more texts."""
    config = BertConfig(
        vocab_size=1000,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        pad_token_id=0,
    )
    model = BertForSequenceClassification(config)
    objectives = {
        count: Objective([texts(count, CPU)], precision=torch.float32, device=CPU) for count in TEXTS
    }
    times = take_turns({str(n): partial(each, {MERGED: model}) for n, each in objectives.items()})
    return report("evaluation by texts", "texts", {int(n): {"dev": each} for n, each in times.items()})


def texts(count: int, device: torch.device) -> Classification:
    """Texts of 8 to 64 random tokens and random labels, on a device."""
    rng = np.random.default_rng(0)
    ids = [rng.integers(1, 1000, rng.integers(8, 65)).tolist() for _ in range(count)]
    return Classification(
        name="texts",
        head=MERGED,
        weight=1.0,
        metric=METRICS["single-label"]["accuracy"],
        gold=rng.integers(0, 2, count).astype(np.uint8),
        batches=pack(
            {"input_ids": ids}, {"input_ids": 0}, batch_tokens=BATCH_TOKENS[device.type], device=device
        ),
        digest="",
        inputs="",
        problem="single-label",
        n_labels=2,
        pad_token_id=0,
    )


def searches(trials: int) -> dict[str, float]:
    """What strategy, loop and journal take until a half, a quarter, … of the trials, and all of them."""
    marks = [trials // part for part in (8, 4, 2, 1)]
    found = {strategy: searched(strategy, marks) for strategy in STRATEGIES}
    by_mark = {mark: {name: times[mark] for name, (times, _) in found.items()} for mark in marks}
    figures = report("strategy, loop and journal by trials of 100 coordinates", "trials", by_mark)
    print(f"\n{'ms a trial':<24}{'without sync':>14}{'with sync':>14}")
    for name, (times, waited) in found.items():
        alone, whole = 1e3 * times[trials] / trials, 1e3 * (times[trials] + waited) / trials
        print(f"{name:<24}{alone:>14.3f}{whole:>14.3f}")
        figures |= {f"{name}_trial_milliseconds": alone, f"{name}_trial_synced_milliseconds": whole}
    return figures


def searched(strategy: str, marks: Sequence[int]) -> tuple[dict[int, float], float]:
    """Seconds until each number of trials, but those of waiting for the disk; and these, of all trials."""
    layout = Layout.of({f"model.layers.{n}.mlp.weight": (4, 4) for n in range(DIMS_PER_EXPERT)})
    options = {"method": "linear", "granularity": "layer", "weight": [0, 1]}
    space = CoefficientSpace(options, experts=("a", "b", "c", "d"), layout=layout)
    asks = make_strategy(strategy, {}, dims=space.dims, seed=0, budget=marks[-1])
    outcomes = {"texts": np.zeros(OUTCOMES, dtype=np.uint8)}
    waited = evaluated = 0.0
    found: dict[int, float] = {}
    sync = os.fsync

    def timed(file: int) -> None:
        nonlocal waited
        start = time.perf_counter()
        sync(file)
        waited += time.perf_counter() - start

    def evaluate(recipe: Recipe, floor: float, _share: float) -> Evaluation | None:
        nonlocal evaluated
        start = time.perf_counter()
        score = -sum((x - 0.3) ** 2 for each in recipe["knobs"]["weight"].values() for x in each.values())
        evaluated += time.perf_counter() - start
        return Evaluation(score, {"texts": score}, outcomes) if score > floor else None

    with tempfile.TemporaryDirectory() as out, patch("searchmerge.journal.os.fsync", timed):
        start = time.perf_counter()
        with Journal(Path(out) / "journal.jsonl", {}) as journal:
            for trial in search(space, asks, evaluate, journal, Budget(evaluations=marks[-1])):
                if trial.number + 1 in marks:
                    found[trial.number + 1] = time.perf_counter() - start - waited - evaluated
    return found, waited


def report(title: str, by: str, times: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """Print seconds by size, a column each, and the exponents of their fits; give both for the JSON line."""
    columns = list(next(iter(times.values())))
    print(f"\n{title:<52}" + "".join(f"{name:>12}" for name in columns))
    for size, row in times.items():
        print(f"{size:>52,}" + "".join(f"{row[name]:>11.4f}s" for name in columns))
    exponents = {name: exponent({size: row[name] for size, row in times.items()}) for name in columns}
    print(f"{'exponent':>52}" + "".join(f"{exponents[name]:>12.2f}" for name in columns), flush=True)
    largest = max(times)
    figures = {f"{name}_by_{by}_exponent": value for name, value in exponents.items()}
    return figures | {f"{name}_{largest}_{by}_seconds": times[largest][name] for name in columns}


def exponent(seconds: Mapping[int, float]) -> float:
    """The slope of the line through the logarithms."""
    return float(np.polyfit(np.log(list(seconds)), np.log(list(seconds.values())), 1)[0])


if __name__ == "__main__":
    main()
