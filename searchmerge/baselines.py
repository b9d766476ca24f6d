"""What a user would have done without a search: the merges and models that every winner is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from searchmerge.bench import Bench
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.types import Evaluation, Recipe

COARSE = tuple(step / 10 for step in range(1, 11))
"""The coefficients that ``tuned task arithmetic`` tries first; then 0.05 to either side of the best."""

FINE = 0.05


def baselines(bench: Bench) -> Iterator[tuple[str, Recipe, Evaluation]]:
    """Name, recipe and dev evaluation of every baseline that the config asks for.

    - ``expert NAME``: each expert alone, under every task's head;
    - ``best expert``: the one of them with the best dev score;
    - ``average``: the plain mean of the experts (model soup, Wortsman et al. 2022);
    - ``tuned task arithmetic``: one coefficient for all experts (Ilharco et al. 2023), the best on dev;
    - ``ties``: TIES with the paper's defaults (Yadav et al. 2023).

    The last two need a base and are left out without one.
    """
    wanted = bench.config.baselines
    experts = list(bench.sources.experts)
    has_base = bench.sources.base is not None
    if "experts" in wanted:
        yield from _experts(bench, experts)
    if "average" in wanted:
        yield "average", *_scored(bench, {"method": "linear"})
    if "tuned" in wanted and has_base:
        yield (
            "tuned task arithmetic",
            *tuned(lambda weight: _scored(bench, {"method": "task_arithmetic", "weight": weight})),
        )
    if "ties" in wanted and has_base:
        yield "ties", *_scored(bench, {"method": "ties"})


def tuned(scored: Callable[[float], tuple[Recipe, Evaluation]]) -> tuple[Recipe, Evaluation]:
    """The best of a coarse line of coefficients and its two finer neighbours; the smaller one on a tie."""
    tried = {weight: scored(weight) for weight in COARSE}

    def best() -> float:
        return max(sorted(tried), key=lambda weight: tried[weight][1].score)

    centre = best()
    for weight in (round(centre - FINE, 2), round(centre + FINE, 2)):
        tried[weight] = scored(weight)
    return tried[best()]


def _experts(bench: Bench, experts: list[str]) -> Iterator[tuple[str, Recipe, Evaluation]]:
    found = []
    for name in experts:
        weights = {expert: float(expert == name) for expert in experts}
        found.append(_scored(bench, {"method": "linear", "weight": weights}))
        yield f"expert {name}", *found[-1]
    yield "best expert", *max(found, key=lambda pair: pair[1].score)


def _scored(bench: Bench, options: Mapping[str, Any]) -> tuple[Recipe, Evaluation]:
    space = CoefficientSpace(
        options,
        experts=tuple(bench.sources.experts),
        layout=bench.layout,
        has_base=bench.sources.base is not None,
    )
    recipe = space.decode(())
    return recipe, bench.evaluate(recipe)
