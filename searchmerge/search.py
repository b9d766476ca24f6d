"""The loop: ask, decode, evaluate, journal, tell.

Resuming is not a feature of it but the same loop: a candidate whose number stands in the journal is not
evaluated again, its score is taken from there. So no strategy saves or loads anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from math import inf, isfinite
from operator import attrgetter
from typing import Any, TypeAlias

from searchmerge.config import Budget
from searchmerge.journal import Journal
from searchmerge.types import (
    Candidate,
    Evaluation,
    Genotype,
    Lost,
    Race,
    Recipe,
    Space,
    Strategy,
    Trial,
    UserError,
    default_genotype,
    digest,
)

FAILURES_IN_A_ROW = 8
"""Failed candidates in a row after which a run is stopped: nothing that comes will be better."""

REPEATS_IN_A_ROW = 500
"""Repeated recipes in a row after which a strategy is held to have nothing new to ask."""

_ROUNDING = 1e-6
"""Of a sum of shares."""

Evaluate = Callable[[Recipe, float, float], Evaluation | None]
"""``(recipe, floor, share of dev)``: None says that the score does not exceed the floor."""

Raced = Callable[[Recipe, float, float, Race, Evaluation], Evaluation | Lost | None]
"""``(recipe, floor, share of dev, race, the rival's evaluation)``: as of :data:`Evaluate`, or it has lost."""

Recall = Callable[[Recipe], Trial | None]
"""A trial of another search that has scored the recipe already, if there is one."""

Share = Callable[[int], float]
"""A share of dev by the trial's number."""

_Scored = Callable[[Recipe, float, float], Evaluation | Lost | None]

_Key: TypeAlias = tuple[bytes, float]
"""What a recipe is known by, and the share of dev that it was scored on."""

Told = Callable[[Trial], float | tuple[float, ...]]
"""What the strategy is told of a trial."""


def search(
    space: Space,
    strategy: Strategy,
    evaluate: Evaluate,
    journal: Journal,
    budget: Budget,
    recall: Recall = lambda _: None,
    told: Told = attrgetter("score"),
    share: Share = lambda _: 1.0,
    raced: Raced | None = None,
) -> Generator[Trial, None, str]:
    """Search, one trial at a time; trial 0 is the space's default, of a population its first founder.

    Args:
        space: gives the recipe of a genotype.
        strategy: a fresh one; it is led through the journal's trials before anything new is evaluated.
        evaluate: scores a recipe; what it raises, and a score that is not finite, make a failed trial.
        journal: the trials so far, and where new ones go.
        budget: a repeated recipe costs nothing of it.
        recall: asked before a recipe is evaluated; what it knows costs as much of the budget as it did there.
        told: the score; of several objectives, a function of what the journal keeps.
        share: of dev that a trial is scored on at most, by its number; a recipe that was scored on another
            share is not known.
        raced: scores a candidate in its race; left out: nobody races.

    Yields:
        Every trial in order, those of the journal first.

    Returns:
        Why the search ended.

    Raises:
        UserError: the journal holds another genotype than the strategy asks, or every candidate of a
            generation failed.
    """
    spent = _Spent(budget)
    memory: dict[_Key, Trial] = {}
    past: list[Recipe] = []
    for batch, strategy_asked in _batches(space, strategy):
        scores: list[Any] = []
        for candidate in batch:
            if reason := spent.reason():
                return reason
            if (number := len(past)) < len(journal.trials):
                trial = _same_genotype(journal.trials[number], candidate.genotype)
                key = digest(trial.recipe), trial.share
            else:
                recipe = space.decode(candidate.genotype, past)
                limited = replace(candidate, share=min(candidate.share, share(number)))
                key = digest(recipe), limited.share
                how = _racing(limited, journal.trials, raced) or (evaluate, recall)
                trial = _tried(number, limited, recipe, memory.get(key), *how)
                trial = replace(trial, share=limited.share, cost=candidate.share)
                journal.append(trial)
            if key not in memory or memory[key].state == "rejected":
                memory[key] = trial
            past.append(trial.recipe)
            spent.take(trial)
            scores.append(told(trial))
            yield trial
        _refuse_all_failed(spent, len(batch), trial)
        if strategy_asked:
            strategy.tell(scores)
    return "the strategy has finished"


def _batches(space: Space, strategy: Strategy) -> Iterator[tuple[Sequence[Candidate], bool]]:
    yield [Candidate(default_genotype(space.dims))], False
    while batch := strategy.ask():
        yield batch, True


def _same_genotype(trial: Trial, genotype: Genotype) -> Trial:
    if trial.genotype != genotype:
        raise UserError(
            expected=f"the genotype of trial {trial.number} as the journal has it",
            got="another one: the strategy, a library, this program or the budget it plans with has changed",
            cure="resume with the versions and budget that the run was started with, or choose another --out",
        )
    return trial


def _tried(
    number: int,
    candidate: Candidate,
    recipe: Recipe,
    seen: Trial | None,
    evaluate: _Scored,
    recall: Recall,
) -> Trial:
    genotype, share = candidate.genotype, candidate.share
    if seen is not None and seen.state != "rejected":
        evaluation = seen.evaluation and replace(seen.evaluation, outcomes={})
        return Trial(number, genotype, seen.recipe, evaluation, seen.error, seen.number)
    # One that was rejected before is no new recipe: without floors it would have been answered from memory.
    repeats = None if seen is None else seen.number
    if share == 1 and (known := recall(recipe)):
        evaluation = known.evaluation if known.score > candidate.floor else None
        return Trial(number, genotype, recipe, evaluation, known.error, repeats, known.seconds)
    start = time.perf_counter()
    error, evaluation, lost_to = None, None, None
    try:
        found = evaluate(recipe, candidate.floor, share)
        if isinstance(found, Lost):
            lost_to = candidate.race.rival if candidate.race else None
        elif found and not isfinite(found.score):
            error = f"the score is {found.score}"
        else:
            evaluation = found
    except UserError:
        raise  # not this candidate's fault: every other one would meet it too
    except Exception as problem:  # whatever a candidate raises is that candidate's failure
        error = f"{type(problem).__name__}: {problem}"
    seconds = time.perf_counter() - start
    return Trial(number, genotype, recipe, evaluation, error, repeats, seconds, lost_to=lost_to)


def _racing(
    candidate: Candidate, trials: Sequence[Trial], raced: Raced | None
) -> tuple[_Scored, Recall] | None:
    """What scores the candidate in its race; None where it has none, or nobody to race against.

    What another search knows of its recipe does not say how the race would have ended, so it is not recalled.
    """
    race = candidate.race
    if raced is None or race is None:
        return None
    rival = trials[race.rival]
    if rival.evaluation and not rival.evaluation.outcomes and rival.repeats is not None:
        rival = trials[rival.repeats]  # a repeat's outcomes stand there
    against = rival.evaluation
    if against is None or not against.outcomes or rival.share != candidate.share:
        return None
    return lambda recipe, floor, share: raced(recipe, floor, share, race, against), lambda _: None


def _refuse_all_failed(spent: _Spent, batch: int, last: Trial) -> None:
    if spent.failures_in_a_row >= max(FAILURES_IN_A_ROW, batch):
        raise UserError(
            expected="candidates that can be evaluated",
            got=f"{spent.failures_in_a_row} failures in a row, the last one: {last.error}",
            cure="look at the errors in journal.jsonl; `searchmerge check` may name the cause",
        )


class _Spent:
    """What has been used of the budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.evaluations = 0.0
        self.seconds = 0.0
        self.since_best = 0.0
        self.best = -inf
        self.failures_in_a_row = 0
        self.repeats_in_a_row = 0

    def take(self, trial: Trial) -> None:
        if trial.repeats is not None:
            self.repeats_in_a_row += 1
            return
        self.repeats_in_a_row = 0
        self.evaluations += trial.cost
        self.seconds += trial.seconds
        self.failures_in_a_row = self.failures_in_a_row + 1 if trial.state == "failed" else 0
        better = trial.share == 1 and trial.score > self.best
        self.since_best = 0.0 if better else self.since_best + trial.cost
        self.best = trial.score if better else self.best

    def reason(self) -> str | None:
        """Why to stop now, or None."""
        budget = self._budget
        if budget.evaluations is not None and self.evaluations > budget.evaluations - _ROUNDING:
            return f"{budget.evaluations} evaluations are spent"
        if budget.seconds is not None and self.seconds >= budget.seconds:
            return f"{budget.seconds:g} seconds are spent"
        if budget.patience is not None and self.since_best > budget.patience - _ROUNDING:
            return f"{budget.patience} evaluations brought nothing better"
        if self.repeats_in_a_row >= REPEATS_IN_A_ROW:
            return f"the last {REPEATS_IN_A_ROW} candidates were all known"
        return None
