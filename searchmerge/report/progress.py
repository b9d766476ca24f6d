"""How a search gets on: one line that is renewed on a terminal, and a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

from searchmerge.config import Budget
from searchmerge.report.table import duration
from searchmerge.types import Trial

EVERY = 10.0
"""Seconds between two plain lines."""

BAR = 24
"""Width of the bar on a terminal, in letters."""


class Progress:
    """Show a search while it runs.

    ::

        with Progress(budget) as progress:
            for trial in search(...):
                progress.update(trial, best)
            progress.say("writing the model")

    A trial that took longer than the time since the one before was not evaluated now: it comes from the
    journal of a resumed run, counts as done, and tells nothing of the rate.

    Args:
        budget: what ends the search.
        console: where to write, by default standard error.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        budget: Budget,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._pending = clock, False
        self._console = console or Console(stderr=True)
        columns = BarColumn(bar_width=BAR), TextColumn("{task.description}", markup=False)
        self._bar = RichProgress(*columns, console=self._console, refresh_per_second=4, transient=True)
        self._task = self._bar.add_task("reading the sources", total=1.0)
        self.begin(budget)

    def begin(self, budget: Budget) -> None:
        """Count anew: another search starts."""
        if self._pending:
            self._write_line()
        self._budget = budget
        self._rejections = self._failures = 0
        self._evaluations = self._fresh = self._spent = 0.0
        self._best: Trial | None = None
        self._said = self._seen = self._clock()
        self._started: float | None = None

    def __enter__(self) -> Progress:
        self._said = self._seen = self._clock()
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def update(self, trial: Trial, best: Trial | None) -> None:
        """Take the trial that has just ended, and the best one so far."""
        self._best, self._pending = best, True
        self._count(trial)
        if self._console.is_terminal:
            self._bar.update(self._task, description=self.line(), completed=self._done())
        elif (self._fresh == trial.cost and trial.repeats is None) or self._clock() - self._said >= EVERY:
            self._write_line()

    def say(self, text: str) -> None:
        """Write a line: before the first trial above the search's line, then instead of it."""
        if self._evaluations:
            self._end()
        self._write(text)

    def line(self) -> str:
        """All there is to say: ``37/200 evaluations, 0.74/s, best 0.771 (trial 31), 3 min 40 s left``."""
        of = f"/{self._budget.evaluations}" if self._budget.evaluations else ""
        parts = [f"{self._evaluations:.6g}{of} evaluations"]
        if rate := self._rate():
            parts.append(f"{rate:.2f}/s")
        if self._best is not None and self._best.evaluation is not None:
            parts.append(f"best {self._best.score:.3f} (trial {self._best.number})")
        if (left := self._left()) is not None:
            parts.append(f"{duration(left)} left")
        if self._failures:
            parts.append(f"{self._failures} failed")
        if self._rejections:
            parts.append(f"{self._rejections} stopped early")
            room = self._console.width - BAR - 1 if self._console.is_terminal else None
            if room is not None and len(", ".join(parts)) > room:
                parts.pop()  # all else matters more
        return ", ".join(parts)

    def _count(self, trial: Trial) -> None:
        now = self._clock()
        if trial.repeats is None:
            self._evaluations += trial.cost
            self._rejections += trial.state == "rejected"
            self._failures += trial.state == "failed"
            self._spent += trial.seconds
            if trial.seconds <= now - self._seen:
                self._fresh += trial.cost
                # The first one's start, not the command's: sources are read before.
                self._started = now - trial.seconds if self._started is None else self._started
        self._seen = now

    def _rate(self) -> float:
        """Evaluations a second of this session, 0 as long as it is not known."""
        passed = 0.0 if self._started is None else self._seen - self._started
        return self._fresh / passed if passed > 0 else 0.0

    def _left(self) -> float | None:
        """Seconds until the budget is spent; patience may end the search before."""
        limits = []
        if self._budget.seconds is not None:
            limits.append(self._budget.seconds - self._spent)
        if self._budget.evaluations is not None and (rate := self._rate()):
            limits.append((self._budget.evaluations - self._evaluations) / rate)
        return max(min(limits), 0.0) if limits else None

    def _done(self) -> float:
        """The share of the budget that is spent."""
        shares = [0.0]
        if self._budget.evaluations is not None:
            shares.append(self._evaluations / self._budget.evaluations)
        if self._budget.seconds is not None:
            shares.append(self._spent / self._budget.seconds)
        return min(max(shares), 1.0)

    def _end(self) -> None:
        if self._console.is_terminal:
            self._bar.stop()
        if self._pending:
            self._write_line()

    def _write_line(self) -> None:
        self._said, self._pending = self._clock(), False
        self._write(self.line())

    def _write(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
