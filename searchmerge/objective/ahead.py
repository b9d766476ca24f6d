"""Batches side by side on a CPU: each core takes one of its own, where all would share every one.

Cores that share a batch wait for the slowest of them at the end of every operation, a hundred times a batch,
and very long where another process has taken one. With a batch each they wait once, for the last batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Generic, TypeVar

import torch

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_LEAST = 4
"""Batches a lane at the least, since at the end some lanes are idle."""


def lanes_for(items: int) -> int:
    """How many to have so that each has some items, and torch's threads can be shared out evenly."""
    threads = torch.get_num_threads()
    most = max(1, items // _LEAST)
    return max(lanes for lanes in range(1, threads + 1) if threads % lanes == 0 and lanes <= most)


class Ahead(Generic[Item, Answer]):
    """Gives the items in turn, each with the work's answer, while the next ones are worked on.

    Items are taken when a lane will soon begin with them, so they may depend on earlier answers. Within its
    block, lanes work as the calling thread does: without gradients if it keeps none, under its autocast.
    Leaving the block waits for items that were begun and leaves out the others. One lane is the
    calling thread itself and works on nothing before it is asked for it.

    Args:
        work: called with each item, on any thread.
        items: what to work on, taken by the calling thread.
        kind: the type of the device.
        lanes: threads; torch's own are shared out among them.
    """

    def __init__(self, work: Callable[[Item], Answer], items: Iterable[Item], kind: str, lanes: int) -> None:
        self._threads, self._lanes = torch.get_num_threads(), lanes
        self._pool = ThreadPoolExecutor(lanes, initializer=_as_here(kind, lanes)) if lanes > 1 else None
        self._work, self._items = work, iter(items)
        self._begun: deque[tuple[Item, Future[Answer]]] = deque()

    def __enter__(self) -> Ahead[Item, Answer]:
        return self

    def __iter__(self) -> Iterator[tuple[Item, Answer]]:
        return self

    def __next__(self) -> tuple[Item, Answer]:
        if self._pool is None:
            item = next(self._items)
            return item, self._work(item)
        # One more than there are lanes: the one that a lane goes on with while an answer is looked at.
        for item in islice(self._items, self._lanes + 1 - len(self._begun)):
            self._begun.append((item, self._pool.submit(self._work, item)))
        if not self._begun:
            raise StopIteration
        item, coming = self._begun.popleft()
        return item, coming.result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
            torch.set_num_threads(self._threads)  # a lane's number became that of threads to come


def _as_here(kind: str, lanes: int) -> Callable[[], None]:
    """What a lane does first, to compute as this thread does.

    No contexts: a lane that left its autocast would clear the converted weights, which all lanes share.
    """
    gradients, threads = torch.is_grad_enabled(), torch.get_num_threads() // lanes
    autocast, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

    def begin() -> None:
        torch.set_num_threads(threads)
        torch.set_grad_enabled(gradients)
        torch.set_autocast_enabled(kind, autocast)
        torch.set_autocast_dtype(kind, dtype)

    return begin
