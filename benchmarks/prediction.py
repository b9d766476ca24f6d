"""What `check` says that an evaluation costs, against the evaluations of a search made right after it.

    python -m benchmarks.prediction searchmerge-demo/tasks.yaml configs/paths.yaml [--budget 15] [--rounds 3]

The measured figure is the median of the journal's `seconds` of the trials that were scored; the first one,
which reads the sources, and those that were stopped early apart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import transformers

from searchmerge.bench import Bench
from searchmerge.config import load
from searchmerge.journal import read
from searchmerge.optimize import run_search
from searchmerge.prediction import Cost, cost
from searchmerge.types import default_genotype


def main() -> None:
    """Predict and measure each config in turn, print the table and the JSON line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("configs", type=Path, nargs="+")
    options.add_argument("--budget", type=int, default=15)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--set", action="append", default=[], help="as of `searchmerge optimize`")
    arguments = options.parse_args()
    transformers.utils.logging.set_verbosity_error()
    overrides = [*arguments.set, f"budget.evaluations={arguments.budget}"]
    figures: dict[str, float] = {}
    print(f"{'config':<24}{'check took':>12}{'predicted':>12}{'measured':>12}{'ratio':>8}")
    for turn in range(arguments.rounds):
        for path in arguments.configs:
            took, predicted, measured = compared(path, overrides)
            ratio = sum(predicted) / measured
            print(
                f"{path.stem:<24}{took:>11.2f}s{sum(predicted):>11.3f}s{measured:>11.3f}s{ratio:>8.2f}",
                flush=True,
            )
            name = f"{path.stem}_{turn}"
            figures |= {f"{name}_predicted_seconds": sum(predicted), f"{name}_measured_seconds": measured}
            figures |= {f"{name}_ratio": ratio, f"{name}_probe_seconds": took}
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


def compared(path: Path, overrides: list[str]) -> tuple[float, Cost, float]:
    """Seconds that the probes took, what they predict, and the median of a search's evaluations."""
    bench = Bench(load(path, overrides))
    bench.unrelated("dev")  # the check has read the texts before it comes to the cost
    start = time.perf_counter()
    predicted = cost(bench)
    took = time.perf_counter() - start
    for stage in bench.config.before:
        space = bench.before(stage).space
        bench.found(stage.name, space.decode(default_genotype(space.dims)))
    with tempfile.TemporaryDirectory() as out:
        run_search(bench, Path(out), resume=False, watch=lambda *_: None)
        _, trials = read(Path(out) / "journal.jsonl")
    scored = [trial.seconds for trial in trials[1:] if trial.state == "complete" and trial.repeats is None]
    return took, predicted, statistics.median(scored)


if __name__ == "__main__":
    main()
