"""The vocabulary: every word that two rooms share is defined here, and nothing else is.

config -> Space -- decode -> Recipe -- realise -> live models -- Objective -> Evaluation
            ^                                                                  |
            +------------- ask -- Strategy <- tell ----------------------------+
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import nn

    from searchmerge.workshop import Workshop

Genotype: TypeAlias = tuple[Any, ...]
"""What a strategy asks for, as JSON keeps it but for tuples.

In a space of coordinates a point of the unit cube ``[0, 1]^n``, one float a dimension. In a space of whole
models the individuals of a population, of which one may be a :class:`Cross`, the newly born child.
"""

Individual: TypeAlias = str | int
"""One model of a population: a founder by its name, a child by the number of its trial."""

Recipe: TypeAlias = dict[str, Any]
"""A JSON value that says all there is to know about one merge of named sources."""


def digest(recipe: Recipe) -> bytes:
    """What tells recipes apart, in few bytes: the JSON of one with a hundred coefficients has kilobytes."""
    return blake2b(json.dumps(recipe, sort_keys=True).encode(), digest_size=16).digest()


Outcomes: TypeAlias = npt.NDArray[Any]
"""What the model did on each example of a task, shape ``[examples]``: the predicted label's number."""

MERGED = "merged"
"""Name of the live model whose head is merged too; others go by the expert whose head they have."""


class UserError(Exception):
    """The user's input is at fault: one message of three parts, exit code 2, no traceback.

    Args:
        expected: what the input should have been.
        got: what it was.
        cure: what to do about it.
    """

    def __init__(self, *, expected: str, got: str, cure: str) -> None:
        super().__init__(f"expected: {expected}\ngot: {got}\ndo: {cure}")
        self.expected, self.got, self.cure = expected, got, cure


@dataclass(frozen=True)
class Dim:
    """One coordinate of a vector space.

    Args:
        name: what it stands for, e.g. ``weight/reviews/layer.3``.
        default: where the space's default merge lies on it, in ``[0, 1]``.
        choices: None for a real coordinate; else the number of equal bins that ``[0, 1]`` is cut into,
            bin ``k`` being ``[k/choices, (k+1)/choices)``.
        means: what it stands for, for people: of choices one value each; of a real coordinate the numbers at
            evenly spaced points from 0 to 1, on straight lines between them; empty where it has no such.
    """

    name: str
    default: float
    choices: int | None = None
    means: tuple[str | float, ...] = ()


@dataclass(frozen=True)
class Cross:
    """A child: a copy of its parent in which some parameters are those of a mutant.

    Args:
        parent: whose place the child would take.
        mutant: individuals with their coefficients: the mutant is the sum of the products.
        cr: probability that a unit of parameters comes from the mutant.
        seed: decides which ones, below ``2^32``.
    """

    parent: Individual
    mutant: tuple[tuple[Individual, float], ...]
    cr: float
    seed: int


@dataclass(frozen=True)
class Founders:
    """What a space of whole models has in place of coordinates.

    Args:
        names: the individuals that there are at first.
        together: whether a score is that of the whole population merged, not of one individual.
        finale: whether the last evaluation is to be that of the whole last population merged.
    """

    names: tuple[str, ...]
    together: bool = False
    finale: bool = False


Dims: TypeAlias = Sequence[Dim] | Founders
"""What a strategy moves in: coordinates, or a population of whole models."""


@dataclass(frozen=True)
class Race:
    """A comparison with an earlier trial, example by example; who does worse so far is stopped.

    Unlike a floor it is inexact: a test decides on the examples seen so far, and now and then it stops a
    candidate that would have been the better one.

    Args:
        rival: the number of the trial that the candidate is compared with.
        test: ``wilcoxon``, the signed-rank test as Optuna's pruner has it; or ``bound``, a confidence bound
            of the mean difference that holds at every look.
        level: how sure the test has to be: the candidate is stopped at p-values below it.
        seed: of the order in which the batches are read.
    """

    rival: int
    test: Literal["wilcoxon", "bound"]
    level: float
    seed: int


@dataclass(frozen=True)
class Candidate:
    """What a strategy asks to be evaluated.

    Args:
        genotype: what it is.
        floor: the score that it must exceed to matter; the evaluation may stop as soon as it cannot.
        share: of dev that it is to be scored on, which is also what it costs of the budget; only what was
            scored on the whole can win.
        race: None, or a race in which it may be stopped too; there is none if the rival has no outcomes on
            the same share.
    """

    genotype: Genotype
    floor: float = -np.inf
    share: float = 1.0
    race: Race | None = None


@dataclass(frozen=True)
class Evaluation:
    """What the dev set says of one merged model.

    Args:
        score: the objective's value, finite, higher is better.
        metrics: the metric of each task, by the task's name.
        outcomes: what the model did on each example, by the task's name.
    """

    score: float
    metrics: Mapping[str, float]
    outcomes: Mapping[str, Outcomes] = field(default_factory=dict)


@dataclass(frozen=True)
class Lost:
    """What there is in the place of an evaluation where the candidate was stopped in its race."""


@dataclass(frozen=True)
class Trial:
    """One line of the journal.

    Args:
        number: 0 for the space's default, then in the order asked.
        genotype: the point that was asked for.
        recipe: what it decodes to.
        evaluation: None where the candidate failed or was rejected.
        error: why it failed, else None.
        repeats: the number of the earlier trial with the same recipe and share, else None. A repeat costs
            nothing of the budget; its outcomes stand with that trial, unless that was rejected and this one
            evaluated.
        seconds: wall time that the evaluation took; 0 where the earlier trial answered.
        share: of dev that it was scored on.
        cost: of the budget's evaluations, for a repeat nothing.
        lost_to: the number of the rival of the race in which it was stopped, else None.
    """

    number: int
    genotype: Genotype
    recipe: Recipe
    evaluation: Evaluation | None
    error: str | None = None
    repeats: int | None = None
    seconds: float = 0.0
    share: float = 1.0
    cost: float = 1.0
    lost_to: int | None = None

    @property
    def state(self) -> Literal["complete", "rejected", "failed"]:
        """Whether there is a score; rejected is one that did not exceed its floor, or lost its race."""
        return "complete" if self.evaluation else "failed" if self.error else "rejected"

    @property
    def score(self) -> float:
        """The score, or minus infinity where there is none: what a strategy is told."""
        return self.evaluation.score if self.evaluation else -np.inf


class Strategy(Protocol):
    """A search strategy, built as ``Strategy(dims, seed=…, budget=…, **options)``.

    ``dims`` are the coordinates; a class with a true attribute ``breeds`` takes :class:`Founders` in their
    place too. What it asks for first is trial 1, then 2, 3, … (trial 0 is the space's default). ``seed`` is
    an integer, ``budget`` the evaluations that the user allows (None if only time limits them). The same
    arguments and the same scores give the same candidates, whatever draws from the global random generators
    in between. The constructor raises ``UserError`` on a bad option.

    A strategy with a true attribute ``races`` gives candidates that race, so that objectives in which nobody
    can are refused before the search.

    A class with a true attribute ``several`` takes several objectives: its ``tell`` also takes, in the place
    of each score, a tuple of as many values in every call of a run.
    """

    def ask(self) -> Sequence[Candidate]:
        """Give the next batch of candidates; an empty one says that the search is finished."""

    def tell(self, scores: Sequence[float]) -> None:
        """Take the scores of the last batch, in its order; higher is better.

        ``-inf`` is a failure, or a candidate that did not exceed its floor or lost its race; of several
        objectives a tuple of nothing else.
        """


class Space(Protocol):
    """What can be searched: dimensions, and what a genotype means."""

    @property
    def dims(self) -> tuple[Dim, ...] | Founders:
        """What strategies move in."""

    @property
    def models(self) -> float:
        """Copies of the merged parameters, counted in float32, that realising keeps in memory."""

    def decode(self, genotype: Genotype, past: Sequence[Recipe] = ()) -> Recipe:
        """Turn a genotype into a recipe; pure, touches no tensor.

        Args:
            genotype: as a strategy asks for it.
            past: the recipes of the trials so far by number, for genotypes that point at them.
        """

    def realise(self, recipe: Recipe, workshop: Workshop) -> Mapping[str, nn.Module]:
        """Write the recipe's weights into the workshop's live models and return these, one a head.

        Called on the class: it needs nothing but the recipe.
        """

    def pruned(self, recipe: Recipe) -> Recipe:
        """The recipe without what its weights do not depend on; called on the class."""


def names(dims: Dims) -> list[str]:
    """The names of coordinates or founders."""
    return list(dims.names) if isinstance(dims, Founders) else [dim.name for dim in dims]


def meanings(dims: Dims) -> dict[str, dict[str, list[str | float]]]:
    """What coordinates stand for, as JSON: a ``line`` of numbers, or ``choices``; the others are left out."""
    if isinstance(dims, Founders):
        return {}
    found: dict[str, dict[str, list[str | float]]] = {}
    for dim in dims:
        if dim.choices is not None:
            found[dim.name] = {"choices": list(dim.means or range(dim.choices))}
        elif dim.means:
            found[dim.name] = {"line": list(dim.means)}
    return found


def default_genotype(dims: Dims) -> Genotype:
    """The genotype of the space's default merge: of founders all of them merged, or the first one alone."""
    if isinstance(dims, Founders):
        return dims.names if dims.together else dims.names[:1]
    return tuple(dim.default for dim in dims)
