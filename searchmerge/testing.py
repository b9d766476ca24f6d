"""Checks that every strategy and every space passes, for the tests of those who write one.

Each check of a strategy takes ``make``, the strategy's class or anything called like it; each of a space
takes the space and a workshop. They raise ``AssertionError`` with the reason where the contract of
:class:`searchmerge.types.Strategy` or :class:`searchmerge.types.Space` is not kept::

    @pytest.mark.parametrize("check", STRATEGY_CHECKS)
    def test_my_strategy(check):
        check(MyStrategy)


    @pytest.mark.parametrize("check", SPACE_CHECKS)
    def test_my_space(check, tmp_path):
        workshop = tiny_workshop(tmp_path)
        check(MySpace({}, experts=workshop.experts, layout=workshop.layout), workshop)
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, TypeAlias

import numpy as np
import torch

from searchmerge.plugins import make_strategy
from searchmerge.tiny import tiny_workshop as tiny_workshop
from searchmerge.types import Dim, Founders, Genotype, Recipe, Space, Strategy, default_genotype, names
from searchmerge.workshop import Workshop

Make: TypeAlias = Callable[..., Strategy]
Objective: TypeAlias = Callable[[Genotype], Any]

SPACES: dict[str, tuple[Dim, ...]] = {
    "one real": (Dim("a", 0.0),),
    "32 reals": tuple(Dim(f"x{i:02}", i / 31) for i in range(32)),
    "one choice": (Dim("a", 1.0, choices=3),),
    "choices": (Dim("b", 0.5, choices=2), Dim("a", 0.0, choices=3), Dim("c", 0.9, choices=5)),
    "mixed": (Dim("b", 1.0), Dim("a", 0.1, choices=4), Dim("c", 0.3), Dim("d", 0.7, choices=2)),
}
"""The spaces that strategies are tried on; the defaults include both ends of the range."""


def drive(strategy: Strategy, objective: Objective, evaluations: int) -> list[Genotype]:
    """Run a strategy as the search does, and give what it asked for.

    Args:
        strategy: a fresh one.
        objective: the score of a genotype, or a tuple of values.
        evaluations: ends the run after that many, the last batch untold if it is cut short.
    """
    asked: list[Genotype] = []
    while len(asked) < evaluations:
        batch = [candidate.genotype for candidate in strategy.ask()]
        if not batch:
            break
        asked += batch
        if len(asked) <= evaluations:
            strategy.tell([objective(genotype) for genotype in batch])
    return asked[:evaluations]


def sphere(genotype: Genotype) -> float:
    """Give minus the squared distance from a point that is no space's default."""
    return float(-sum((x - 0.62) ** 2 for x in genotype))


def check_points(make: Make) -> None:
    """Genotypes are points of the unit cube, plain floats that survive JSON exactly."""
    for name, dims in SPACES.items():
        for genotype in drive(make(dims, seed=3, budget=40), sphere, 40):
            assert isinstance(genotype, tuple), f"{name}: {genotype!r} is no tuple"
            assert len(genotype) == len(dims), f"{name}: {len(genotype)} coordinates of {len(dims)}"
            assert all(type(x) is float for x in genotype), f"{name}: not all plain floats in {genotype}"
            assert all(0 <= x <= 1 for x in genotype), f"{name}: {genotype} lies outside the unit cube"
            assert tuple(json.loads(json.dumps(genotype))) == genotype, f"{name}: JSON changes {genotype}"


def check_repeats(make: Make) -> None:
    """The seed and the scores decide the candidates, whatever others do to the global generators."""

    def disturbing(genotype: Genotype) -> float:
        for seed in (None, len(genotype)):
            if seed is not None:
                random.seed(seed)
                np.random.seed(seed)  # noqa: NPY002
                torch.manual_seed(seed)
            random.random(), np.random.random(), torch.rand(1)  # noqa: NPY002
        return sphere(genotype)

    for name in ("32 reals", "mixed"):
        calm = drive(make(SPACES[name], seed=5, budget=60), sphere, 60)
        disturbed = drive(make(SPACES[name], seed=5, budget=60), disturbing, 60)
        assert calm == disturbed, f"{name}: the candidates depend on the global generators"


def check_seeds(make: Make) -> None:
    """Another seed asks for other candidates, or for the same in another order."""
    first, second = (drive(make(SPACES["mixed"], seed=seed, budget=30), sphere, 30) for seed in (0, 1))
    assert first != second, "seeds 0 and 1 ask for the same candidates in the same order"


def check_global_generators(make: Make) -> None:
    """The strategy leaves numpy's, Python's and torch's global generators as they were."""
    for name, dims in SPACES.items():
        before = _global_states()
        drive(make(dims, seed=7, budget=30), sphere, 30)
        assert _global_states() == before, f"{name}: a global generator has been used or seeded"


def check_failures(make: Make) -> None:
    """Minus infinity is taken: now and then, for whole batches after others, and from the start."""
    dims = SPACES["mixed"]
    patterns: dict[str, Callable[[int], bool]] = {
        "every third fails": lambda number: number % 3 == 0,
        "all fail after 40": lambda number: number >= 40,
        "all fail": lambda _: True,
    }
    for name, fails in patterns.items():
        asked = drive(make(dims, seed=2, budget=80), _failing(fails), 80)
        assert all(0 <= x <= 1 for genotype in asked for x in genotype), f"{name}: outside the unit cube"


def check_score_count(make: Make) -> None:
    """A wrong number of scores is a ``ValueError``."""
    for extra in (-1, 1):
        strategy = make(SPACES["mixed"], seed=0, budget=30)
        scores = [0.0] * (len(strategy.ask()) + extra)
        try:
            strategy.tell(scores)
        except ValueError:
            continue
        raise AssertionError(f"{len(scores)} scores were taken where {len(scores) - extra} were due")


def check_plateaus(make: Make) -> None:
    """A landscape without any gain is searched for 300 evaluations, or until the strategy finishes."""
    worse = iter(range(1000))
    landscapes: dict[str, Objective] = {"constant": lambda _: 0.5, "ever worse": lambda _: -next(worse)}
    for name, objective in landscapes.items():
        strategy = make(SPACES["mixed"], seed=4, budget=300)
        asked = drive(strategy, objective, 300)
        assert len(asked) == 300 or not strategy.ask(), f"{name}: stopped after {len(asked)} evaluations"


def check_finish(make: Make) -> None:
    """An empty ask, if there is one, stays empty, and takes the empty list of scores."""
    strategy = make(SPACES["choices"], seed=0, budget=200)
    if len(drive(strategy, sphere, 200)) < 200:
        strategy.tell([])
        assert not strategy.ask(), "asks again after an empty ask"


def check_choices(make: Make) -> None:
    """The best of nine combinations of choices is found within 100 evaluations."""
    dims = (Dim("a", 1 / 6, choices=3), Dim("b", 1 / 6, choices=3))

    def right(genotype: Genotype) -> float:
        return float(sum(min(int(3 * x), 2) for x in genotype))

    best = max(right(genotype) for genotype in drive(make(dims, seed=1, budget=100), right, 100))
    assert best == 4, f"the best combination found scores {best:g}, the best there is 4"


def check_learns(make: Make) -> None:
    """In four dimensions, 120 evaluations come ten times nearer to the top than random points do.

    Not for strategies that do not learn from scores. Nearness is the squared distance, median of five seeds.
    """
    dims = tuple(Dim(f"x{i}", 0.3) for i in range(4))

    def nearest(asked: Sequence[Genotype]) -> float:
        return min(-sphere(genotype) for genotype in asked)

    reached = median(nearest(drive(make(dims, seed=s, budget=120), sphere, 120)) for s in range(5))
    drawn = [np.random.default_rng(s).random((120, 4)).tolist() for s in range(5)]
    chance = median(nearest([tuple(point) for point in points]) for points in drawn)
    assert reached < chance / 10, f"came to {reached:.2g}, random points to {chance:.2g}"


def check_several(make: Make) -> None:
    """Tuples are taken in the place of scores, failures too, and with the seed they decide the candidates.

    For strategies with a true attribute ``several``.
    """

    def apart(genotype: Genotype) -> tuple[float, ...]:
        return sphere(genotype), -genotype[0], -0.5

    fails: Callable[[int], bool]
    for fails in (lambda _: False, lambda number: number % 3 == 0, lambda _: True):
        first, again = (
            drive(make(SPACES["mixed"], seed=2, budget=80), _failing(fails, apart, (-math.inf,) * 3), 80)
            for _ in range(2)
        )
        assert first == again, "the same tuples led to other candidates"
        assert all(0 <= x <= 1 for genotype in first for x in genotype), "outside the unit cube"


STRATEGY_CHECKS: tuple[Callable[[Make], None], ...] = (
    check_points,
    check_repeats,
    check_seeds,
    check_global_generators,
    check_failures,
    check_score_count,
    check_plateaus,
    check_finish,
    check_choices,
)
"""What every strategy passes; :func:`check_learns` and :func:`check_several` are for those that do these."""


def check_dims(space: Space, workshop: Workshop) -> None:  # noqa: ARG001 (called like the others)
    """Coordinates have names of their own, defaults in the cube, one choice or more, as many meanings."""
    dims = space.dims
    assert len(set(names(dims))) == len(names(dims)), "two of the dimensions have one name"
    assert space.models > 0, "realising needs the live model at least"
    if isinstance(dims, Founders):
        return
    for dim in dims:
        assert 0 <= dim.default <= 1, f"{dim.name}: the default {dim.default} is outside the unit cube"
        assert dim.choices is None or dim.choices >= 1, f"{dim.name}: {dim.choices} choices"
        meant = len(dim.means) >= 2 if dim.choices is None else len(dim.means) == dim.choices
        assert meant or not dim.means, f"{dim.name}: stands for {len(dim.means)} values"


def check_recipes(space: Space, workshop: Workshop) -> None:  # noqa: ARG001 (called like the others)
    """Every genotype decodes, always to the same recipe, and JSON keeps that whole; it names its space."""
    recipes = _recipes(space)
    assert recipes == _recipes(space), "a genotype decodes to two recipes"
    for recipe in recipes:
        assert json.loads(json.dumps(recipe)) == recipe, f"JSON changes the recipe {recipe}"
        assert recipe.get("space"), "the recipe does not say which space made it"


def check_weights(space: Space, workshop: Workshop) -> None:
    """Weights are finite and a function of the recipe as JSON keeps it, whatever was realised before."""
    recipes = [json.loads(json.dumps(recipe)) for recipe in _recipes(space)]
    first = [_weights(space, recipe, workshop) for recipe in recipes]
    for recipe, before in reversed(list(zip(recipes, first, strict=True))):
        assert _weights(space, recipe, workshop) == before, f"{recipe}: other weights the second time"
        assert _weights(space, space.pruned(recipe), workshop) == before, f"{recipe}: other weights pruned"


def check_sources(space: Space, workshop: Workshop) -> None:
    """Realising leaves the resident sources as they are."""

    def sources() -> list[torch.Tensor]:
        vectors = workshop.resident or workshop.task_vectors
        return [vectors.deltas, *([] if workshop.base is None else [workshop.base])]

    recipes = _recipes(space)
    _ = space.realise(recipes[0], workshop)  # now those are resident that it uses
    before = [tensor.clone() for tensor in sources()]
    for recipe in recipes:
        space.realise(recipe, workshop)
    assert all(map(torch.equal, sources(), before)), "a source tensor has been written"


SPACE_CHECKS: tuple[Callable[[Space, Workshop], None], ...] = (
    check_dims,
    check_recipes,
    check_weights,
    check_sources,
)
"""What every space passes."""


def _recipes(space: Space) -> list[Recipe]:
    """The recipes of the default, of corners and points between, or of a population's first trials."""
    dims, recipes = space.dims, [space.decode(default_genotype(space.dims))]
    if isinstance(dims, Founders):
        rng = np.random.default_rng(0)
        strategy = make_strategy("de", {"rule": "evolver-code"}, dims=dims, seed=0, budget=20)
        while len(recipes) < 20 and (batch := strategy.ask()):
            recipes += [space.decode(candidate.genotype, recipes) for candidate in batch]
            strategy.tell(rng.random(len(batch)).tolist())
        return recipes
    n = len(dims)
    points = [[0.0] * n, [1.0] * n, *np.random.default_rng(0).random((4, n)).tolist()]
    return recipes + [space.decode(tuple(point), recipes) for point in points]


def _weights(space: Space, recipe: Recipe, workshop: Workshop) -> dict[str, str]:
    """A digest of each live model's parameters."""
    digests = {}
    for name, model in space.realise(recipe, workshop).items():
        digest = hashlib.sha256()
        for parameter, tensor in model.state_dict().items():
            assert tensor.isfinite().all(), f"{recipe}: {parameter} is not finite"
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        digests[name] = digest.hexdigest()
    return digests


def _failing(
    fails: Callable[[int], bool], objective: Objective = sphere, failure: Any = -math.inf
) -> Objective:
    numbers = itertools.count()
    return lambda genotype: failure if fails(next(numbers)) else objective(genotype)


def _global_states() -> tuple[Any, ...]:
    of_numpy = repr(np.random.get_state(legacy=False)["state"])  # noqa: NPY002 (it is the one to watch)
    return of_numpy, random.getstate(), torch.get_rng_state().tolist()
