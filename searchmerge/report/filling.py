"""How a comparison gets on: a table that fills on a terminal, and plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from searchmerge.config import Budget
from searchmerge.report.progress import EVERY
from searchmerge.report.table import duration
from searchmerge.types import Trial

WIDEST = 10
"""Seeds that have a column each; of more, a row says how many are done and what the best is."""


class Entry(Protocol):
    """One run of the field."""

    @property
    def space(self) -> str:
        """Its name in the comparison."""

    @property
    def strategy(self) -> str:
        """Likewise."""

    @property
    def seed(self) -> int:
        """From 0 on."""


@dataclass
class _Cell:
    """A run: its evaluations so far, the best score, and whether it has ended."""

    evaluations: float = 0.0
    best: float | None = None
    ended: bool = False


class Filling:
    """Show a comparison while it runs.

    A trial that took longer than the time since the one before was not evaluated now: it comes from a journal
    or from another run, and counts as done.

    Args:
        entries: the runs, in their order.
        budget: of each.
        console: where to write, by default standard error.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        budget: Budget,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cells = {_place(entry): _Cell() for entry in entries}
        self._budget, self._clock = budget, clock
        self._console = console or Console(stderr=True)
        self._current: Entry | None = None
        self._said = self._seen = clock()
        self._started: float | None = None
        self._since = 0.0
        self._live = Live(console=self._console, get_renderable=self._shown, transient=True)

    def __enter__(self) -> Filling:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def update(self, entry: Entry, trial: Trial, best: Trial) -> None:
        """Take the trial of a run that has just ended, and the best one of that run so far."""
        if self._current is not None and _place(self._current) != _place(entry):
            self._close()
        self._current, cell = entry, self._cells[_place(entry)]
        cell.best = best.score if best.evaluation else None
        if trial.repeats is None:
            cell.evaluations += trial.cost
            self._count(trial)
        if not self._console.is_terminal and self._clock() - self._said >= EVERY:
            self._write(self.line())

    def say(self, text: str) -> None:
        """Write a line: while runs go on above the table, then instead of it."""
        if self._current is not None:
            self._end()
        self._write(text)

    def line(self) -> str:
        """How far that is: ``run 12 of 90: de over ties, seed 1, 37/200, best 0.771; 1 h 3 min left``."""
        if self._current is None:
            return f"{len(self._cells)} runs"
        entry, cell = self._current, self._cells[_place(self._current)]
        number = [*self._cells].index(_place(entry)) + 1
        of = f"/{self._budget.evaluations}" if self._budget.evaluations else " evaluations"
        parts = [f"{entry.strategy} over {entry.space}, seed {entry.seed}", f"{cell.evaluations:.6g}{of}"]
        if cell.best is not None:
            parts.append(f"best {cell.best:.3f}")
        said = f"run {number} of {len(self._cells)}: {', '.join(parts)}"
        left = self._left()
        return f"{said}; {duration(left)} left" if left is not None else said

    def _count(self, trial: Trial) -> None:
        now = self._clock()
        if self._started is None and trial.seconds <= now - self._seen:
            self._started = now - trial.seconds  # what is there already tells nothing of the rate
        self._since += trial.cost if self._started is not None else 0.0
        self._seen = now

    def _left(self) -> float | None:
        """Seconds until every budget of evaluations is spent."""
        budget = self._budget.evaluations
        if budget is None or self._started is None or not self._since:
            return None
        missing = sum(budget - cell.evaluations for cell in self._cells.values() if not cell.ended)
        return max(missing, 0) * (self._seen - self._started) / self._since

    def _close(self) -> None:
        """The current run has ended."""
        assert self._current is not None
        self._cells[_place(self._current)].ended = True
        if not self._console.is_terminal:
            self._write(self.line())

    def _shown(self) -> Group:
        places = list(self._cells)
        seeds = list(dict.fromkeys(seed for _, _, seed in places))
        spaces = list(dict.fromkeys(space for space, _, _ in places))
        wide = len(seeds) <= WIDEST
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for title in ["space"] * (len(spaces) > 1) + ["strategy"]:
            table.add_column(title, overflow="fold")
        for title in [f"seed {seed}" for seed in seeds] if wide else ["runs", "best"]:
            table.add_column(title, justify="right", no_wrap=True)
        for space, strategy in dict.fromkeys((space, strategy) for space, strategy, _ in places):
            cells = [self._cells[space, strategy, seed] for seed in seeds]
            first = [space] * (len(spaces) > 1) + [strategy]
            table.add_row(*first, *(map(_text, cells) if wide else _summed(cells)))
        return Group(table, Text(self.line()))

    def _end(self) -> None:
        if self._current is not None:
            self._close()
            if self._console.is_terminal:
                self._live.stop()
                self._console.print(self._shown())
            self._current = None

    def _write(self, text: str) -> None:
        self._said = self._clock()
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _place(entry: Entry) -> tuple[str, str, int]:
    return entry.space, entry.strategy, entry.seed


def _text(cell: _Cell) -> Text:
    if not cell.evaluations:
        return Text("·", style="dim")
    best = "failed" if cell.best is None else f"{cell.best:.3f}"
    return Text(best) if cell.ended else Text(f"{best} ({cell.evaluations:.6g})", style="bold")


def _summed(cells: Sequence[_Cell]) -> tuple[str, str]:
    best = max((cell.best for cell in cells if cell.best is not None), default=None)
    return f"{sum(cell.ended for cell in cells)}/{len(cells)}", "·" if best is None else f"{best:.3f}"
