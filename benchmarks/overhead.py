"""The share of a search's wall time that is neither merging nor a forward pass.

    python -m benchmarks.overhead searchmerge-demo/tasks.yaml [--budget N]

The search is the real one, journal and strategy included, from the first trial to the last.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from searchmerge.bench import Bench
from searchmerge.config import load
from searchmerge.optimize import run_search
from searchmerge.report.progress import Progress
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.types import Recipe
from searchmerge.workshop import Workshop


def main() -> None:
    """Search, print the table and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("config", type=Path)
    options.add_argument("--budget", type=int)
    arguments = options.parse_args()
    overrides = [f"budget.evaluations={arguments.budget}"] if arguments.budget else []
    bench = Bench(load(arguments.config, overrides))
    clock = Clock(bench.workshop)
    bench.objective("dev")
    with tempfile.TemporaryDirectory() as out, Progress(bench.config.budget) as progress:
        start = time.perf_counter()
        run_search(bench, Path(out), resume=False, watch=progress.update)
        wall = time.perf_counter() - start
    rest = wall - clock.merging - clock.forward
    for name, seconds in {"merging": clock.merging, "forward": clock.forward, "the rest": rest}.items():
        print(f"{name:<10} {seconds:8.2f} s {seconds / wall:7.2%}")
    print(json.dumps({"wall_seconds": round(wall, 2), "overhead_ratio": round(rest / wall, 5)}))


class Clock:
    """Seconds spent in the space's ``realise`` and in the live models' ``forward``."""

    def __init__(self, workshop: Workshop) -> None:
        self.merging = self.forward = 0.0
        self._started = 0.0
        for model in workshop.models.values():
            model.register_forward_pre_hook(self._start)
            model.register_forward_hook(self._stop)
        realise = CoefficientSpace.realise

        def timed(recipe: Recipe, workshop: Workshop) -> Mapping[str, nn.Module]:
            start = time.perf_counter()
            models = realise(recipe, workshop)
            self.merging += time.perf_counter() - start
            return models

        CoefficientSpace.realise = staticmethod(timed)  # type: ignore[method-assign]

    def _start(self, *_: Any) -> None:
        self._started = time.perf_counter()

    def _stop(self, *_: Any) -> None:
        self.forward += time.perf_counter() - self._started


if __name__ == "__main__":
    main()
