"""Where a search's wall time goes: a clock around the methods that do the work, for the time of one search.

Nothing knows of it while nobody asks. Methods are wrapped in their classes, so that what is made during the
search is timed too. Each part has its own time, less that of the parts which it calls, so the parts add up to
the whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from time import perf_counter
from typing import Any, TypeAlias

import torch

from searchmerge.bench import Bench
from searchmerge.fitness import Fitness
from searchmerge.journal import Journal
from searchmerge.objective import Objective
from searchmerge.objective.ahead import Ahead
from searchmerge.workshop import Workshop

PARTS = {
    "reading": "sources and texts, once",
    "merge": "the candidate's weights written",
    "forward": "the models' answers",
    "metric": "answers to outcomes and scores",
    "strategy": "ask and tell",
    "decode": "genotypes to recipes",
    "journal": "lines written and synced",
    "other": "all else: the loop, the progress line",
}
"""What there is, and what it means, for people."""

Place: TypeAlias = tuple[type, str, str]
"""A class, its method, and the part that the method is."""


class Clock:
    """Counts seconds for one part at a time, the innermost that was entered; ``other`` outside of all.

    Args:
        device: waited for whenever the part changes, where it works by itself.

    Attributes:
        seconds: by part; together all that have passed until the last change.
        calls: how often a method of each part was called.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._entered = ["other"]
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.calls: Counter[str] = Counter()
        self._last = perf_counter()

    def timed(self, method: Callable[..., Any], part: str) -> Callable[..., Any]:
        """The method, its time counted for a part."""

        @wraps(method)
        def counted(*arguments: Any, **named: Any) -> Any:
            self.calls[part] += 1
            self.count()
            self._entered.append(part)
            try:
                return method(*arguments, **named)
            finally:
                self.count()
                self._entered.pop()

        return counted

    def count(self) -> None:
        """Count what has passed since the last change for the part that goes on now."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = perf_counter()
        self.seconds[self._entered[-1]] += now - self._last
        self._last = now

    @property
    def record(self) -> dict[str, Any]:
        """As JSON: seconds and share of each part, and candidates a second.

        Candidates are those that were evaluated: none from the journal of a resumed run, no repeats.
        """
        whole, candidates = sum(self.seconds.values()), self.calls["other"]
        return {
            "seconds": whole,
            "candidates": candidates,
            "candidates_a_second": candidates / whole,
            "parts": {
                part: {"seconds": seconds, "share": seconds / whole} for part, seconds in self.seconds.items()
            },
        }


@contextmanager
def profiled(bench: Bench, wanted: bool = True) -> Iterator[dict[str, Any]]:
    """Time the bench's search within the block.

    Args:
        bench: what is searched; its dev texts are read before the clock starts.
        wanted: if not, nothing is timed.

    Yields:
        A mapping that holds the record of :class:`Clock` as ``profile`` when the block has ended; empty where
        nothing is timed.
    """
    found: dict[str, Any] = {}
    if not wanted:
        yield found
        return
    places = _places(bench)
    clock = Clock(bench.device)
    with ExitStack() as stack:
        for owner, method, part in places:
            stack.enter_context(_replaced(owner, method, clock.timed(getattr(owner, method), part)))
        yield found
    clock.count()
    found["profile"] = clock.record


def _places(bench: Bench) -> list[Place]:
    places: list[Place] = [
        (Bench, "_build", "reading"),
        (Workshop, "source", "reading"),
        (Bench, "realise", "merge"),
        *((Ahead, method, "forward") for method in ("__next__", "__exit__")),
        *((Objective, method, "metric") for method in ("__call__", "above", "raced", "score_of")),
        *((type(bench.strategy()), method, "strategy") for method in ("ask", "tell")),
        (type(bench.space), "decode", "decode"),
        (Journal, "append", "journal"),
        # One of them is called once a candidate that is evaluated.
        *((Fitness, method, "other") for method in ("__call__", "raced")),
    ]
    return list(dict.fromkeys(places))


@contextmanager
def _replaced(owner: type, name: str, method: Callable[..., Any]) -> Iterator[None]:
    """Within the block, the class has another method of that name."""
    own = vars(owner).get(name)
    setattr(owner, name, method)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)  # the parent's comes to light again
        else:
            setattr(owner, name, own)
