"""Optimizers as users of their libraries call them, without anything of searchmerge.

Each takes a :class:`Counted` function, a seed and a budget of evaluations, and evaluates the instance's start
before anything else: where the library would not do so by itself, that is one evaluation more. Categories
are what the library's documentation has for them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import cma
import nevergrad as ng
import numpy as np
import optuna
from scipy.optimize import differential_evolution

from benchmarks.known import CHOICES, Array, Known

Direct: TypeAlias = Callable[["Counted", int, int], None]


class Counted:
    """A function that keeps what it was asked.

    Args:
        function: the instance.
    """

    def __init__(self, function: Known) -> None:
        self.function = function
        self.points: list[list[float]] = []
        self.losses: list[float] = []

    def __call__(self, point: Any) -> float:
        """Evaluate a point ``[n]``."""
        self.points.append([float(x) for x in point])
        self.losses.append(self.function.loss(point))
        return self.losses[-1]


def numpy_uniform(loss: Counted, seed: int, budget: int) -> None:
    """Uniform points of numpy's generator."""
    loss(loss.function.start)
    for x in np.random.default_rng(seed).random((budget - 1, len(loss.function.start))):
        loss([*x[: loss.function.reals], *np.floor(CHOICES * x[loss.function.reals :])])


def pycma_same_draws(loss: Counted, seed: int, budget: int) -> None:
    """CMA-ES by ask and tell, its normal numbers from a generator it is given; restarts at random points."""
    rng, function = np.random.default_rng(seed), loss.function
    np.random.seed(seed)  # noqa: NPY002 (pycma draws from it too where there are integer variables)
    options: dict[str, Any] = {"seed": np.nan, "randn": lambda *shape: rng.standard_normal(shape)}
    options |= _pycma_options(function)
    start = function.start
    loss(start)
    while len(loss.losses) < budget:
        run = cma.CMAEvolutionStrategy(start, 0.15, options)
        while not run.stop() and len(loss.losses) < budget:
            points = run.ask()
            run.tell(points, [loss(point) for point in points])
        start, options["popsize"] = _anywhere(function, rng), 2 * run.popsize


def pycma_fmin2(loss: Counted, seed: int, budget: int) -> None:
    """CMA-ES by the one call that pycma's documentation starts with, seeded by pycma."""
    rng, starts = np.random.default_rng([seed, 1]), [loss.function.start]
    options = _pycma_options(loss.function) | {"seed": seed + 1, "maxfevals": budget}

    def start() -> Array:
        return starts.pop() if starts else _anywhere(loss.function, rng)

    cma.fmin2(loss, start, 0.15, options, restarts=9, eval_initial_x=True)


def _pycma_options(function: Known) -> dict[str, Any]:
    """Reals in the unit cube, categories as integer variables with a first deviation of 1.5."""
    real = np.arange(len(function.start)) < function.reals
    return {
        "bounds": [np.where(real, 0.0, -0.5).tolist(), np.where(real, 1.0, CHOICES - 0.5).tolist()],
        "integer_variables": np.flatnonzero(~real).tolist(),
        "CMA_stds": np.where(real, 1.0, 1.5 / 0.15),
        "verbose": -9,
        "verb_log": 0,
    }


def _anywhere(function: Known, rng: np.random.Generator) -> Array:
    point = rng.random(len(function.start))
    point[function.reals :] = CHOICES * point[function.reals :] - 0.5
    return point


def optuna_sampler(make: Callable[[int], optuna.samplers.BaseSampler]) -> Direct:
    """A study with the sampler that ``make`` gives for a seed; the start is its first, enqueued trial."""

    def direct(loss: Counted, seed: int, budget: int) -> None:
        reals, n = loss.function.reals, len(loss.function.start)

        def objective(trial: optuna.Trial) -> float:
            return loss(
                [
                    trial.suggest_float(f"x{i:02}", 0, 1)
                    if i < reals
                    else trial.suggest_categorical(f"x{i:02}", range(CHOICES))
                    for i in range(n)
                ]
            )

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=make(seed))
        study.enqueue_trial(
            {f"x{i:02}": x if i < reals else int(x) for i, x in enumerate(loss.function.start.tolist())}
        )
        study.optimize(objective, n_trials=budget)

    return direct


def nevergrad_optimizer(name: str, *, deterministic: bool = False) -> Direct:
    """An optimizer of Nevergrad's registry; the start is suggested.

    Args:
        name: in the registry.
        deterministic: whether a category is the most likely one, not drawn anew for each point.
    """

    def direct(loss: Counted, seed: int, budget: int) -> None:
        function = loss.function
        reals = ng.p.Array(init=function.start[: function.reals], lower=0, upper=1)
        categories = [
            ng.p.Choice(CHOICES, deterministic=deterministic) for _ in function.start[function.reals :]
        ]
        parametrization = ng.p.Tuple(reals, *categories) if categories else reals
        parametrization.random_state = np.random.RandomState(seed)
        np.random.seed(seed)  # noqa: NPY002 (some optimizers draw from it)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer = ng.optimizers.registry[name](parametrization, budget=budget)
            if categories:
                bins = [int(x) for x in function.start[function.reals :]]
                optimizer.suggest((function.start[: function.reals], *bins))
                optimizer.minimize(lambda value: loss([*value[0], *value[1:]]))
            else:
                optimizer.suggest(function.start)
                optimizer.minimize(loss)

    return direct


def scipy_de(strategy: str) -> Direct:
    """SciPy's differential evolution, with the same first population and settings as ours by default.

    Args:
        strategy: one of SciPy's names; or ``best1bin, reflected``, where reals that leave the cube are
            reflected as ours are, while SciPy by itself draws them anew.
    """

    def direct(loss: Counted, seed: int, budget: int) -> None:
        reals, n = loss.function.reals, len(loss.function.start)
        first = np.random.default_rng(seed).random((12, n))
        first[0] = [*loss.function.start[:reals], *(loss.function.start[reals:] + 0.5) / CHOICES]

        def reflected(i: int, population: Array, rng: np.random.Generator) -> Array:
            a, b = rng.permutation(np.delete(population, i, axis=0))[:2]
            taken = (rng.random(n) < 0.5) | (np.arange(n) == rng.integers(n))
            child: Array = np.where(taken, population[0] + 0.5 * (a - b), population[i])
            child[:reals] = 1 - abs(1 - child[:reals] % 2)
            return child

        differential_evolution(
            lambda x: loss([*x[:reals], *np.minimum(np.floor(CHOICES * x[reals:]), CHOICES - 1)]),
            [(0, 1)] * n,
            strategy=reflected if strategy == "best1bin, reflected" else strategy,
            maxiter=budget // 12 - 1,
            init=first,
            mutation=0.5,
            recombination=0.5,
            updating="deferred",
            polish=False,
            tol=0,
            rng=np.random.default_rng([seed, 1]),
        )

    return direct
