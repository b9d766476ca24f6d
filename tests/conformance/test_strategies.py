"""Every installed strategy passes the suite that is published for third parties."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zlib
from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from searchmerge.config import Budget
from searchmerge.journal import Journal
from searchmerge.layout import Layout
from searchmerge.plugins import make_strategy
from searchmerge.search import search
from searchmerge.spaces.population import PopulationSpace
from searchmerge.strategies.cmaes import CMAES
from searchmerge.strategies.de import DifferentialEvolution
from searchmerge.strategies.pattern import Pattern
from searchmerge.strategies.qmc import QMC
from searchmerge.strategies.tpe import TPE
from searchmerge.testing import SPACES, STRATEGY_CHECKS, Make, check_learns, drive, sphere
from searchmerge.types import Cross, Evaluation, Recipe, Trial

STRATEGIES = {point.name: point for point in entry_points(group="searchmerge.strategies")}
BLIND = {"grid", "halving", "qmc", "random"}


def load(name: str) -> Make:
    made: Make = STRATEGIES[name].load()
    return made


LATE = {
    "check_points": 36,
    "check_repeats": 54,
    "check_seeds": 26,
    "check_global_generators": 27,
    "check_failures": 65,
    "check_plateaus": 285,
    "check_finish": 185,
    "check_learns": 100,
}
"""Where the process of ``gp`` starts in the long checks: a point of it takes up to a second."""


def made_for(check: Callable[[Make], None], name: str) -> Make:
    late = LATE.get(check.__name__) if name == "gp" else None
    return partial(load(name), startup=late) if late else load(name)


def test_ours_are_found_by_their_entry_points() -> None:
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert declared["entry-points"]["searchmerge.strategies"].keys() <= STRATEGIES.keys()


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@pytest.mark.parametrize("check", STRATEGY_CHECKS, ids=lambda check: check.__name__)
def test_contract(name: str, check: Callable[[Make], None]) -> None:
    check(made_for(check, name))


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - BLIND))
def test_learns(name: str) -> None:
    check_learns(made_for(check_learns, name))


@pytest.mark.parametrize("name", sorted(BLIND))
def test_learning_is_really_tested(name: str) -> None:
    with pytest.raises(AssertionError, match="random points"):
        check_learns(load(name))


RULES = ("rand/1", "best/1", "current-to-best/1", "current-to-pbest/1", "evolver", "evolver-code")
ADAPTATIONS = ("dither", "jde", "jade", "shade", "sade")
CONFIGURATIONS: list[dict[str, Any]] = [
    *({"rule": rule, "update": update, "selection": selection}
      for rule in RULES for update, selection in (("generation", "strict"), ("sequential", "ties"))),
    *({"adaptation": adaptation, "update": update, "selection": selection}
      for adaptation in ADAPTATIONS
      for update, selection in (("generation", "ties"), ("sequential", "strict"))),
    *({"adaptation": f"search:{name}", "update": "sequential"} for name in ("random", "cmaes")),
    {"adaptation": "shade", "rule": "current-to-pbest/1", "population": 8, "floors": False},
    {"adaptation": "lshade", "rule": "current-to-pbest/1", "reduction": "linear", "archive": 2.6},
    {"adaptation": "jde", "update": "sequential", "population": 30, "reduction": "linear", "archive": 1},
]  # fmt: skip
for configuration in CONFIGURATIONS:
    if configuration.get("rule") == "evolver-code" or configuration.get("adaptation", "")[:6] == "search":
        # Children lie between two members, or F is tiny for a while: the members must surround the top.
        configuration["population"] = 24
    if configuration.get("rule") == "best/1" and configuration["update"] == "sequential":
        configuration["population"] = 24  # of twelve, 4 seeds in 100 lose a category for good


def spelt(options: dict[str, Any]) -> str:
    return "-".join(map(str, options.values()))


@pytest.mark.parametrize("check", STRATEGY_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("options", CONFIGURATIONS, ids=spelt)
def test_de_keeps_the_contract_however_it_is_set(
    options: dict[str, Any], check: Callable[[Make], None]
) -> None:
    check(partial(DifferentialEvolution, **options))


@pytest.mark.parametrize(
    "options",
    [{"update": "sequential"}, {"selection": "strict"}, {"adaptation": "jde"}, {"adaptation": "shade"}],
    ids=spelt,
)
def test_de_learns_however_it_is_set(options: dict[str, Any]) -> None:
    check_learns(partial(DifferentialEvolution, **options))


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (CMAES, {"restarts": "bipop"}),
        (CMAES, {"diagonal": True}),
        (CMAES, {"racing": True}),
        (CMAES, {"racing": 0.3, "diagonal": True, "restarts": "bipop"}),
        (TPE, {"racing": True, "startup": 4}),
        (Pattern, {"together": True}),
        (QMC, {"sequence": "halton"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("check", STRATEGY_CHECKS, ids=lambda check: check.__name__)
def test_others_keep_the_contract_however_they_are_set(
    make: Make, options: dict[str, Any], check: Callable[[Make], None]
) -> None:
    check(partial(make, **options))


# The same class drives whole models.

LAYOUT = Layout.of({"embeddings.weight": (5, 2), "encoder.layer.0.weight": (2, 2), "pooler.weight": (2, 2)})
POPULATIONS: list[dict[str, Any]] = [
    {},
    {"variants": {"pairs": True}, "unit": "tensor"},
    {"merge": {"method": "ties", "density": 0.5}},
    {"merge": "linear", "fitness": "individual", "variants": {"jitter": {"copies": 1, "size": 0.1}}},
]
EXPERTS = ("a", "b", "c")


def population(options: dict[str, Any]) -> PopulationSpace:
    return PopulationSpace(options, experts=EXPERTS, layout=LAYOUT)


def scored(recipe: Recipe, floor: float, share: float) -> Evaluation | None:
    """A score for any recipe, without a tensor: a digest's first bytes."""
    score = zlib.crc32(json.dumps(recipe, sort_keys=True).encode()) / 2**32
    return Evaluation(score, {"t": score}) if score > floor else None


def driven(
    folder: Path, options: dict[str, Any], evaluations: int, *, resume: bool = False, **strategy: Any
) -> list[Trial]:
    space = population(options)
    breeder = make_strategy("de", strategy, dims=space.dims, seed=1, budget=evaluations)
    with Journal(folder / "journal.jsonl", {}, resume=resume) as journal:
        return list(search(space, breeder, scored, journal, Budget(evaluations=evaluations)))


@pytest.mark.parametrize("options", POPULATIONS, ids=spelt)
@pytest.mark.parametrize(
    "strategy", [{}, {"adaptation": "jde"}, {"rule": "evolver-code", "selection": "ties"}]
)
def test_de_drives_the_population_space(
    tmp_path: Path, options: dict[str, Any], strategy: dict[str, Any]
) -> None:
    """Every child's recipe ends in its own cross, after the crosses and founders it descends from."""
    trials = driven(tmp_path, options, 40, **strategy)
    founders = set(population(options).dims.names)
    children = [trial for trial in trials if any(isinstance(gene, Cross) for gene in trial.genotype)]
    assert len(children) > 40 - len(founders) - 2
    by_number = {trial.number: trial for trial in children}
    for trial in children:
        (cross,) = (gene for gene in trial.genotype if isinstance(gene, Cross))
        assert trial.recipe["lineage"][-1] == {
            "id": trial.number,
            "parent": cross.parent,
            "mutant": [list(term) for term in cross.mutant],
            "cr": cross.cr,
            "seed": cross.seed,
        }
        known: set[Any] = set()
        for entry in trial.recipe["lineage"]:
            if isinstance(entry["id"], int):
                assert entry == by_number[entry["id"]].recipe["lineage"][-1]
                assert known >= {entry["parent"], *(individual for individual, _ in entry["mutant"])}
            else:
                assert entry["id"] in founders
            known.add(entry["id"])
        others = {gene for gene in trial.genotype if not isinstance(gene, Cross)}
        alive = {individual for individual in others if isinstance(individual, int)}
        assert all(by_number[individual].state == "complete" for individual in alive)
    accepted = [trial.number for trial in children if trial.state == "complete"]
    assert any(number in trial.genotype for number in accepted for trial in children)


@pytest.mark.parametrize("options", [POPULATIONS[0], POPULATIONS[-1]], ids=spelt)
@pytest.mark.parametrize("adaptation", ["fixed", *ADAPTATIONS, "search:cmaes"])
def test_resumed_from_any_line_a_population_goes_on_as_it_would_have(
    tmp_path: Path, options: dict[str, Any], adaptation: str
) -> None:
    def told() -> list[str]:
        return [line[: line.rindex(',"seconds"')] for line in journal.read_text().splitlines()[1:]]

    journal = tmp_path / "journal.jsonl"
    driven(tmp_path, options, 30, adaptation=adaptation)
    whole, lines = told(), journal.read_text().splitlines(keepends=True)
    assert '"rejected"' in whole[-2] + whole[-3] + whole[-4] + whole[-5]
    for cut in (5, 23):
        journal.write_text("".join(lines[:cut]))
        driven(tmp_path, options, 30, resume=True, adaptation=adaptation)
        assert told() == whole


@pytest.mark.parametrize("budget", range(6, 16))
def test_the_last_evaluation_of_individuals_is_that_of_their_merge(tmp_path: Path, budget: int) -> None:
    options = {"merge": "linear", "fitness": "individual"}
    trials = driven(tmp_path, options, budget, update="generation")
    assert sum(trial.repeats is None for trial in trials) == budget
    assert [trial.recipe["merge"] is not None for trial in trials] == [False] * (len(trials) - 1) + [True]
    assert len(trials[-1].recipe["members"]) == 3
    assert trials[-1].state == "complete"
    last: list[Any] = list(EXPERTS)
    scores = [trial.score for trial in trials[1:4]]
    for place, trial in enumerate(trials[4:-1]):
        if trial.score > scores[place % 3]:
            last[place % 3], scores[place % 3] = trial.number, trial.score
    assert trials[-1].recipe["members"] == last


def trajectories() -> dict[str, list[tuple[float, ...]]]:
    """What every strategy asks for on the mixed space."""
    dims = SPACES["mixed"]
    makes = {name: partial(load(name), startup=26) if name == "gp" else load(name) for name in STRATEGIES}
    return {name: drive(make(dims, seed=11, budget=30), sphere, 30) for name, make in sorted(makes.items())}


def test_another_process_asks_for_the_same() -> None:
    """A run resumed elsewhere: another order of sets and hashes, libraries imported afresh."""
    result = subprocess.run(
        [sys.executable, __file__],
        env=os.environ | {"PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    elsewhere = json.loads(result.stdout)
    assert elsewhere == json.loads(json.dumps(trajectories()))


if __name__ == "__main__":
    print(json.dumps(trajectories()))  # noqa: T201
