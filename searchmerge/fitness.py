"""What a search is told of a candidate: its dev score, perhaps on a part of dev, or less a penalty."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch

from searchmerge.bench import Bench
from searchmerge.config import Subset
from searchmerge.objective import Objective
from searchmerge.objective.asking import Models
from searchmerge.types import Evaluation, Lost, Race, Recipe, Trial, UserError, default_genotype
from searchmerge.workshop import Workshop

_Score = TypeVar("_Score")


class Fitness:
    """Scores candidates for the search loop.

    Args:
        bench: its config says on what part of dev, and what is taken off.

    Raises:
        UserError: a penalty that the space's recipes have no number for, or rounds without an end.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._penalty, self._subset = bench.config.objective.penalty, bench.config.objective.subset
        _check(bench)

    def __call__(self, recipe: Recipe, floor: float, share: float) -> Evaluation | None:
        """Realise a recipe and score it on a share of dev; None where the score does not exceed the floor."""
        return self._scored(
            recipe, share, lambda objective, models: objective.above(models, floor, self._taken_off(recipe))
        )

    def raced(
        self, recipe: Recipe, floor: float, share: float, race: Race, rival: Evaluation
    ) -> Evaluation | Lost | None:
        """As a call, and the recipe may lose a race against the rival."""
        return self._scored(
            recipe,
            share,
            lambda objective, models: objective.raced(models, race, rival, floor, self._taken_off(recipe)),
        )

    def _scored(self, recipe: Recipe, share: float, score: Callable[[Objective, Models], _Score]) -> _Score:
        objective = self._bench.part_of_dev(share)  # to make one may write other weights into the live models
        models = self._bench.realise(recipe)
        with self._bench.reuse.of(recipe, models):
            return score(objective, models)

    def winner(self, best: Trial, trials: Sequence[Trial]) -> Trial:
        """The best trial with its evaluation on the whole of dev, no penalty taken off.

        Of a search on a part of dev it is chosen by the whole: the trials that were scored on it, and the
        finalists among the others.

        Raises:
            UserError: not one of them can be scored on the whole.
        """
        dev, evaluation = self._bench.objective("dev"), best.evaluation
        if self._subset is not None or best.share < 1:
            finalists = self._subset.finalists if self._subset else Subset().finalists
            scored = dict(self._on_the_whole(finalists, trials))
            if not scored:
                raise UserError(
                    expected="a finalist that can be scored on the whole dev",
                    got="only failures",
                    cure="look at the errors in journal.jsonl, or raise objective.subset.finalists",
                )
            number = max(scored, key=lambda number: (scored[number].score, -number))
            best, evaluation = trials[number], scored[number]
        assert evaluation is not None
        return replace(best, evaluation=dev.score_of(evaluation.outcomes))

    def _on_the_whole(self, finalists: int, trials: Sequence[Trial]) -> Iterator[tuple[int, Evaluation]]:
        """The evaluations of trials on the whole of dev, penalty taken off, by their numbers."""
        partly: list[Trial] = []
        for trial in trials:
            # A repeat that was answered from memory has no outcomes.
            if trial.evaluation is None or not trial.evaluation.outcomes:
                continue
            if trial.share == 1:
                yield trial.number, trial.evaluation
            else:
                partly.append(trial)
        dev = self._bench.objective("dev")
        for trial in sorted(partly, key=lambda trial: -trial.score)[:finalists]:
            try:
                models = self._bench.realise(trial.recipe)
                yield trial.number, dev(models, self._taken_off(trial.recipe))
            except UserError:
                raise
            except Exception:  # what did not fail on a part may fail on the whole: then it does not win
                continue

    def share(self, number: int) -> float:
        """The whole of dev for the space's default; for what is searched, the share that its round has."""
        evaluations = self._bench.config.budget.evaluations
        if self._subset is None or evaluations is None or number == 0:
            return 1.0
        return share_of(self._subset, number / evaluations)

    def _taken_off(self, recipe: Recipe) -> float:
        """The penalty of the recipe that has been realised."""
        taken = 0.0
        if self._penalty.coefficients:
            taken += self._penalty.coefficients * mean_coefficient(recipe)
        if self._penalty.distance:
            taken += self._penalty.distance * distance(self._bench.workshop)
        return taken


def share_of(subset: Subset, spent: float) -> float:
    """The share of dev that a search sees when so much of its evaluations is spent, from ``start`` to 1.

    It grows by the same factor from round to round; one round stays at ``start``.
    """
    turn = min(int(spent * subset.rounds), subset.rounds - 1)
    return float(subset.start ** (1 - turn / max(1, subset.rounds - 1)))


def distance(workshop: Workshop) -> float:
    """The live weights' Euclidean distance from the base, relative to the base's length."""
    assert workshop.base is not None
    away = torch.dist(workshop.written.weights, workshop.base)
    length = torch.linalg.vector_norm(workshop.base)
    return float(away / length)


def mean_coefficient(recipe: Recipe) -> float:
    """The mean size of the experts' coefficients: LoRAHub's L1 regularisation (Huang et al. 2023)."""
    return float(np.mean(np.abs(list(_numbers(recipe["knobs"]["weight"])))))


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _numbers(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _numbers(each)
    else:
        yield float(value)


def _check(bench: Bench) -> None:
    objective = bench.config.objective
    if objective.penalty.coefficients:
        recipe = bench.space.decode(default_genotype(bench.space.dims))
        if "weight" not in recipe.get("knobs", ()):
            raise UserError(
                expected="recipes with a weight for each expert, for objective.penalty.coefficients",
                got=f"those of {recipe.get('method', recipe['space'])}, which have none",
                cure="leave that penalty out, or take penalty.distance",
            )
    if objective.penalty.distance and bench.sources.base is None:
        raise UserError(expected="a base for objective.penalty.distance", got="none", cure="name models.base")
    if objective.penalty.distance and bench.config.space.kind == "paths":
        raise UserError(
            expected="one set of weights for objective.penalty.distance",
            got="paths, which take layers of several models as they are",
            cure="leave that penalty out",
        )
    if objective.subset is not None and bench.config.budget.evaluations is None:
        raise UserError(
            expected="budget.evaluations, by which the rounds of objective.subset are counted",
            got="a budget without",
            cure="add budget.evaluations",
        )
