"""Any optimizer of Nevergrad."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from searchmerge.isolation import PrivateGlobals
from searchmerge.strategies._bins import bin_of, centre_of
from searchmerge.strategies._options import one_of
from searchmerge.types import Candidate, Dim, Genotype, UserError

REHEARSAL_SECONDS = 2.0
"""Longest time that an optimizer is tried before the search; the quick ones end long before."""
REHEARSAL_POINTS = 200
"""Points of the trial where the search has no budget of evaluations."""
FIRST_FAILURE = 1e9
"""The loss of a failure before any score is known."""


class Nevergrad:
    """An optimizer of Nevergrad, by its registered name, one point at a time.

    J. Rapin, O. Teytaud: Nevergrad, a gradient-free optimization platform. 2018,
    https://github.com/facebookresearch/nevergrad.

    Some of the registered optimizers need packages that are not there, others fail after some points with
    the installed numpy. So the constructor first lets the optimizer search a simple function of the same
    dimensions with the same budget, for a short time, and refuses one that fails there. Nevergrad's
    warnings are not shown.

    Of several objectives most optimizers are told how much volume the front has won, above the worst of the
    first points.

    Args:
        dims: the coordinates; one with choices becomes a category.
        seed: of the strategy's own generators.
        budget: handed to the optimizer, many of them plan with it.
        optimizer: a name in ``nevergrad.optimizers.registry``; left out: ``OnePlusOne``, or
            ``DiscreteOnePlusOne`` where a coordinate has choices, which ``OnePlusOne`` may never leave.

    Raises:
        UserError: no such optimizer, or it does not run here.
    """

    several = True

    def __init__(
        self,
        dims: Sequence[Dim],
        *,
        seed: int,
        budget: int | None = None,
        optimizer: str | None = None,
    ) -> None:
        with PrivateGlobals(0):  # some of the registry's settings are drawn at import
            from nevergrad import optimizers  # here, because the import is slow

        if optimizer is None:
            optimizer = "OnePlusOne" if all(dim.choices is None for dim in dims) else "DiscreteOnePlusOne"
        one_of("optimizer", optimizer, optimizers.registry)
        self._dims = tuple(dims)
        self._given = self._dims, seed, budget, optimizer
        _rehearse(*self._given, objectives=1)
        self._objectives = 1
        self._globals = PrivateGlobals(seed)
        self._worst: list[float] = []
        with self._globals, _silent():
            self._optimizer = _start(*self._given)
            self._next = self._optimizer.ask()

    def ask(self) -> Sequence[Candidate]:
        """Give the next point."""
        return [Candidate(_genotype(self._dims, self._next.value))]

    def tell(self, scores: Sequence[float | tuple[float, ...]]) -> None:
        """Take the point's score, or its values.

        Raises:
            ValueError: not exactly one score.
            UserError: the optimizer does not run with so many objectives.
        """
        (score,) = scores
        values = score if isinstance(score, tuple) else (score,)
        if len(values) != self._objectives:
            self._objectives = len(values)
            _rehearse(*self._given, objectives=self._objectives)
        loss = self._loss(values)
        with self._globals, _silent():
            self._optimizer.tell(self._next, loss)
            # The next point is taken at once: some optimizers go on in a thread of their own until it is
            # ready, and draw from the global generators there.
            self._next = self._optimizer.ask()

    def _loss(self, values: Sequence[float]) -> float | list[float]:
        """Turn values into losses; a failure is worse than all so far, yet of their magnitude."""
        losses = [-value for value in values]
        if all(map(math.isfinite, losses)):
            self._worst = [max(pair) for pair in zip(losses, self._worst or losses, strict=True)]
        else:
            losses = [worst + 1 for worst in self._worst] or [FIRST_FAILURE] * len(values)
        return losses[0] if len(losses) == 1 else losses


def _start(dims: Sequence[Dim], seed: int, budget: int | None, name: str) -> Any:
    import nevergrad as ng

    reals = np.array([dim.default for dim in dims if dim.choices is None])
    choices = [dim for dim in dims if dim.choices is not None]
    # One array, since a parameter a coordinate makes every point hundreds of times slower.
    parts = [ng.p.Array(init=reals, lower=0, upper=1)] if len(reals) else []
    # Deterministic, since else a good category is not kept: each point draws its own from the weights.
    parts += [ng.p.Choice(range(dim.choices or 0), deterministic=True) for dim in choices]
    cube = ng.p.Tuple(*parts)
    cube.random_state = np.random.RandomState(seed)
    optimizer = ng.optimizers.registry[name](cube, budget=budget)
    bins = [bin_of(dim, dim.default) for dim in choices]
    optimizer.suggest((reals, *bins) if len(reals) else tuple(bins))
    return optimizer


def _genotype(dims: Sequence[Dim], value: tuple[Any, ...]) -> Genotype:
    """Put what Nevergrad keeps as one array and the choices back into the order of the coordinates."""
    choices = sum(dim.choices is not None for dim in dims)
    reals = iter(np.clip(value[0], 0, 1).tolist() if choices < len(dims) else ())
    bins = iter(value[len(value) - choices :])
    return tuple(next(reals) if dim.choices is None else centre_of(dim, next(bins)) for dim in dims)


def _rehearse(dims: Sequence[Dim], seed: int, budget: int | None, name: str, *, objectives: int) -> None:
    """Run the optimizer over the distance from as many points, as long as the budget or the time lasts."""
    end = time.monotonic() + REHEARSAL_SECONDS
    goals = [[0.4 + 0.5 * number / objectives] * len(dims) for number in range(objectives)]
    try:
        with PrivateGlobals(seed), _silent():
            optimizer = _start(dims, seed, budget, name)
            for _ in range(budget or REHEARSAL_POINTS):
                point = optimizer.ask()
                losses = [math.dist(_genotype(dims, point.value), goal) for goal in goals]
                optimizer.tell(point, losses if objectives > 1 else losses[0])
                if time.monotonic() > end:
                    break
    except Exception as error:  # whatever it is: this optimizer does not run here
        raise UserError(
            expected=f"a Nevergrad optimizer that runs on {len(dims)} dimensions, {objectives} objective(s), "
            "with what is installed here",
            got=f"{name}, which stopped with {type(error).__name__}: {' '.join(str(error).split())[:200]}",
            cure="set strategy.optimizer to another, such as OnePlusOne, CMA or TwoPointsDE",
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
