"""The folder of a comparison as those who only look at it read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from searchmerge.compare.field import Block
from searchmerge.files import read_json
from searchmerge.types import UserError

FILE = "comparison.json"


@dataclass(frozen=True)
class Compared:
    """What a comparison has left behind so far.

    Args:
        content: of ``comparison.json``.
    """

    content: Mapping[str, Any]

    @property
    def strategies(self) -> tuple[str, ...]:
        """All that were asked for, in the user's order."""
        return tuple(self.content["strategies"])

    @property
    def runs(self) -> Sequence[Mapping[str, Any]]:
        """Those that have ended."""
        runs: Sequence[Mapping[str, Any]] = self.content["runs"]
        return runs

    @property
    def wanted(self) -> int:
        """How many runs there are at the end."""
        return len(self.strategies) * len(self.content["spaces"]) * int(self.content["seeds"])

    @property
    def statistics(self) -> Mapping[str, Any] | None:
        """What was computed; None while not one seed is there for all."""
        statistics: Mapping[str, Any] | None = self.content["statistics"]
        return statistics

    @property
    def spaces(self) -> tuple[str, ...]:
        """Those that runs have ended in, in the user's order."""
        ended = {run["space"] for run in self.runs}
        return tuple(space for space in self.content["spaces"] if space in ended)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The spaces and seeds that count, in the order in which the statistics hold their scores."""
        statistics = self.statistics or {"spaces": (), "strategies": ()}
        ended: dict[Block, set[str]] = {}
        for run in self.runs:
            ended.setdefault((run["space"], run["seed"]), set()).add(run["strategy"])
        return tuple(
            (space, seed)
            for space in statistics["spaces"]
            for seed in sorted(seed for where, seed in ended if where == space)
            if ended[space, seed] >= set(statistics["strategies"])
        )

    def best(self, space: str) -> dict[str, Mapping[str, Any]]:
        """The run with the highest dev score of each strategy in a space; of equal ones the first seed."""
        runs = [run for run in self.runs if run["space"] == space]
        found = {
            name: sorted((run for run in runs if run["strategy"] == name), key=lambda run: run["seed"])
            for name in self.strategies
        }
        return {
            name: max(of, key=lambda run: run["best"]["dev"]["score"]) for name, of in found.items() if of
        }


def is_comparison(folder: Path) -> bool:
    """Whether a comparison lies there, and no single run."""
    return (folder / FILE).exists()


def read(folder: Path) -> Compared:
    """Read a comparison's folder without touching it.

    Raises:
        UserError: there is no comparison in it, or its file is damaged.
    """
    what = "a comparison.json as a comparison leaves it"
    content = read_json(folder / FILE, what)
    if missing := {"name", "spaces", "strategies", "seeds", "runs", "statistics"} - content.keys():
        raise UserError(
            expected=what,
            got=f"{folder / FILE} has no {', '.join(sorted(missing))}",
            cure="run the comparison again with --resume, which writes it anew",
        )
    return Compared(content)
