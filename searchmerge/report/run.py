"""A run folder as those who only look at it read it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from searchmerge import journal
from searchmerge.files import read_json
from searchmerge.types import Recipe, Trial

_BREAK = r"\n *"


@dataclass(frozen=True)
class Run:
    """What a run has left behind so far.

    Args:
        header: the journal's first line.
        trials: all whole lines after it, in order; none where the run had no time for one.
        result: content of ``result.json``, None while the run goes on or where it was interrupted.
    """

    header: Mapping[str, Any]
    trials: tuple[Trial, ...]
    result: Mapping[str, Any] | None

    @property
    def config(self) -> Mapping[str, Any]:
        """The config that the run was started with."""
        config: Mapping[str, Any] = self.header.get("config") or {}
        return config

    @property
    def name(self) -> str:
        """Strategy, space and seed."""
        strategy, space = (self.header.get(part, {}) for part in ("strategy", "space"))
        return f"{_kind(strategy)} over {_kind(space)}, seed {self.header.get('seed', 'unknown')}"

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the models that are merged."""
        return tuple(self.config.get("models", {}).get("experts", ()))

    @property
    def best(self) -> Trial | None:
        """The winner: the result's, else the first of the highest scored trials so far."""
        if self.result and self.result.get("best"):
            number = self.result["best"]["trial"]
            return next((trial for trial in self.trials if trial.number == number), None)
        return max(self.whole, key=lambda trial: trial.score, default=None)

    @property
    def whole(self) -> tuple[Trial, ...]:
        """The trials with a score on the whole of dev, which alone can be compared."""
        return tuple(trial for trial in self.trials if trial.evaluation and trial.share == 1)

    @property
    def partly(self) -> tuple[Trial, ...]:
        """The trials with a score on a part of dev."""
        return tuple(trial for trial in self.trials if trial.evaluation and trial.share < 1)

    @property
    def evaluated(self) -> tuple[Trial, ...]:
        """The trials that cost something: all but the repeats."""
        return tuple(trial for trial in self.trials if trial.repeats is None)

    @property
    def rejected(self) -> tuple[Trial, ...]:
        """The trials stopped early, each counted once: by their floor, or because they lost a race."""
        return tuple(trial for trial in self.evaluated if trial.state == "rejected")

    @property
    def lost(self) -> tuple[Trial, ...]:
        """The trials stopped early in a race: they may have been better than their rivals all the same."""
        return tuple(trial for trial in self.rejected if trial.lost_to is not None)

    @property
    def failed(self) -> tuple[Trial, ...]:
        """The trials that ended with an error, each counted once."""
        return tuple(trial for trial in self.evaluated if trial.state == "failed")


def bred(recipe: Recipe) -> bool:
    """Whether the recipe is of a model that was crossed from whole models."""
    return recipe.get("space") == "population"


def laid(recipe: Recipe) -> bool:
    """Whether the recipe is of a path through the layers of several models."""
    return recipe.get("space") == "paths"


def as_json(value: Mapping[str, Any]) -> str:
    """JSON for people: a list that holds no other one is on one line, such as a step of a path."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    # A line break is never within a string, so that nothing but the layout changes.
    return re.sub(r"\[\n *([^][{}]*?)\n *\]", lambda found: f"[{re.sub(_BREAK, ' ', found[1])}]", text)


def _kind(part: Mapping[str, Any] | str) -> str:
    return part if isinstance(part, str) else str(part.get("kind", "unknown"))


def read(folder: Path) -> Run:
    """Read a run folder without touching it.

    Raises:
        UserError: there is no journal in it, or a file of it is damaged.
    """
    header, trials = journal.read(folder / "journal.jsonl")
    result = folder / "result.json"
    found = read_json(result, "a result.json as a search leaves it") if result.exists() else None
    return Run(header, tuple(trials), found)
