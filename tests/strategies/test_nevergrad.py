"""The adapter of Nevergrad against the library, and the refusal of what does not run."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count

import nevergrad as ng
import numpy as np
import pytest

from searchmerge.strategies.nevergrad import Nevergrad
from searchmerge.testing import drive, sphere
from searchmerge.types import Dim, UserError

DIMS = tuple(Dim(f"x{i}", 0.2 + 0.1 * i) for i in range(4))


@pytest.mark.parametrize("name", ["OnePlusOne", "TwoPointsDE", "PSO"])
def test_the_points_are_nevergrads(name: str) -> None:
    cube = ng.p.Tuple(ng.p.Array(init=np.array([dim.default for dim in DIMS]), lower=0, upper=1))
    cube.random_state = np.random.RandomState(3)
    optimizer = ng.optimizers.registry[name](cube, budget=60)
    optimizer.suggest((np.array([dim.default for dim in DIMS]),))
    expected = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(60):
            point = optimizer.ask()
            expected.append(tuple(point.value[0]))
            optimizer.tell(point, -sphere(expected[-1]))
    found = drive(Nevergrad(DIMS, seed=3, budget=60, optimizer=name), sphere, 60)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def goals(genotype: Sequence[float]) -> tuple[float, float]:
    """Two values that pull apart, of different size."""
    return -sum((x - 0.1) ** 2 for x in genotype), -10 * sum((x - 0.8) ** 2 for x in genotype) - 7


@pytest.mark.parametrize("name", ["OnePlusOne", "TwoPointsDE", "DE"])
def test_of_several_objectives_the_points_are_nevergrads_and_failures_worse_than_all(name: str) -> None:
    def fails(number: int) -> bool:
        return number > 0 and number % 4 == 0

    def apart(numbers: Iterator[int], genotype: Sequence[float]) -> tuple[float, ...]:
        return (-math.inf, -math.inf) if fails(next(numbers)) else goals(genotype)

    cube = ng.p.Tuple(ng.p.Array(init=np.array([dim.default for dim in DIMS]), lower=0, upper=1))
    cube.random_state = np.random.RandomState(3)
    optimizer = ng.optimizers.registry[name](cube, budget=60)
    optimizer.suggest((np.array([dim.default for dim in DIMS]),))
    expected, known = [], list[list[float]]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(60):
            point = optimizer.ask()
            expected.append(tuple(point.value[0]))
            losses = [-value for value in goals(expected[-1])]
            if fails(number):
                losses = [max(loss[k] for loss in known) + 1 for k in (0, 1)]
            else:
                known.append(losses)
            optimizer.tell(point, losses)
    strategy = Nevergrad(DIMS, seed=3, budget=60, optimizer=name)
    found = drive(strategy, partial(apart, count()), 60)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_the_default_depends_on_choices() -> None:
    mixed = (*DIMS, Dim("c", 0.5, choices=3))
    for dims, name in ((DIMS, "OnePlusOne"), (mixed, "DiscreteOnePlusOne")):
        left_out, named = (
            drive(Nevergrad(dims, seed=0, budget=30, **options), sphere, 30)
            for options in ({}, {"optimizer": name})
        )
        assert left_out == named


def refused(name: str) -> bool:
    """Whether the library fails on this optimizer here, found out without the adapter."""
    cube = ng.p.Tuple(ng.p.Array(init=np.array([dim.default for dim in DIMS]), lower=0, upper=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ng.optimizers.registry[name](cube, budget=150).minimize(
                lambda value: float(np.sum((value[0] - 0.4) ** 2))
            )
        except Exception:  # whatever it is
            return True
    return False


@pytest.mark.parametrize("name", ["NGOpt8", "NgIohTuned", "DiagonalCMA", "CMA"])
def test_what_does_not_run_is_refused_before_the_search(name: str) -> None:
    if refused(name):
        with pytest.raises(UserError, match=name):
            Nevergrad(DIMS, seed=0, budget=150, optimizer=name)
    else:
        assert len(drive(Nevergrad(DIMS, seed=0, budget=150, optimizer=name), sphere, 20)) == 20


def test_an_unknown_optimizer_lists_those_that_look_like_it() -> None:
    with pytest.raises(UserError, match="TwoPointsDE"):
        Nevergrad(DIMS, seed=0, budget=50, optimizer="TwoPointDE")
