"""Candidates a second, merge and evaluation of dev, beside what people do without searchmerge.

    python -m benchmarks.peers searchmerge-demo/tasks.yaml [--candidates 5] [--threads 2] [--methods linear]

For the config's experts, and for as many random encoders of 125M parameters, whose heads have the same
labels, on the same texts. A coefficient an expert and layer, all new in every candidate. Each way in turn,
the median of each:

- searchmerge: the search's own path, in the papers' reading and in mergekit's, no candidate rejected;
- `mergekit-yaml` (0.1.5) to a folder, a process a candidate, then a task at a time `from_pretrained` and
  `Trainer.evaluate` (its defaults, float32): what users do;
- the same by a process of mergekit's that has its imports done;
- mergekit in memory, its planner and executor, written into a state that is there; then `Trainer.evaluate`;
- a plain loop: dictionaries of tensors, `load_state_dict`, a `DataLoader` in float32, padded batches of 16.

mergekit stops on `BertModel` with a TypeError (in its own list of BERT's tensors), and on heads of different
shapes. So it is given the bodies alone under the name XLMRobertaModel, whose tensors it finds by itself: the
same tensors, the same arithmetic. It has nothing like Evolver.

First each way merges one candidate in which nothing is random, and the results must agree: metrics in float32
within two examples, weights within 1e-5 of the largest for all but one in a thousand entries (task vectors of
fine-tuned models have many equal magnitudes: at a cutoff we keep all of them, mergekit as many as make up the
density). Otherwise the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks import plain
from benchmarks.evaluate import in_precision
from benchmarks.mergekit_parity import MERGEKIT, cache, environment
from benchmarks.mergekit_server import MergekitServer
from benchmarks.ways import Ways, of_encoders
from searchmerge.config import Part, load
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.types import Cross, Recipe
from searchmerge.workshop import view

METHODS = ("linear", "ties", "dare_ties", "evolver")
DENSITY = 0.5
AGREE, ENTRIES_APART, EXAMPLES_APART = 1e-5, 1e-3, 2


def main() -> int:
    """Measure, print a table a family and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("config", type=Path)
    options.add_argument("--candidates", type=int, default=5)
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    options.add_argument("--methods", default=",".join(METHODS))
    options.add_argument("--families", default="config,encoder", help="config, encoder or both")
    options.add_argument("--environment", type=Path, default=cache() / MERGEKIT, help="mergekit's venv")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    config, figures, agree = load(arguments.config), {}, True
    with (
        tempfile.TemporaryDirectory() as scratch,
        MergekitServer(environment(arguments.environment), arguments.threads) as server,
    ):
        for family in arguments.families.split(","):
            folder = Path(scratch) / family
            models = config if family == "config" else of_encoders(config, folder / "models")
            ways, rng = Ways(models, folder, server), np.random.default_rng(0)
            seconds: dict[str, dict[str, float]] = {}
            for method in arguments.methods.split(","):
                agree = agree_on(ways, method, rng) and agree
                seconds[method] = timed(ways, method, arguments.candidates, rng)
            print(table(family, seconds, ways.bench.layout.size))
            figures[family] = ratios(seconds)
    print(json.dumps({"agree": agree, **figures}))
    return 0 if agree else 1


def agree_on(ways: Ways, method: str, rng: np.random.Generator) -> bool:
    """Whether all ways make the same of a candidate in which nothing is random; it also warms them up."""
    same, bench = True, ways.bench
    dev = in_precision(bench.config, "float32")
    for name, way in ways.of(method).items():
        if name.startswith("searchmerge"):
            continue
        recipe = new(ways, method, rng, fixed=True, reading="paper" if name == "plain" else "mergekit")
        live = bench.realise(recipe)
        ours = {span.name: view(bench.workshop.live, span).clone() for span in bench.layout.spans}
        metrics = dev(live).metrics
        _, found, body = way(recipe)
        entries, largest = apart(ours, body)
        examples = {task.name: task.examples for task in dev.tasks}
        wrong = max(round(abs(metrics[task] - found[task]) * examples[task]) for task in metrics)
        print(
            f"{method}, {name}: {entries:.1e} of the weights apart, the largest by {largest:.1e}; "
            f"metrics by {wrong} examples"
        )
        same = same and entries <= ENTRIES_APART and wrong <= EXAMPLES_APART
    return same


def timed(ways: Ways, method: str, candidates: int, rng: np.random.Generator) -> dict[str, float]:
    """Median seconds of each way."""
    times: dict[str, list[float]] = {}
    for turn in range(candidates + 1):
        for name, way in ways.of(method).items():
            if turn == 0 and not name.startswith("searchmerge"):
                continue  # warm already
            reading = "mergekit" if "mergekit" in name else "paper"
            seconds, *_ = way(new(ways, method, rng, fixed=False, reading=reading))
            if turn:
                times.setdefault(name, []).append(seconds)
    return {name: statistics.median(each) for name, each in times.items()}


def new(ways: Ways, method: str, rng: np.random.Generator, *, fixed: bool, reading: str) -> Recipe:
    """A new candidate; where ``fixed``, with nothing random in how it is made."""
    if method == "evolver":
        return child(ways, rng, 1.0 if fixed else 0.5)
    options: dict[str, Any] = {"method": method, "reading": reading, "granularity": "layer"}
    options |= {"weight": [0.05, 1.0]}
    if method != "linear":
        options |= {"density": 1.0 if fixed and method == "dare_ties" else DENSITY}
        options |= {"granularity": {"weight": "layer"}}
    space = CoefficientSpace(
        options, experts=ways.experts, layout=ways.bench.layout, seed=int(rng.integers(2**31))
    )
    return space.decode(tuple(rng.random(len(space.dims)).tolist()))


def child(ways: Ways, rng: np.random.Generator, cr: float) -> Recipe:
    """A child of three founders."""
    space = ways.bench.searched_by(Part(kind="de"), 0, Part(kind="population")).space
    a, b, c = rng.permutation(ways.experts)[:3].tolist()
    cross = Cross(a, ((a, 1.0), (b, 0.5), (c, -0.5)), cr, int(rng.integers(2**32)))
    founders = [space.decode((name,)) for name in ways.experts]
    return space.decode((cross, *(name for name in ways.experts if name != a)), founders)


def apart(ours: plain.State, theirs: plain.State) -> tuple[float, float]:
    """Which share of the entries differs, and the largest difference, relative to the largest weight."""
    largest = max(float(tensor.abs().max()) for tensor in ours.values())
    differences = [(ours[name] - theirs[name]).abs() / largest for name in ours]
    entries = sum(int((each > AGREE).sum()) for each in differences)
    return entries / sum(each.numel() for each in differences), max(float(each.max()) for each in differences)


def ratios(seconds: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Seconds, and how often searchmerge is faster than each of the others."""
    found = {f"{method}_{way}_seconds": s for method, each in seconds.items() for way, s in each.items()}
    found |= {f"{method}_ratio_{peer}": ratio for method, peer, ratio in _ratios(seconds)}
    return {name: round(value, 4) for name, value in found.items()}


def _ratios(seconds: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, str, float]]:
    for method, each in seconds.items():
        for peer in each:
            if not peer.startswith("searchmerge"):
                ours = "searchmerge_as_mergekit" if "mergekit" in peer else "searchmerge"
                yield method, peer, each[peer] / each[ours]


def table(family: str, seconds: Mapping[str, Mapping[str, float]], parameters: int) -> str:
    """Candidates a second and the ratios, in Markdown."""
    columns: Sequence[str] = list(dict.fromkeys(way for each in seconds.values() for way in each))
    known = {(method, peer): ratio for method, peer, ratio in _ratios(seconds)}

    def cell(method: str, way: str) -> str:
        if way not in seconds[method]:
            return ""
        ratio = known.get((method, way))
        return f"{1 / seconds[method][way]:.3g}" + (f" (1/{ratio:.1f})" if ratio else "")

    lines = [[f"{family}, {parameters / 1e6:.0f}M", *(way.replace("_", " ") for way in columns)]]
    lines += [["---", *("---:" for _ in columns)]]
    lines += [[method, *(cell(method, way) for way in columns)] for method in seconds]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
