"""Who runs: every strategy over every space with every seed, and what the runs have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from searchmerge.bench import Bench
from searchmerge.config import Config, Part, inline
from searchmerge.fitness import Fitness
from searchmerge.optimize import run_search
from searchmerge.types import Recipe, Trial, UserError, digest

ALWAYS = "random"
"""In every field: what does not beat it has not learned anything."""


@dataclass(frozen=True)
class Entry:
    """One run of the field.

    Args:
        space: its name in the comparison.
        strategy: likewise.
        seed: of the strategy, and of a space's own random masks.
    """

    space: str
    strategy: str
    seed: int

    @property
    def folder(self) -> Path:
        """Where its journal is, below the comparison's folder."""
        return Path(_as_name(self.space)) / f"{_as_name(self.strategy)}-{self.seed}"


@dataclass(frozen=True)
class Finished:
    """A run that has come to its end.

    Args:
        entry: which one.
        best: its dev winner, with the evaluation on the whole of dev.
        trials: all of them.
        reason: why it ended.
        counts: how many evaluations, repeats, rejections and failures.
    """

    entry: Entry
    best: Trial
    trials: Sequence[Trial]
    reason: str
    counts: Mapping[str, float]


@dataclass(frozen=True)
class Contest:
    """The field, strategies and spaces by what the tables call them.

    Raises:
        UserError: fewer than one seed, or two runs that would share a folder.
    """

    spaces: Mapping[str, Part]
    strategies: Mapping[str, Part]
    seeds: int

    @classmethod
    def of(cls, config: Config, strategies: Sequence[str] = (), seeds: int | None = None) -> Contest:
        """The field of a config and a command line; random search is always in it.

        Args:
            config: its section ``compare`` says what is not given here.
            strategies: names from that section, or strategies as :func:`searchmerge.config.inline` reads
                them.
            seeds: runs of each strategy over each space, with the seeds from 0 on.

        Raises:
            UserError: no strategy, or a comparison that makes no sense.
        """
        known = config.compare.strategies
        named = {name: known.get(name) or inline(name) for name in map(str.strip, strategies)} or dict(known)
        if not named:
            raise UserError(
                expected="strategies to compare",
                got="none",
                cure="give --strategies de,cmaes,tpe or name them in the config under compare.strategies",
            )
        if all(part.kind != ALWAYS for part in named.values()):
            named[ALWAYS] = Part(kind=ALWAYS)
        spaces = config.compare.spaces or {config.space.kind: config.space}
        return cls(spaces, named, config.compare.seeds if seeds is None else seeds)

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise UserError(expected="one seed or more", got=str(self.seeds), cure="correct --seeds")
        folders = [entry.folder for entry in self.entries if entry.seed == 0]
        if len(set(folders)) < len(folders):
            raise UserError(
                expected="strategies and spaces with a name each",
                got=", ".join([*self.spaces, *self.strategies]),
                cure="give those that look alike other names under compare in the config",
            )

    @property
    def entries(self) -> list[Entry]:
        """Every run, seed by seed, so that an unfinished comparison is a fair one of fewer seeds."""
        return [
            Entry(space, strategy, seed)
            for seed in range(self.seeds)
            for space in self.spaces
            for strategy in self.strategies
        ]

    def benches(self, bench: Bench) -> dict[Entry, Bench]:
        """A bench for each run, with the sources, live models and texts of one for all.

        Raises:
            UserError: some run cannot be: a space that does not fit, a wrong option.
        """
        twins = {entry: self._twin(bench, entry) for entry in self.entries}
        for entry, twin in twins.items():
            if entry.seed == 0:
                twin.check_space()
                twin.strategy()
                Fitness(twin)
        largest = max(twins.values(), key=lambda twin: twin.resident_models)
        _ = largest.workshop, largest.reuse
        return {entry: self._twin(largest, entry) for entry in self.entries}

    def _twin(self, bench: Bench, entry: Entry) -> Bench:
        return bench.searched_by(self.strategies[entry.strategy], entry.seed, self.spaces[entry.space])


def run(
    benches: Mapping[Entry, Bench],
    out: Path,
    *,
    resume: bool,
    watch: Callable[[Entry, Trial, Trial], None],
) -> Iterator[Finished]:
    """Run one after the other; what is there is gone on with.

    All runs share what is known of recipes: one that any run has scored is not scored again, but counts
    against each budget. So a run has the journal that it would have alone, times included: a recipe costs
    the seconds that it took where it was evaluated.

    Args:
        benches: of the runs.
        out: the folder of the comparison.
        resume: whether there may be something to go on with.
        watch: sees every trial, and the best of its run so far.
    """
    memory: dict[bytes, Trial] = {}

    def recall(recipe: Recipe) -> Trial | None:
        return memory.get(digest(recipe))

    for entry, bench in benches.items():
        trials: list[Trial] = []

        def watched(trial: Trial, best: Trial, entry: Entry = entry, trials: list[Trial] = trials) -> None:
            trials.append(trial)
            if trial.share == 1 and trial.evaluation is not None and trial.evaluation.outcomes:
                memory.setdefault(digest(trial.recipe), trial)
            watch(entry, trial, best)

        best, reason, counts = run_search(
            bench, out / entry.folder, resume=resume, watch=watched, recall=recall
        )
        yield Finished(entry, best, trials, reason, counts)


def _as_name(text: str) -> str:
    """As a part of a path, on any system."""
    return re.sub(r"[^\w.+-]+", "-", text)
