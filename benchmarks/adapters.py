"""Strategies against their libraries called directly: evaluations until targets are reached.

    python -m benchmarks.adapters [--quick] [--only cmaes tpe]

Functions with known optima (:mod:`benchmarks.known`) are searched by the real loop with a journal, and by
the library as its own users call it (:mod:`benchmarks.direct`), with the same seeds and budget. Targets are
the start's loss times 10^(-k/5), k = 1 to 40, those that half of the library's runs reach, or more. What a
target costs is COCO's expected running time: the evaluations of all seeds until they reach it or end, divided
by the number of seeds that reach it. The ratio is the geometric mean over the targets of our cost by the
library's, with a 95% bootstrap interval over the seeds; it is 1 where all runs evaluate the same points. The
first evaluation of both is the function's start, and both pay for points that they repeat.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from optuna.samplers import TPESampler

from benchmarks.direct import (
    Counted,
    Direct,
    nevergrad_optimizer,
    numpy_uniform,
    optuna_sampler,
    pycma_fmin2,
    pycma_same_draws,
    scipy_de,
)
from benchmarks.known import FUNCTIONS, Array, Known
from searchmerge.config import Budget
from searchmerge.journal import Journal
from searchmerge.plugins import make_strategy
from searchmerge.search import search

REAL = ("sphere", "ellipsoid", "rastrigin")
TARGETS = 10 ** (-np.arange(1, 41) / 5)
RESAMPLES = 2000
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where journals stand: their synced lines would be most of the time on a disk."""


@dataclass(frozen=True)
class Peer:
    """A strategy and what it is compared with.

    Args:
        strategy: its name, with a variant or without.
        direct: the library's own run.
        budgets: evaluations in 10 and in 40 dimensions.
        seeds: few where both evaluate the same points, else as many as a tight interval takes.
        functions: those that are compared.
    """

    strategy: str
    direct: Direct
    budgets: tuple[int, int]
    seeds: int = 3
    functions: Sequence[str] = tuple(FUNCTIONS)


PEERS = {
    "random": Peer("random", numpy_uniform, (500, 500)),
    "cmaes": Peer("cmaes", pycma_same_draws, (2000, 4000)),
    "cmaes, fmin2": Peer("cmaes", pycma_fmin2, (2000, 3000), seeds=20),
    "tpe": Peer("tpe", optuna_sampler(lambda seed: TPESampler(seed=seed)), (300, 300), seeds=2),
    "OnePlusOne": Peer("nevergrad", nevergrad_optimizer("OnePlusOne"), (1000, 1000), functions=REAL),
    "TwoPointsDE": Peer(
        "nevergrad:TwoPointsDE", nevergrad_optimizer("TwoPointsDE"), (1000, 1000), functions=REAL
    ),
    "CMA": Peer("nevergrad:CMA", nevergrad_optimizer("CMA"), (1000, 1000), functions=REAL),
    "DiscreteOnePlusOne": Peer(
        "nevergrad",
        nevergrad_optimizer("DiscreteOnePlusOne", deterministic=True),
        (300, 300),
        seeds=2,
        functions=["mixed"],
    ),
    "DiscreteOnePlusOne, drawn": Peer(
        "nevergrad", nevergrad_optimizer("DiscreteOnePlusOne"), (300, 100), seeds=10, functions=["mixed"]
    ),
    "de": Peer("de", scipy_de("best1bin"), (1000, 2000), seeds=40),
    "de, reflected": Peer("de", scipy_de("best1bin, reflected"), (1000, 2000), seeds=40),
    "de, rand/1": Peer("de:rand/1", scipy_de("rand1bin"), (1000, 2000), seeds=40),
}
"""What is compared; a strategy of another library is one line more."""


def main() -> None:
    """Compare, print the table and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--quick", action="store_true", help="10 dimensions, 100 evaluations, 2 seeds")
    options.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER")
    arguments = options.parse_args()
    print("| | function | dimensions | evaluations | seeds | same points | targets | ours reaches | ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    figures: dict[str, float | None] = {}
    for name in arguments.only:
        peer = replace(PEERS[name], seeds=2, budgets=(100, 100)) if arguments.quick else PEERS[name]
        for function in peer.functions:
            for n, budget in list(zip((10, 40), peer.budgets, strict=True))[: 1 if arguments.quick else 2]:
                found = compared(peer, function, n, budget)
                print(
                    f"| `{name}` | {function} | {n} | {budget} | {peer.seeds} | {said(found)} |", flush=True
                )
                key = f"{name}_{function}_{n}_ratio".replace(", ", "_")
                figures[key] = round(found.ratio, 4) if np.isfinite(found.ratio) else None
    print(json.dumps(figures))


class Found(NamedTuple):
    """What a comparison found.

    Args:
        same: whether all runs evaluate the library's points.
        targets: how many half of the library's runs reach.
        reached: how many of these half of ours reach.
        ratio: of the evaluations, ours by the library's.
        low: where the ratio's interval begins.
        high: where it ends.
    """

    same: bool
    targets: int
    reached: int
    ratio: float = 1.0
    low: float = 1.0
    high: float = 1.0


def said(found: Found) -> str:
    """A line of the table from the fifth column on."""
    interval = "" if found.same else f" ({found.low:.2f} to {found.high:.2f})"
    same = "yes" if found.same else "no"
    return f"{same} | {found.targets} | {found.reached} | {found.ratio:.2f}{interval}"


def compared(peer: Peer, function: str, n: int, budget: int) -> Found:
    """Run both, on an instance of the function a seed."""
    instances = [Known(function, n, seed) for seed in range(peer.seeds)]
    theirs = [directly(peer.direct, each, seed, budget) for seed, each in enumerate(instances)]
    ours = [searched(peer.strategy, each, seed, budget) for seed, each in enumerate(instances)]
    losses = [np.array(run.losses) / run.losses[0] for run in ours]
    their_losses = [np.array(run.losses) / run.losses[0] for run in theirs]
    targets = TARGETS[share(their_losses) >= 0.5]
    reached = int((share(losses)[: len(targets)] >= 0.5).sum())
    if all(a.points == b.points for a, b in zip(ours, theirs, strict=True)):
        return Found(True, len(targets), reached)
    if not len(targets):
        return Found(False, 0, 0, np.nan, np.nan, np.nan)
    return Found(False, len(targets), reached, *ratio(losses, their_losses, targets))


def share(losses: Sequence[Array]) -> Array:
    """The share of runs that reach each target."""
    return np.asarray(np.mean([run.min() <= TARGETS for run in losses], axis=0))


def directly(direct: Direct, function: Known, seed: int, budget: int) -> Counted:
    """What the library evaluates."""
    found = Counted(function)
    direct(found, seed, budget)
    del found.points[budget:], found.losses[budget:]
    return found


def searched(strategy: str, function: Known, seed: int, budget: int) -> Counted:
    """What the loop evaluates or answers from memory, but for a first point that is the default once more."""
    made = make_strategy(strategy, {}, dims=function.dims, seed=seed, budget=budget)
    found = Counted(function)
    with (
        tempfile.TemporaryDirectory(dir=MEMORY) as folder,
        Journal(Path(folder) / "journal.jsonl", {"strategy": strategy}) as journal,
    ):
        for trial in search(function, made, function.evaluate, journal, Budget(evaluations=budget)):
            if trial.number == 1 and trial.repeats == 0:
                continue
            found.points.append(trial.recipe["point"])
            found.losses.append(-trial.score)
            if len(found.losses) == budget:
                break
    return found


def ratio(ours: Sequence[Array], theirs: Sequence[Array], targets: Array) -> tuple[float, float, float]:
    """Geometric mean over targets of the costs' ratio, and its 95% interval over the seeds.

    Args:
        ours: the losses of each seed's run in order, by the start's.
        theirs: the library's.
        targets: losses to reach, at least one.
    """
    drawn = np.random.default_rng(0).integers(len(ours), size=(RESAMPLES, len(ours)))
    drawn[0] = np.arange(len(ours))
    with np.errstate(divide="ignore", invalid="ignore"):  # a target that no drawn run reaches
        logs = np.log(costs(ours, targets, drawn)) - np.log(costs(theirs, targets, drawn))
        found = np.exp(np.nanmean(np.where(np.isneginf(logs), np.nan, logs), axis=1))
    low, high = np.nanquantile(found, [0.025, 0.975], method="nearest")
    return float(found[0]), float(low), float(high)


def costs(losses: Sequence[Array], targets: Array, drawn: npt.NDArray[np.int64]) -> Array:
    """Expected running time ``[samples, targets]`` of each target in each sample ``[samples, seeds]``."""
    reached = np.stack([run[:, None] <= targets for run in losses])
    ever = np.asarray(reached.any(axis=1))
    spent = np.where(ever, reached.argmax(axis=1) + 1, reached.shape[1])
    return np.asarray(spent[drawn].sum(axis=1) / ever[drawn].sum(axis=1))


if __name__ == "__main__":
    main()
