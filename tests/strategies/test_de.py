"""Differential evolution against loops written out in plain Python, over coordinates and whole models."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from math import inf, nextafter
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.plugins import make_strategy
from searchmerge.strategies._adaptation import ADAPTATIONS
from searchmerge.strategies._crossing import Points, reflect
from searchmerge.strategies._rules import RULES, mutant
from searchmerge.strategies.de import DifferentialEvolution
from searchmerge.testing import drive, sphere
from searchmerge.types import (
    Candidate,
    Cross,
    Dim,
    Dims,
    Founders,
    Genotype,
    Individual,
    Strategy,
    UserError,
    default_genotype,
)

DIMS = tuple(Dim(f"x{i}", 0.1 * i) for i in range(5))
NAMES = ("a", "b", "c", "d")
DONORS = {
    "rand/1": 3,
    "best/1": 2,
    "current-to-best/1": 2,
    "current-to-pbest/1": 2,
    "evolver": 2,
    "evolver-code": 1,
}
UPDATES = ("generation", "sequential")
SELECTIONS = ("ties", "strict")


def steps(genotype: Genotype) -> float:
    """The sphere in steps of 0.05: children that are as good as their parents are common."""
    return round(20 * sphere(genotype)) / 20


def formula(rule: str, x: Any, b: Any, r: Sequence[Any], f: float) -> Any:
    """The mutant of ``x`` as the papers print it, of one coordinate or of whole vectors."""
    if rule == "rand/1":
        return r[0] + f * (r[1] - r[2])
    if rule == "best/1":
        return b + f * (r[0] - r[1])
    if rule == "evolver":
        return x + f * (r[0] - r[1])
    if rule == "evolver-code":
        return (1 - f) * x + f * b
    return x + f * (b - x) + f * (r[0] - r[1])


def partners(
    rule: str, i: int, scores: Sequence[float], rng: np.random.Generator, random_donor: float
) -> tuple[int, list[int]]:
    """The leader and the donors of member ``i``, drawn in the order in which the class draws."""
    others = [k for k in range(len(scores)) if k != i]
    r = [int(k) for k in rng.choice(others, size=DONORS[rule], replace=False)]
    best_first = sorted(range(len(scores)), key=lambda k: -scores[k])
    if rule == "current-to-pbest/1":
        return best_first[int(rng.integers(max(2, round(len(scores) / 5))))], r
    if rule == "evolver-code":
        return (r[0] if rng.random() < random_donor else next(k for k in best_first if k != i)), r
    return best_first[0], r


def random_donor(budget: int | None, size: int, turn: int) -> float:
    """``0.5 + 0.5 / (T - t)`` of the released Evolver; never more than 1."""
    return 0.5 if budget is None else 0.5 + 0.5 / max((budget - 1) // size - turn, 1)


def naive_points(
    rule: str, *, update: str, selection: str, f: float, cr: float, size: int, turns: int, budget: int | None
) -> list[Genotype]:
    """The whole algorithm, a coordinate at a time; only the random numbers are drawn as the class does."""
    rng = np.random.default_rng(5)
    n = len(DIMS)
    members = [[float(x) for x in row] for row in rng.random((size, n))]
    members[0] = list(default_genotype(DIMS))
    asked: list[Genotype] = [tuple(member) for member in members]
    scores = [steps(tuple(member)) for member in members]
    for turn in range(turns):
        before = [list(member) for member in members], list(scores)
        for i in range(size):
            crowd, worth = (members, scores) if update == "sequential" else before
            b, r = partners(rule, i, worth, rng, random_donor(budget, size, turn))
            taken = [bool(u < cr) for u in rng.random(n)]
            taken[int(rng.integers(n))] = True
            child = []
            for k in range(n):
                x = crowd[i][k]
                if taken[k]:
                    x = formula(rule, x, crowd[b][k], [crowd[j][k] for j in r], f)
                while not 0 <= x <= 1:
                    x = -x if x < 0 else 2 - x
                child.append(x)
            asked.append(tuple(child))
            score = steps(tuple(child))
            if score > scores[i] or (selection == "ties" and score == scores[i]):
                members[i], scores[i] = child, score
    return asked


@pytest.mark.parametrize("rule", DONORS)
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize(
    ("f", "cr", "budget"), [(0.5, 0.5, None), (1.9, 0.9, 7 * 21), (0.3, 0.0, 7 * 13), (0.8, 1.0, None)]
)
def test_every_point_is_the_naive_loops(
    rule: str, update: str, selection: str, f: float, cr: float, budget: int | None
) -> None:
    settings: dict[str, Any] = {"update": update, "selection": selection, "f": f, "cr": cr, "budget": budget}
    strategy = DifferentialEvolution(DIMS, seed=5, population=7, rule=rule, **settings)
    found = drive(strategy, steps, evaluations=7 * 21)
    expected = naive_points(rule, size=7, turns=20, **settings)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


def test_the_rules_are_the_six_of_the_naive_loop() -> None:
    assert {name: rule.donors for name, rule in RULES.items()} == DONORS


@pytest.mark.parametrize("update", UPDATES)
def test_the_defaults_over_coordinates(update: str) -> None:
    plain = DifferentialEvolution(DIMS, seed=5, update=update)
    spelt = DifferentialEvolution(
        DIMS, seed=5, update=update, population=12, rule="best/1", f=0.5, cr=0.5, selection="ties"
    )
    assert drive(plain, steps, 100) == drive(spelt, steps, 100)
    batches = [len(plain.ask()) for _ in range(2)]
    assert batches == [12 if update == "generation" else 1] * 2


# Whole models.

VECTORS: dict[Individual, Any] = dict(
    zip([*NAMES, *range(200)], np.random.default_rng(1).standard_normal((204, 40)), strict=True)
)
"""Any vectors, one an individual: two sums of ten of them that agree have the same coefficients."""


class Birth(NamedTuple):
    """What the naive loop says of one child."""

    slot: int
    members: tuple[Individual, ...]
    mutant: Any
    seed: int


def naive_models(
    rule: str,
    scores: Sequence[float],
    *,
    update: str,
    selection: str,
    f: float,
    together: bool = False,
    budget: int | None = None,
    names: Sequence[str] = NAMES,
) -> list[Birth]:
    """Every child, mutants as sums of vectors; ``scores`` are those of the candidates in the order asked."""
    rng = np.random.default_rng(8)
    members: list[Individual] = list(names)
    size, founders = len(names), 1 if together else len(names)
    fitness = list(scores[:founders]) * (size if together else 1)
    births = []
    turns = -(-(len(scores) - founders) // size)
    for turn in range(turns):
        before = list(members), list(fitness)
        for i in range(size):
            crowd, worth = (members, fitness) if update == "sequential" else before
            p = 1.0 if together else random_donor(budget, size, turn)
            b, r = partners(rule, i, worth, rng, p)
            x, best, drawn = VECTORS[crowd[i]], VECTORS[crowd[b]], [VECTORS[crowd[k]] for k in r]
            births.append(Birth(i, tuple(crowd), formula(rule, x, best, drawn, f), int(rng.integers(2**32))))
            child = founders + len(births)  # trial 0 is the space's default
            if child - 1 < len(scores):
                score = scores[child - 1]
                if score > fitness[i] or (selection == "ties" and score == fitness[i]):
                    members[i], fitness[i] = child, score
                    if together:
                        fitness = [score] * size
    return births[: len(scores) - founders]


def scripted(n: int, seed: int = 2) -> list[float]:
    """Scores with ties and failures, some of them in a row."""
    rng = np.random.default_rng(seed)
    return [-inf if u < 0.15 else float(s) for u, s in zip(rng.random(n), rng.integers(0, 7, n), strict=True)]


def in_turn(scores: Sequence[float]) -> Any:
    left = iter(scores)
    return lambda _: next(left)


def assert_births(found: Sequence[Genotype], births: Sequence[Birth], cr: float) -> None:
    assert len(found) == len(births)
    for genotype, birth in zip(found, births, strict=True):
        (slot,) = [k for k, gene in enumerate(genotype) if isinstance(gene, Cross)]
        cross = genotype[slot]
        assert (slot, cross.parent) == (birth.slot, birth.members[slot])
        assert (*genotype[:slot], cross.parent, *genotype[slot + 1 :]) == birth.members
        individuals = [individual for individual, _ in cross.mutant]
        assert len(set(individuals)) == len(individuals)
        assert set(individuals) <= set(birth.members)
        assert sum(coefficient for _, coefficient in cross.mutant) == pytest.approx(1, abs=1e-12)
        found_mutant = sum(coefficient * VECTORS[individual] for individual, coefficient in cross.mutant)
        np.testing.assert_allclose(found_mutant, birth.mutant, rtol=0, atol=1e-9)
        assert (cross.cr, cross.seed) == (cr, birth.seed)


@pytest.mark.parametrize("rule", DONORS)
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize(("f", "cr", "budget"), [(0.5, 0.5, None), (1.0, 0.9, 121), (0.0, 1.0, 41)])
def test_every_child_of_models_is_the_naive_loops(
    rule: str, update: str, selection: str, f: float, cr: float, budget: int | None
) -> None:
    settings: dict[str, Any] = {"update": update, "selection": selection, "f": f, "budget": budget}
    strategy = DifferentialEvolution(Founders(NAMES), seed=8, rule=rule, cr=cr, **settings)
    scores = scripted(4 * 30)
    asked = drive(strategy, in_turn(scores), len(scores))
    assert asked[:4] == [(name,) for name in NAMES]
    births = naive_models(rule, scores, **settings)
    assert_births(asked[4:], births, cr)
    assert sum(isinstance(member, int) for member in births[-1].members) >= 3, "children have been accepted"


@pytest.mark.parametrize("rule", DONORS)
@pytest.mark.parametrize("selection", SELECTIONS)
def test_a_population_scored_as_one_shares_one_score(rule: str, selection: str) -> None:
    strategy = DifferentialEvolution(
        Founders(NAMES, together=True), seed=8, rule=rule, selection=selection, budget=50
    )
    # Rising slowly, so that all are compared with what the last one that was accepted brought.
    rng = np.random.default_rng(3)
    scores = [float(n // 10 + step) for n, step in enumerate(rng.integers(-2, 3, 81))]
    asked = drive(strategy, in_turn(scores), len(scores))
    assert asked[0] == NAMES
    births = naive_models(
        rule, scores, update="sequential", selection=selection, f=0.5, together=True, budget=50
    )
    assert_births(asked[1:], births, 0.5)


def test_a_child_that_beats_its_own_members_old_score_but_not_the_populations_is_refused() -> None:
    strategy = DifferentialEvolution(Founders(NAMES, together=True), seed=0)
    for score in (1.0, 5.0, 3.0):  # the founders, a child of a, a child of b
        assert len(strategy.ask()) == 1
        strategy.tell([score])
    (third,) = strategy.ask()
    assert (third.genotype[0], third.genotype[1], third.genotype[3]) == (2, "b", "d")
    assert third.floor == 5.0


@pytest.mark.parametrize(
    ("founders", "rule"), [(NAMES[:2], "evolver-code"), (NAMES[:3], "evolver"), (NAMES, "evolver")]
)
def test_the_defaults_over_models(founders: tuple[str, ...], rule: str) -> None:
    spelt: dict[str, Any] = {"rule": rule, "f": 0.5, "cr": 0.5, "update": "sequential", "selection": "strict"}
    plain, other = (
        DifferentialEvolution(Founders(founders), seed=1, budget=40, **options) for options in ({}, spelt)
    )
    scores = scripted(40)
    assert drive(plain, in_turn(scores), 40) == drive(other, in_turn(scores), 40)


@pytest.mark.parametrize(
    ("budget", "chances"), [(13, [0.5 + 0.5 / 3, 0.5 + 0.5 / 2, 1.0]), (None, [0.5, 0.5, 0.5])]
)
def test_the_released_evolver_draws_ever_more_of_its_donors(budget: int | None, chances: list[float]) -> None:
    """Of three others, c the best: drawn, it is one in three; else it is c."""
    crossed_with_c = np.zeros(3)
    for seed in range(300):
        strategy = DifferentialEvolution(
            Founders(NAMES), seed=seed, rule="evolver-code", budget=budget, f=1.0
        )
        strategy.tell([0.0, 0.0, 1.0, 0.0][: len(strategy.ask())])
        for turn in range(3):
            for _ in NAMES:
                (candidate,) = strategy.ask()
                strategy.tell([-1.0])
                (cross,) = (gene for gene in candidate.genotype if isinstance(gene, Cross))
                crossed_with_c[turn] += cross.parent != "c" and cross.mutant == (("c", 1.0),)
    expected = [p / 3 + (1 - p) for p in chances]
    np.testing.assert_allclose(crossed_with_c / 900, expected, rtol=0, atol=0.05)


# Where a run ends.


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("budget", range(5, 19))
def test_the_last_evaluation_is_that_of_the_whole_last_population(update: str, budget: int) -> None:
    strategy = DifferentialEvolution(Founders(NAMES, finale=True), seed=8, update=update, budget=budget)
    scores = scripted(budget)
    asked = drive(strategy, in_turn(scores), 1000)
    assert len(asked) == budget
    births = naive_models(
        "evolver", scores[:-1], update=update, selection="strict", f=0.5, budget=budget
    )  # the generation that the budget cuts is a part of it
    assert_births(asked[4:-1], births, 0.5)
    assert asked[-1] == survivors(scores[:-1])
    assert strategy.ask() == []
    strategy.tell([])
    assert strategy.ask() == []


def survivors(scores: Sequence[float]) -> tuple[Individual, ...]:
    """Who lives after these scores, by strict selection."""
    members: list[Individual] = list(NAMES)
    fitness = list(scores[:4])
    for number, score in enumerate(scores[4:]):
        if score > fitness[number % 4]:
            members[number % 4], fitness[number % 4] = number + 5, score
    return tuple(members)


def test_the_finale_may_not_be_stopped() -> None:
    strategy = DifferentialEvolution(Founders(NAMES, finale=True), seed=8, budget=6)
    for _ in range(2):
        strategy.tell([1.0] * len(strategy.ask()))
    assert strategy.ask() == [Candidate(NAMES)]


def test_a_finale_needs_a_budget() -> None:
    with pytest.raises(UserError, match=r"budget\.evaluations(?s:.*)space\.fitness to merged"):
        DifferentialEvolution(Founders(NAMES, finale=True), seed=0)
    DifferentialEvolution(Founders(NAMES), seed=0)


@pytest.mark.parametrize("update", UPDATES)
def test_without_a_finale_the_budget_ends_nothing(update: str) -> None:
    for dims in (DIMS, Founders(NAMES)):
        strategy = DifferentialEvolution(dims, seed=0, budget=6, update=update)
        assert len(drive(strategy, in_turn(scripted(120)), 100)) == 100


# Sizes and options.

ALLOWED = {
    2: {"evolver-code"},
    3: {"evolver-code", "evolver", "best/1", "current-to-best/1", "current-to-pbest/1"},
    4: set(DONORS),
}


@pytest.mark.parametrize("rule", DONORS)
@pytest.mark.parametrize("size", ALLOWED)
def test_how_few_members_a_rule_allows(rule: str, size: int) -> None:
    makers: list[tuple[Dims, dict[str, Any]]] = [(DIMS, {"population": size}), (Founders(NAMES[:size]), {})]
    for dims, options in makers:
        if rule in ALLOWED[size]:
            strategy = DifferentialEvolution(dims, seed=0, rule=rule, **options)
            assert len(drive(strategy, in_turn(scripted(50)), 10 * size)) == 10 * size
            continue
        with pytest.raises(UserError) as caught:
            DifferentialEvolution(dims, seed=0, rule=rule, **options)
        message = str(caught.value)
        assert f"a population of at least {DONORS[rule] + 1} for the rule {rule}\ngot: {size}" in message
        named = message.split("one of the rules ")[1].split(", or enlarge")[0]
        assert set(named.split(", ")) == ALLOWED[size]
        assert "enlarge the population" in message
        assert "space.variants" in message


def test_one_model_alone_is_no_population() -> None:
    with pytest.raises(UserError, match=r"at least 2 for the rule evolver-code(?s:.*)space\.variants"):
        DifferentialEvolution(Founders(("a",)), seed=0)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"rule": "rand/2"}, "rule: one of 6 names"),
        ({"population": 10.5}, "population"),
        ({"population": 1}, "population"),
        ({"f": -0.1}, "f: a number from 0 to 2"),
        ({"f": "large"}, "f: a number from 0 to 2"),
        ({"cr": 1.5}, "cr: a number from 0 to 1"),
        ({"update": "parallel"}, "update: one of 2 names, such as generation, sequential"),
        ({"selection": "best"}, "selection: one of 2 names, such as strict, ties"),
        ({"floors": "yes"}, "floors: true or false"),
        ({"floors": 1}, "floors: true or false"),
        ({"adaptation": "jader"}, "adaptation: one of 8 names"),
        ({"adaptation": "search:", "update": "sequential"}, "adaptation: one of 8 names"),
        ({"adaptation": "search:luck", "update": "sequential"}, "one of the strategies .*\ngot: 'luck'"),
        ({"adaptation": "search:random", "update": "generation"}, "update: sequential, since the adaptation"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        DifferentialEvolution(DIMS, seed=0, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"adaptation": 5},
        {"adaptation": True},
        {"update": ["sequential"]},
        {"rule": ["best/1"]},
    ],
)
def test_options_of_another_type_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        DifferentialEvolution(DIMS, seed=0, **options)


def test_whole_models_are_as_many_as_there_are_founders() -> None:
    with pytest.raises(UserError, match=r"no strategy\.population(?s:.*)got: 12(?s:.*)space\.variants"):
        make_strategy("de", {"population": 12}, dims=Founders(NAMES), seed=0, budget=40)


def test_a_population_scored_as_one_is_updated_one_by_one() -> None:
    with pytest.raises(UserError, match="update: sequential, since the fitness is that of the whole"):
        DifferentialEvolution(Founders(NAMES, together=True), seed=0, update="generation")


@pytest.mark.parametrize("name", ["cmaes", "tpe", "grid", "random", "nevergrad", "nevergrad:CMA"])
def test_a_strategy_that_needs_coordinates_says_so(name: str) -> None:
    with pytest.raises(UserError) as caught:
        make_strategy(name, {}, dims=Founders(NAMES), seed=0, budget=40)
    assert caught.value.expected == "a strategy that crosses whole models (de) for this space"
    assert caught.value.got == f"{name.partition(':')[0]}, which moves in coordinates"
    assert "coefficients" in caught.value.cure


def test_de_is_found_by_name_for_models_and_for_coordinates() -> None:
    for dims, first in ((Founders(NAMES), ("a",)), (DIMS, default_genotype(DIMS))):
        strategy = make_strategy("de", {}, dims=dims, seed=0, budget=40)
        assert strategy.ask()[0].genotype == first


# Floors.


def stopped_run(strategy: Strategy, scores: Iterator[float], n: int) -> tuple[list[Genotype], int]:
    """What is asked, and how many were stopped, where what does not exceed its floor has no score."""
    asked: list[Genotype] = []
    stopped = 0
    while len(asked) < n and (batch := strategy.ask()):
        told = []
        for candidate in batch:
            score = next(scores)
            stopped += score <= candidate.floor and math.isfinite(score)
            told.append(score if score > candidate.floor else -inf)
        asked += [candidate.genotype for candidate in batch]
        strategy.tell(told)
    return asked, stopped


@pytest.mark.parametrize("dims", [DIMS, Founders(NAMES, finale=True), Founders(NAMES, together=True)])
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize(
    ("adaptation", "update"),
    [
        *((name, update) for name in ADAPTATIONS for update in UPDATES),
        ("search:random", "sequential"),
        ("search:cmaes", "sequential"),
    ],
)
def test_floors_change_no_decision(dims: Dims, update: str, selection: str, adaptation: str) -> None:
    if isinstance(dims, Founders) and dims.together:
        update = "sequential"  # the only one that it may be
    options: dict[str, Any] = {"update": update, "selection": selection, "adaptation": adaptation}
    (stopped, n), (whole, none) = (
        stopped_run(
            DifferentialEvolution(dims, seed=4, budget=150, floors=floors, **options),
            iter(scripted(200)),
            150,
        )
        for floors in (True, False)
    )
    assert stopped == whole
    assert (n > 20, none) == (True, 0)


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(UPDATES))
def test_the_floor_is_what_a_child_must_exceed_to_take_the_place(score: float, update: str) -> None:
    for selection in SELECTIONS:
        strategy = DifferentialEvolution(
            Founders(NAMES[:2]), seed=0, rule="evolver-code", update=update, selection=selection
        )
        strategy.tell([score, -inf][: len(strategy.ask())])
        floors = [candidate.floor for candidate in strategy.ask()]
        assert floors[0] == (nextafter(score, -inf) if selection == "ties" else score)
        assert floors[1:] in ([], [-inf])


@pytest.mark.parametrize("selection", SELECTIONS)
def test_a_child_as_good_takes_the_place_where_ties_do_and_a_worse_one_never_does(selection: str) -> None:
    strategy = DifferentialEvolution(Founders(NAMES), seed=0, selection=selection)
    strategy.tell([1.0] * len(strategy.ask()))
    for score in (1.0, 0.5, 1.5):
        strategy.ask()
        strategy.tell([score])
    expected = {"ties": (5, "b", 7), "strict": ("a", "b", 7)}
    assert strategy.ask()[0].genotype[:3] == expected[selection]


@pytest.mark.parametrize("selection", SELECTIONS)
def test_any_score_takes_the_place_of_a_failure(selection: str) -> None:
    strategy = DifferentialEvolution(Founders(NAMES), seed=0, selection=selection)
    strategy.tell([-inf] * len(strategy.ask()))
    strategy.ask()
    strategy.tell([-1e300])
    assert strategy.ask()[0].genotype[0] == 5


# The parts.


@given(st.floats(-50, 50))
def test_reflection_stays_inside_and_leaves_the_inside_alone(x: float) -> None:
    found = float(reflect(np.array([x]))[0])
    assert 0 <= found <= 1
    if 0 <= x <= 1:
        assert found == x
    assert float(reflect(np.array([-x]))[0]) == pytest.approx(found, abs=1e-12)
    assert float(reflect(np.array([2 - x]))[0]) == pytest.approx(found, abs=1e-12)


@given(
    st.sampled_from(sorted(DONORS)),
    st.lists(st.sampled_from([-inf, 0.0, 0.5, 1.0]), min_size=4, max_size=9),
    st.one_of(st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.floats(0, 2)),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
    st.data(),
)
def test_a_mutant_is_a_sum_of_members_each_once_with_coefficients_that_add_up_to_one(
    rule: str, scores: list[float], f: float, random_donor: float, seed: int, data: st.DataObject
) -> None:
    i = data.draw(st.integers(0, len(scores) - 1))
    terms = mutant(rule, i, scores, f, np.random.default_rng(seed), random_donor=random_donor)
    members = [k for k, _ in terms]
    assert members
    assert len(set(members)) == len(members)
    assert set(members) <= set(range(len(scores)))
    assert all(coefficient for _, coefficient in terms)
    assert sum(coefficient for _, coefficient in terms) == pytest.approx(1, abs=1e-12)
    b, r = partners(rule, i, scores, np.random.default_rng(seed), random_donor)
    vectors = np.eye(len(scores))
    expected = formula(rule, vectors[i], vectors[b], list(vectors[r]), f)
    found = sum(coefficient * vectors[k] for k, coefficient in terms)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@given(st.floats(-2, 3), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_outside_a_real_is_reflected_and_a_choice_drawn_anew(x: float, within: float, seed: int) -> None:
    """A mutant of which everything is taken, at ``x`` in the first three coordinates."""
    dims = (Dim("a", 0.5), Dim("b", 0.5, choices=4), Dim("c", 0.5, choices=2), Dim("d", 0.5, choices=3))
    points = Points(dims, 3, np.random.default_rng(0))
    points.members[1] = np.array([x, x, x, within])
    a, b, c, d = points.child(0, [(1, 1.0)], 1.0, np.random.default_rng(seed))
    draws = np.random.default_rng(seed)
    draws.random(4), draws.integers(4)
    inside = 0 <= x <= 1
    folded = abs(x) % 2
    assert a == pytest.approx(min(folded, 2 - folded), abs=1e-12)
    assert (b, c) == ((x, x) if inside else tuple(draws.random(2)))
    assert d == within


def test_without_a_difference_the_best_is_copied() -> None:
    strategy = DifferentialEvolution(DIMS, seed=0, population=6, rule="best/1", f=0.0, cr=1.0)
    strategy.ask()
    strategy.tell([0.0, 0, 3.0, 0, 0, 1.0])
    best = DifferentialEvolution(DIMS, seed=0, population=6).ask()[2].genotype
    assert {candidate.genotype for candidate in strategy.ask()} == {best}


@pytest.mark.parametrize("update", UPDATES)
def test_no_crossover_changes_one_coordinate(update: str) -> None:
    strategy = DifferentialEvolution(DIMS, seed=0, population=6, cr=0.0, update=update)
    parents = [candidate.genotype for candidate in strategy.ask()]
    strategy.tell([0.0] * 6)
    for parent, child in zip(parents, strategy.ask(), strict=False):
        assert sum(a != b for a, b in zip(parent, child.genotype, strict=True)) == 1
