"""The share of a search's wall time that is neither reading, merging nor a forward pass.

    python -m benchmarks.overhead searchmerge-demo/tasks.yaml [--budget N]

The search is the real one, journal and strategy included, from the first trial to the last.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from searchmerge.bench import Bench
from searchmerge.config import load
from searchmerge.optimize import run_search
from searchmerge.profiling import profiled
from searchmerge.report import spent
from searchmerge.report.progress import Progress

NEEDED = ("reading", "merge", "forward")


def main() -> None:
    """Search, print the table and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("config", type=Path)
    options.add_argument("--budget", type=int)
    arguments = options.parse_args()
    overrides = [f"budget.evaluations={arguments.budget}"] if arguments.budget else []
    bench = Bench(load(arguments.config, overrides))
    _ = bench.workshop
    with (
        tempfile.TemporaryDirectory() as out,
        Progress(bench.config.budget) as progress,
        profiled(bench) as found,
    ):
        run_search(bench, Path(out), resume=False, watch=progress.update)
    spent.show(found)
    profile = found["profile"]
    rest = 1 - sum(profile["parts"][part]["share"] for part in NEEDED)
    print(json.dumps({"wall_seconds": round(profile["seconds"], 2), "overhead_ratio": round(rest, 5)}))


if __name__ == "__main__":
    main()
