from __future__ import annotations

from io import StringIO

from rich.console import Console

from searchmerge.compare.contest import Entry
from searchmerge.config import Budget
from searchmerge.report.filling import WIDEST, Filling
from searchmerge.report.progress import EVERY
from tests.report.test_progress import Clock, trial


class Watch:
    """A comparison of made-up trials under a made-up clock."""

    def __init__(
        self,
        strategies: str = "ab",
        spaces: str = "x",
        seeds: int = 2,
        *,
        terminal: bool = False,
        budget: int = 4,
    ) -> None:
        self.clock, self.out = Clock(), StringIO()
        self.entries = [
            Entry(space, strategy, seed)
            for seed in range(seeds)
            for space in spaces
            for strategy in strategies
        ]
        console = Console(file=self.out, force_terminal=terminal, width=100)
        self.filling = Filling(self.entries, Budget(evaluations=budget), console=console, clock=self.clock)

    def ran(self, entry: Entry, *scores: float | None, seconds: float = 2.0, known: bool = False) -> None:
        best = None
        for number, score in enumerate(scores):
            self.clock.now += 0.0 if known else seconds
            ended = trial(number, score, seconds)
            best = ended if best is None or ended.score > best.score else best
            self.filling.update(entry, ended, best)

    @property
    def text(self) -> str:
        return self.out.getvalue()


def test_elsewhere_than_on_a_terminal_every_run_has_a_line() -> None:
    watch = Watch()
    with watch.filling:
        watch.ran(watch.entries[0], 0.5, 0.75, 0.25, 0.5)
        watch.ran(watch.entries[1], 0.5, None, 0.625)
        watch.filling.say("judging")
    assert watch.text.splitlines() == [
        "run 1 of 4: a over x, seed 0, 4/4, best 0.750; 24.0 s left",
        "run 2 of 4: b over x, seed 0, 3/4, best 0.625; 16.0 s left",
        "judging",
    ]


def test_a_long_run_says_now_and_then_how_far_it_is() -> None:
    watch = Watch(budget=10)
    with watch.filling:
        watch.ran(watch.entries[0], 0.5, 0.75, seconds=EVERY)
        assert watch.text.splitlines() == [
            "run 1 of 4: a over x, seed 0, 1/10, best 0.500; 6 min 30 s left",
            "run 1 of 4: a over x, seed 0, 2/10, best 0.750; 6 min 20 s left",
        ]


def test_what_is_known_already_foretells_nothing_and_what_others_know_shortens_the_rest() -> None:
    watch = Watch()
    with watch.filling:
        watch.ran(watch.entries[0], 0.5, 0.5, 0.5, 0.5, known=True)
        assert "left" not in watch.filling.line()
        watch.ran(watch.entries[1], 0.5, 0.5, seconds=3.0)
        assert watch.filling.line().endswith("30.0 s left"), "ten evaluations of three seconds"
        watch.ran(watch.entries[1], 0.5, 0.5, known=True, seconds=3.0)
        assert watch.filling.line().endswith("12.0 s left"), "four took six seconds, eight are missing"


def test_a_terminal_has_a_table_that_fills() -> None:
    watch = Watch(spaces="xy", terminal=True)
    with watch.filling:
        watch.ran(watch.entries[0], 0.5, 0.75, 0.25, 0.5)
        watch.ran(watch.entries[1], 0.5, 0.625)
        console = Console(file=StringIO(), width=100)
        console.print(watch.filling._shown())
        rows = [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert ["space", "strategy", "seed", "0", "seed", "1"] in rows
    assert ["x", "a", "0.750", "·"] in rows
    assert ["x", "b", "0.625", "(2)", "·"] in rows
    assert ["y", "b", "·", "·"] in rows
    assert rows[-1][:4] == ["run", "2", "of", "8:"]


def test_many_seeds_are_summed_up() -> None:
    watch = Watch(seeds=WIDEST + 1, terminal=True)
    with watch.filling:
        for entry in watch.entries[:3]:
            watch.ran(entry, 0.5, 0.75, 0.25, None)
        watch.filling.say("judging")
        rows = [line.split() for line in watch.text.splitlines()]
    assert ["a", "2/11", "0.750"] in rows
    assert ["b", "1/11", "0.750"] in rows


def test_a_run_of_failures_is_called_that() -> None:
    watch = Watch(terminal=True)
    with watch.filling:
        watch.ran(watch.entries[0], None, None)
        watch.filling.say("judging")
    assert "failed" in watch.text
