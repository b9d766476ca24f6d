"""What differential evolution crosses: points of the unit cube, or whole models that a space computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from searchmerge.strategies._options import whole
from searchmerge.strategies._rules import Terms
from searchmerge.types import Cross, Dim, Dims, Founders, Genotype, Individual, UserError, default_genotype


class Crossing(Protocol):
    """The members of a population, whatever they are."""

    members: list[Any]
    archive: list[Any]
    """Members that a child has replaced, or none; their slots follow those of the members."""

    def founders(self) -> list[Genotype]:
        """What to evaluate first."""

    def child(self, i: int, mutant: Terms, cr: float, rng: np.random.Generator) -> Genotype:
        """Cross member ``i`` with a mutant."""

    def replace(self, i: int, child: Genotype, trial: int) -> None:
        """Let a child, the candidate of a trial, take the place of member ``i``."""


def crossing(dims: Dims, population: int | None, rng: np.random.Generator) -> Crossing:
    """Give what is crossed in ``dims``.

    Args:
        dims: coordinates, or founders.
        population: members wanted; 12 if None. Founders are as many as they are.
        rng: draws the first points.

    Raises:
        UserError: a bad number, or one for founders.
    """
    if not isinstance(dims, Founders):
        return Points(dims, whole("population", 12 if population is None else population, least=2), rng)
    if population is not None:
        raise UserError(
            expected="no strategy.population: whole models are as many as there are founders",
            got=repr(population),
            cure="remove it; space.variants enlarges the population",
        )
    return Models(dims)


class Points:
    """Points of the unit cube, with binomial crossover.

    A real coordinate that leaves the cube is reflected; one with choices is drawn anew, since reflected it
    would mostly land in the outer bins, which are no likelier to be right than the others.

    Args:
        dims: the coordinates; one with choices stays a real number, the space bins it.
        size: members; the first is the default, the others are drawn at random.
        rng: draws them.
    """

    def __init__(self, dims: Sequence[Dim], size: int, rng: np.random.Generator) -> None:
        self.members: list[npt.NDArray[np.float64]] = list(rng.random((size, len(dims))))
        self.members[0] = np.array(default_genotype(dims))
        self.archive: list[npt.NDArray[np.float64]] = []
        self._binned = np.array([dim.choices is not None for dim in dims])

    def founders(self) -> list[Genotype]:
        """All members."""
        return [tuple(member.tolist()) for member in self.members]

    def child(self, i: int, mutant: Terms, cr: float, rng: np.random.Generator) -> Genotype:
        """Take each coordinate of the mutant with probability ``cr``, one for sure (Storn & Price, eq. 4)."""
        everyone = self.members + self.archive
        point = sum(coefficient * everyone[k] for k, coefficient in mutant)
        crossed = rng.random(len(self.members[i])) < cr
        crossed[rng.integers(len(crossed))] = True
        child = np.where(crossed, point, self.members[i])
        lost = self._binned & ((child < 0) | (child > 1))
        child[lost] = rng.random(np.count_nonzero(lost))
        return tuple(reflect(child).tolist())

    def replace(self, i: int, child: Genotype, trial: int) -> None:
        """Put the child's point in the place of member ``i``."""
        self.members[i] = np.array(child)


class Models:
    """Whole models: a genotype names the members and says how one of them is crossed.

    Args:
        founders: the first members.
    """

    def __init__(self, founders: Founders) -> None:
        self._together = founders.together
        self.members: list[Individual] = list(founders.names)
        self.archive: list[Individual] = []

    def founders(self) -> list[Genotype]:
        """The population if it is scored as one, else each member."""
        return [tuple(self.members)] if self._together else [(member,) for member in self.members]

    def child(self, i: int, mutant: Terms, cr: float, rng: np.random.Generator) -> Genotype:
        """Name the population with a cross in the place of member ``i``."""
        terms = tuple((self.members[k], float(coefficient)) for k, coefficient in mutant)
        cross = Cross(self.members[i], terms, cr, int(rng.integers(2**32)))
        return (*self.members[:i], cross, *self.members[i + 1 :])

    def replace(self, i: int, child: Genotype, trial: int) -> None:
        """Put the child, named by its trial, in the place of member ``i``."""
        self.members[i] = trial


def reflect(point: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Bring a point into the unit cube by reflection at its bounds; inside, nothing changes."""
    folded = np.mod(point, 2.0)
    return np.where(folded > 1.0, 2.0 - folded, folded)
