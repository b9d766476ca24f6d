"""What is compared: runs, and how they stand side by side.

A block is one space and one seed, with one run of every strategy. The seed is the unit of chance: with the
same seed strategies may draw the same random numbers in every space, so the blocks of one seed are never
counted as independent. Who gives each space seeds of its own has as many units as blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from searchmerge.types import UserError

FloatArray: TypeAlias = npt.NDArray[np.float64]

Split: TypeAlias = Literal["dev", "test"]

Block: TypeAlias = tuple[str, int]
"""A space and a seed."""

_DIGITS = 12
"""Last scores are rounded to so many decimals: means taken in another order are the same score."""


@dataclass(frozen=True, eq=False)
class Run:
    """One search.

    Args:
        strategy: as the user named it.
        seed: runs of other strategies with the same one are its pairs.
        scores: ``[evaluations]``: the dev score of each distinct evaluation, in order, the space's default
            merge first; minus infinity where it failed or was rejected.
        seconds: ``[evaluations]``: the wall time of each.
        test: the test score of the dev winner, if it is known.
        space: what was searched, where there are several.

    Raises:
        UserError: these are not the figures of a run.
    """

    strategy: str
    seed: int
    scores: FloatArray
    seconds: FloatArray
    test: float | None = None
    space: str = ""

    def __post_init__(self) -> None:
        if fault := self._fault():
            raise UserError(
                expected="a score and a time for each evaluation, first a finite one of the default merge",
                got=f"{fault} in the run of {self.strategy} with seed {self.seed}",
                cure="look at that run's journal, or leave the run out",
            )

    def _fault(self) -> str | None:
        if self.scores.ndim != 1 or self.scores.shape != self.seconds.shape or not self.scores.size:
            return f"scores {list(self.scores.shape)} and times {list(self.seconds.shape)}"
        if not np.isfinite(self.scores[0]):
            return f"a default merge with the score {self.scores[0]}"
        if np.isnan(self.scores).any() or np.isposinf(self.scores).any():
            return "a score that is no number or infinite"
        if not np.isfinite(self.seconds).all() or (self.seconds < 0).any():
            return "a time that is negative or no number"
        if self.test is not None and not np.isfinite(self.test):
            return f"the test score {self.test}"
        return None

    @property
    def best(self) -> FloatArray:
        """The best dev score so far, ``[evaluations]``."""
        return np.maximum.accumulate(self.scores)

    def last(self, split: Split) -> float | None:
        """The winner's score."""
        score = self.scores.max() if split == "dev" else self.test
        return None if score is None else float(np.round(score, _DIGITS))


@dataclass(frozen=True, eq=False)
class Field:
    """The runs of the blocks that every strategy has.

    Args:
        strategies: in the order given.
        blocks: in the order of spaces, then of seeds.
        runs: by block, then by strategy.
        left_out: blocks that some strategy lacks; their runs count nowhere.
    """

    strategies: tuple[str, ...]
    blocks: tuple[Block, ...]
    runs: tuple[tuple[Run, ...], ...]
    left_out: tuple[Block, ...]

    @property
    def spaces(self) -> tuple[str, ...]:
        """The spaces that were searched."""
        return tuple(dict.fromkeys(space for space, _ in self.blocks))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The independent repetitions."""
        return tuple(sorted({seed for _, seed in self.blocks}))

    @property
    def budget(self) -> int:
        """Evaluations of the longest run; who ended earlier holds the last value."""
        return max(run.scores.size for row in self.runs for run in row)

    def of(self, strategy: str, space: str) -> list[Run]:
        """A strategy's runs in a space, by seed."""
        place = self.strategies.index(strategy)
        return [row[place] for row, block in zip(self.runs, self.blocks, strict=True) if block[0] == space]

    def ends(self, space: str) -> tuple[float, float]:
        """The default merge's score in a space, and the best that any run reached there."""
        runs = [run for name in self.strategies for run in self.of(name, space)]
        return float(np.median([run.scores[0] for run in runs])), max(float(run.scores.max()) for run in runs)

    def table(self, split: Split) -> FloatArray | None:
        """The winners' scores, ``[blocks, strategies]``; None where one has none."""
        scores = [[run.last(split) for run in row] for row in self.runs]
        return None if any(None in row for row in scores) else np.array(scores, float)

    def by_seed(self, table: FloatArray) -> FloatArray:
        """Turn ``[blocks, …]`` into ``[seeds, …]``: the mean over the blocks of each seed."""
        owners = np.array([seed for _, seed in self.blocks])
        return np.stack([table[owners == seed].mean(0) for seed in self.seeds])


def arrange(runs: Sequence[Run]) -> Field:
    """Put runs side by side.

    Raises:
        UserError: a run is there twice, or there is no block that every strategy has.
    """
    found: dict[Block, dict[str, Run]] = {}
    for run in runs:
        block = found.setdefault((run.space, run.seed), {})
        if run.strategy in block:
            raise UserError(
                expected="one run a strategy, space and seed",
                got=f"two of {run.strategy} with seed {run.seed}",
                cure="give each its own name or seed",
            )
        block[run.strategy] = run
    strategies = tuple(dict.fromkeys(run.strategy for run in runs))
    spaces = list(dict.fromkeys(run.space for run in runs))
    order = sorted(found, key=lambda block: (spaces.index(block[0]), block[1]))
    whole = tuple(block for block in order if len(found[block]) == len(strategies))
    if not whole:
        raise UserError(
            expected="at least one seed that every strategy has run",
            got=f"none among {len(runs)} runs of {', '.join(strategies) or 'no strategy'}",
            cure="finish the runs, or leave out the strategy that has none",
        )
    left_out = tuple(block for block in order if block not in whole)
    rows = tuple(tuple(found[block][name] for name in strategies) for block in whole)
    return Field(strategies, whole, rows, left_out)
