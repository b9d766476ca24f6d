"""L-SHADE against its paper in plain Python, and its parts: fewer and fewer members, an archive, a memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from searchmerge.strategies._adaptation import LSHADE, Settings
from searchmerge.strategies._rules import RULES, mutant
from searchmerge.strategies.de import DifferentialEvolution
from searchmerge.testing import drive, sphere
from searchmerge.types import Dim, Founders, Genotype, UserError, default_genotype

DIMS = tuple(Dim(f"x{i}", 0.1 * i) for i in range(5))
WHOLE: dict[str, Any] = {
    "rule": "current-to-pbest/1",
    "adaptation": "lshade",
    "reduction": "linear",
    "archive": 2.6,
}


def rugged(genotype: Genotype) -> float:
    """Many optima, and steps of a hundredth so that some children are as good as their parents."""
    value = sum((x - 0.62) ** 2 + 0.02 * (1 - math.cos(12 * math.pi * (x - 0.62))) for x in genotype)
    return float(-round(100 * value) / 100)


def weighted_lehmer(values: list[float], w: list[float]) -> float:
    squares = sum(a * x * x for a, x in zip(w, values, strict=True))
    return squares / sum(a * x for a, x in zip(w, values, strict=True))


def from_the_paper(size: int, budget: int, seed: int) -> tuple[list[Genotype], list[int]]:  # noqa: C901 (one loop, as printed)
    """Tanabe & Fukunaga 2014, algorithms 1 to 3; random numbers are drawn in the order of the class.

    The share of the best, the bounds, and the end (it goes on after the budget) are the class's.

    Returns:
        The points and, a generation each, the number of members.
    """
    rng = np.random.default_rng(seed)
    d, h, n_init, n_min = len(DIMS), 6, size, 4
    x = [[float(v) for v in row] for row in rng.random((size, d))]
    x[0] = list(default_genotype(DIMS))
    fitness = [rugged(tuple(each)) for each in x]
    asked = [tuple(each) for each in x]
    archive: list[list[float]] = []
    m_cr: list[float | None] = [0.5] * h
    m_f, k = [0.5] * h, 0
    sizes = [size]
    while len(asked) < budget:
        n = len(x)
        trials = []
        for i in range(n):
            r = int(rng.integers(h))
            mean = m_cr[r]
            cr = 0.0 if mean is None else min(max(rng.normal(mean, 0.1), 0.0), 1.0)
            f = 0.0
            while f <= 0:
                f = m_f[r] + 0.1 * rng.standard_cauchy()
            f = min(f, 1.0)
            others = [j for j in range(n) if j != i]
            r1, r2 = (int(j) for j in rng.choice(others, size=2, replace=False))
            if archive:
                union = [j for j in others if j != r1] + [n + j for j in range(len(archive))]
                r2 = int(rng.choice(union))
            best_first = sorted(range(n), key=lambda j: -fitness[j])
            best = best_first[int(rng.integers(max(2, round(0.2 * n))))]
            minus = x[r2] if r2 < n else archive[r2 - n]
            u = [bool(each < cr) for each in rng.random(d)]
            u[int(rng.integers(d))] = True
            child = []
            for j in range(d):
                v = x[i][j]
                if u[j]:
                    v = x[i][j] + f * (x[best][j] - x[i][j]) + f * (x[r1][j] - minus[j])
                while not 0 <= v <= 1:
                    v = -v if v < 0 else 2 - v
                child.append(v)
            trials.append((child, f, cr))
        asked += [tuple(child) for child, _, _ in trials]
        s_f, s_cr, gain = [], [], []
        for i, (child, f, cr) in enumerate(trials):
            value = rugged(tuple(child))
            if value > fitness[i]:
                archive.append(x[i])
                s_f.append(f)
                s_cr.append(cr)
                gain.append(value - fitness[i])
            if value >= fitness[i]:
                x[i], fitness[i] = child, value
        if gain:
            w = [each / sum(gain) for each in gain]
            m_cr[k] = None if m_cr[k] is None or max(s_cr) == 0 else weighted_lehmer(s_cr, w)
            m_f[k] = weighted_lehmer(s_f, w)
            k = (k + 1) % h
        n_next = round((n_min - n_init) / budget * min(len(asked), budget) + n_init)
        while len(x) > n_next:
            worst = max(j for j in range(len(x)) if fitness[j] == min(fitness))
            x.pop(worst)
            fitness.pop(worst)
        while len(archive) > round(2.6 * len(x)):
            archive.pop(int(rng.integers(len(archive))))
        sizes.append(len(x))
    return asked[:budget], sizes


@pytest.mark.parametrize(("size", "seed"), [(18, 0), (30, 1), (7, 2), (4, 3)])
def test_every_point_is_the_papers(size: int, seed: int) -> None:
    expected, sizes = from_the_paper(size, 600, seed)
    assert sizes[-1] == 4
    assert size == 4 or len(set(sizes)) > 3
    found = drive(DifferentialEvolution(DIMS, seed=seed, budget=600, population=size, **WHOLE), rugged, 600)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_the_members_dwindle_on_a_line_from_the_first_to_four() -> None:
    strategy = DifferentialEvolution(DIMS, seed=0, budget=400, population=24, reduction="linear")
    spent, sizes = 0, []
    while spent < 500:
        batch = strategy.ask()
        sizes.append((spent, len(batch)))
        spent += len(batch)
        strategy.tell([sphere(candidate.genotype) for candidate in batch])
    assert all(size == round(24 - 20 * min(before / 400, 1)) for before, size in sizes[2:])
    assert sizes[-1][1] == 4


def test_the_best_member_stays_and_small_populations_are_left_alone() -> None:
    best = -math.inf
    strategy = DifferentialEvolution(DIMS, seed=3, budget=120, population=16, reduction="linear")
    for _ in range(40):
        batch = strategy.ask()
        scores = [sphere(candidate.genotype) for candidate in batch]
        strategy.tell(scores)
        best = max(best, *scores)
        assert max(strategy._scores) == best
    three = DifferentialEvolution(DIMS, seed=3, budget=30, population=3, reduction="linear")
    assert drive(three, sphere, 60) == drive(DifferentialEvolution(DIMS, seed=3, population=3), sphere, 60)


@pytest.mark.parametrize("adaptation", ["jde", "sade", "shade", "search:random"])
@pytest.mark.parametrize("update", ["generation", "sequential"])
def test_any_adaptation_goes_on_with_fewer_members(adaptation: str, update: str) -> None:
    """The members of jDE keep their own F and Cr when one before them leaves."""
    if adaptation.startswith("search") and update == "generation":
        return
    options: dict[str, Any] = {
        "adaptation": adaptation,
        "update": update,
        "reduction": "linear",
        "population": 20,
    }
    strategy = DifferentialEvolution(DIMS, seed=0, budget=200, **options)
    assert len(drive(strategy, sphere, 400)) == 400
    assert strategy._size == 4
    if adaptation == "jde":
        assert len(strategy._adaptation._own) == 4  # type: ignore[attr-defined]


def test_the_ones_after_a_member_that_leaves_keep_their_own() -> None:
    strategy = DifferentialEvolution(DIMS, seed=0, budget=200, adaptation="jde", reduction="linear")
    own = strategy._adaptation._own  # type: ignore[attr-defined]
    own[:] = [Settings("best/1", 0.1, k / 12) for k in range(12)]
    members = [tuple(member) for member in strategy._crossing.members]
    strategy._lose(4)
    assert [round(12 * each.cr) for each in own] == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]
    assert [tuple(member) for member in strategy._crossing.members] == members[:4] + members[5:]


def test_the_archive_holds_the_replaced_who_were_worse_and_no_more_than_it_may() -> None:
    strategy = DifferentialEvolution(DIMS, seed=1, budget=300, population=10, archive=0.5, reduction="linear")
    seen: list[Genotype] = []
    for _ in range(60):
        batch = strategy.ask()
        before = {id(member) for member in strategy._crossing.archive}
        worth = list(strategy._scores)
        members = [tuple(member.tolist()) for member in strategy._crossing.members]
        scores = [sphere(candidate.genotype) for candidate in batch]
        strategy.tell(scores)
        if not seen:
            seen += members
            continue
        beaten = {m for m, old, new in zip(members, worth, scores, strict=False) if new > old}
        for member in strategy._crossing.archive:
            assert id(member) in before or tuple(member.tolist()) in beaten
        assert len(strategy._crossing.archive) <= round(0.5 * strategy._size)
    assert strategy._crossing.archive


@pytest.mark.parametrize("rule", RULES)
def test_the_archive_stands_in_for_the_one_that_is_subtracted_alone(rule: str) -> None:
    """It is drawn as evenly as the others, and never the member itself or a donor twice."""
    rng = np.random.default_rng(0)
    drawn = [dict(mutant(rule, 2, [0.0, 1.0, 2.0, 3.0, 4.0], 0.5, rng, archived=7)) for _ in range(3000)]
    from_archive = [each for each in drawn if max(each) > 4]
    if rule == "evolver-code":
        assert not from_archive
        return
    assert all(coefficient == -0.5 for each in from_archive for k, coefficient in each.items() if k > 4)
    assert {k for each in from_archive for k in each} >= set(range(5, 12))
    assert all(sum(each.values()) == pytest.approx(1) for each in drawn)
    free = 4 - (RULES[rule].donors - 1)  # members that the last donor may be
    share = 7 / (7 + free)
    assert len(from_archive) / 3000 == pytest.approx(share, abs=6 * math.sqrt(share * (1 - share) / 3000))


def test_a_place_of_the_memory_that_got_no_crossover_keeps_none() -> None:
    memory = LSHADE(Settings("rand/1", 0.5, 0.5), ("rand/1",), 9, np.random.default_rng(0))
    for place in range(6):
        memory.learn(0, Settings("rand/1", 0.5, 0.0 if place == 0 else 0.9), 1.0)
        memory.turn()
    memory.learn(0, Settings("rand/1", 0.5, 1.0), 1.0)  # the first place again
    memory.turn()
    crs = [memory.draw(0).cr for _ in range(600)]
    assert sum(cr == 0 for cr in crs) == pytest.approx(100, abs=60)
    assert min(cr for cr in crs if cr) > 0.4


@pytest.mark.parametrize("update", ["generation", "sequential"])
def test_floors_change_no_decision(update: str) -> None:
    """Not who leaves, nor who is archived, nor what is remembered."""

    def asked(*, obeyed: bool) -> list[Genotype]:
        strategy = DifferentialEvolution(DIMS, seed=2, budget=250, population=20, update=update, **WHOLE)
        found: list[Genotype] = []
        while len(found) < 300:
            batch = strategy.ask()
            found += [candidate.genotype for candidate in batch]
            scores = [(rugged(candidate.genotype), candidate.floor) for candidate in batch]
            strategy.tell([-math.inf if obeyed and score <= floor else score for score, floor in scores])
        return found

    assert asked(obeyed=True) == asked(obeyed=False)


def test_without_reduction_and_archive_all_is_as_ever() -> None:
    plain = DifferentialEvolution(DIMS, seed=4, budget=200)
    said = DifferentialEvolution(DIMS, seed=4, budget=200, reduction="none", archive=0.0)
    assert drive(plain, sphere, 200) == drive(said, sphere, 200)


FOUNDERS = Founders(("a", "b", "c", "d", "e"))


@pytest.mark.parametrize(
    ("dims", "budget", "options"),
    [
        (DIMS, None, {"reduction": "linear"}),
        (DIMS, 100, {"reduction": "steep"}),
        (DIMS, 100, {"archive": -1.0}),
        (DIMS, 100, {"archive": True}),
        (FOUNDERS, 100, {"reduction": "linear"}),
        (FOUNDERS, 100, {"archive": 1.0}),
    ],
    ids=str,
)
def test_bad_options_are_named(dims: Any, budget: int | None, options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        DifferentialEvolution(dims, seed=0, budget=budget, **options)
