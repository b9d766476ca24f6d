"""How long live models take to answer all batches, from some of them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import groupby

from searchmerge.objective.asking import Asking, Models, Round

_GOLDEN = (math.sqrt(5) - 1) / 2
"""Multiples of it, but for whole numbers, are spread evenly however many there are."""


def seconds(asking: Asking, models: Models, limit: float) -> float:
    """Estimate how long the models take to answer, from batches of each task, spread over all lengths.

    What the answers are does not count, so the weights may be any, but where tokens are written.

    Args:
        asking: what is asked.
        models: live models by head.
        limit: seconds after which no further batch is answered; some of each task are in any case.
    """
    groups = [list(each) for _, each in groupby(asking.rounds, key=lambda each: each.tasks)]
    return sum(_seconds(asking, models, rounds, limit / len(groups)) for rounds in groups)


def _seconds(asking: Asking, models: Models, rounds: Sequence[Round], limit: float) -> float:
    """The same of rounds of the same tasks."""
    spread = [rounds[at] for at in sorted(range(len(rounds)), key=lambda at: at * _GOLDEN % 1)]
    first = spread[: asking.lanes(models)]
    tokens = sum(each.cost for each in rounds)
    warming = _timed(asking, models, first, limit)[-1]
    if warming > limit:
        return warming * tokens / sum(each.cost for each in first)
    times = _timed(asking, models, [*first, *spread], limit)
    # The weights are converted for the first batches, in every evaluation.
    cold, seen = times[len(first) - 1], spread[: len(times) - len(first)]
    a_token = (times[-1] - cold) / sum(each.cost for each in seen)
    conversion = cold - a_token * sum(each.cost for each in first)
    return max(conversion, 0.0) + a_token * tokens


def _timed(asking: Asking, models: Models, rounds: Sequence[Round], limit: float) -> list[float]:
    """Seconds until the answers to each round were there; a lane has two rounds, and more up to the limit."""
    times: list[float] = []
    with asking.of(models, rounds) as coming:
        start = time.perf_counter()
        for _, answers in coming:
            for each in answers.values():
                each.sum().item()  # waits for the device
            times.append(time.perf_counter() - start)
            if times[-1] > limit and len(times) >= 2 * asking.lanes(models):
                break
    return times
