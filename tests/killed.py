"""A process that forks runs of a config and kills them with SIGKILL; started by test_kill.py.

The rooms are imported once, before the forks, so that a run starts at once; the runs are real processes.

    python killed.py CONFIG STRATEGY OUT SEED [CONFIG STRATEGY OUT SEED ...]

Several strategies with commas between them are compared.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib.figure  # noqa: F401  (imported before the forks)
import transformers.models.bert.modeling_bert  # noqa: F401  (imported before the forks)

from searchmerge import optimize  # noqa: F401  (imported before the forks)
from searchmerge.cli import main

KILLS = 3


def forked(work: Callable[[], None]) -> int:
    """Run ``work`` in a child; return the child's number."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except SystemExit as end:
            os._exit(int(end.code or 0))
        os._exit(0)
    return child


def run(config: str, strategy: str, out: Path, *, resume: bool) -> None:
    """What the user types."""
    several = "," in strategy
    how = ["--seeds", "2", "--strategies", strategy] if several else ["--strategy", strategy]
    sys.argv = ["searchmerge", "compare" if several else "optimize", config, *how, "--out", str(out)]
    sys.argv += ["--resume"] if resume else []
    main()


def lines(out: Path) -> int:
    """Whole lines of the journals in a folder that may not be there yet."""
    return sum(path.read_bytes().count(b"\n") for path in out.rglob("journal.jsonl"))


def undisturbed(config: str, strategy: str, out: Path, *, resume: bool = False) -> None:
    """A run to its end."""
    _, status = os.waitpid(forked(lambda: run(config, strategy, out, resume=resume)), 0)
    if status:
        sys.exit(f"the run ended with status {status}")


def killed(config: str, strategy: str, out: Path, at: int, delay: float) -> None:
    """A run that is killed ``delay`` seconds after its journals have ``at`` lines."""
    child = forked(lambda: run(config, strategy, out, resume=out.exists()))
    while lines(out) < at and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.0005)
    time.sleep(delay)
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ChildProcessError, ProcessLookupError):
        sys.exit("the run ended before it was killed")


def compared(config: str, strategy: str, folder: Path, seed: int) -> None:
    """A run in ``folder/undisturbed``, and the same in ``folder/killed``, killed and resumed."""
    undisturbed(config, strategy, folder / "undisturbed")
    rng = random.Random(seed)
    total = lines(folder / "undisturbed")
    for at in sorted(rng.sample(range(1, total - 2), KILLS)):
        killed(config, strategy, folder / "killed", at, rng.uniform(0, 0.02))
    undisturbed(config, strategy, folder / "killed", resume=True)


if __name__ == "__main__":
    given = iter(sys.argv[1:])
    for config, strategy, folder, seed in list(zip(given, given, given, given, strict=True)):
        compared(config, strategy, Path(folder), int(seed))
