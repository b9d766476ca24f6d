"""The vocabulary: every word that two rooms share is defined here, and nothing else is.

config -> Space -- decode -> Recipe -- realise -> live models -- Objective -> Evaluation
            ^                                                                  |
            +------------- ask -- Strategy <- tell ----------------------------+
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import nn

    from searchmerge.workshop import Workshop

Genotype: TypeAlias = tuple[float, ...]
"""A point of the unit cube ``[0, 1]^n``, one number a dimension."""

Recipe: TypeAlias = dict[str, Any]
"""A JSON value that says all there is to know about one merge of named sources."""

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
    """

    name: str
    default: float
    choices: int | None = None


@dataclass(frozen=True)
class Candidate:
    """What a strategy asks to be evaluated."""

    genotype: Genotype


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
class Trial:
    """One line of the journal.

    Args:
        number: 0 for the space's default merge, then in the order asked.
        genotype: the point that was asked for.
        recipe: what it decodes to.
        evaluation: None where the candidate failed.
        error: why it failed, else None.
        repeats: the number of the earlier trial with the same recipe that answered this one, else None.
        seconds: wall time that the evaluation took; 0 for a repeat.
    """

    number: int
    genotype: Genotype
    recipe: Recipe
    evaluation: Evaluation | None
    error: str | None = None
    repeats: int | None = None
    seconds: float = 0.0

    @property
    def score(self) -> float:
        """The score, or minus infinity for a failed candidate: what a strategy is told."""
        return self.evaluation.score if self.evaluation else -np.inf


class Strategy(Protocol):
    """A search strategy, built as ``Strategy(dims, seed=…, budget=…, **options)``.

    ``dims`` are the coordinates, ``seed`` an integer, ``budget`` the evaluations that the user allows (None
    if only time limits them). The same arguments and the same scores give the same candidates, whatever
    draws from the global random generators in between. The constructor raises ``UserError`` on a bad option.
    """

    def ask(self) -> Sequence[Candidate]:
        """Give the next batch of candidates; an empty one says that the search is finished."""

    def tell(self, scores: Sequence[float]) -> None:
        """Take the scores of the last batch, in its order; higher is better, ``-inf`` is a failure."""


class Space(Protocol):
    """What can be searched: named dimensions, and what a point of them means."""

    dims: tuple[Dim, ...]

    def decode(self, genotype: Genotype) -> Recipe:
        """Turn a genotype into a recipe; pure, touches no tensor."""

    def realise(self, recipe: Recipe, workshop: Workshop) -> Mapping[str, nn.Module]:
        """Write the recipe's weights into the workshop's live models and return these, one a head."""


def default_genotype(dims: Sequence[Dim]) -> Genotype:
    """The genotype of the space's default merge."""
    return tuple(dim.default for dim in dims)
