"""Each adaptation of F and Cr against a plain reading of its paper, and what they all have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean, median
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchmerge.strategies import _control
from searchmerge.strategies._adaptation import ADAPTATIONS, Fixed, Settings
from searchmerge.strategies._control import Searched, controlled
from searchmerge.strategies.de import DifferentialEvolution
from searchmerge.strategies.random import Random
from searchmerge.types import Candidate, Cross, Dim, Dims, Founders, Strategy, UserError

RULES = ("rand/1", "best/1", "evolver")
START = Settings("best/1", 0.6, 0.4)
LEARNING = ("jde", "jade", "shade", "lshade", "sade")


def made(name: str, *, size: int = 5, seed: int = 0, start: Settings = START) -> Fixed:
    return ADAPTATIONS[name](start, RULES, size, np.random.default_rng(seed))


def gains(n: int, seed: int) -> list[float]:
    """Gains of children, two in three of them none."""
    rng = np.random.default_rng(seed)
    return [float(g) if u < 1 / 3 else 0.0 for u, g in zip(rng.random(n), rng.exponential(1, n), strict=True)]


def followed(adaptation: Fixed, told: Sequence[float], *, size: int = 5) -> list[Settings]:
    """What is drawn where each child is learned from before the next is drawn."""
    drawn = []
    for n, gain in enumerate(told):
        drawn.append(adaptation.draw(n % size))
        adaptation.learn(n % size, drawn[-1], gain)
        if n % size == size - 1:
            adaptation.turn()
    return drawn


def normal(mean: float, rng: np.random.Generator) -> float:
    return min(max(rng.normal(mean, 0.1), 0.0), 1.0)


def cauchy(location: float, rng: np.random.Generator) -> float:
    while True:
        f = location + 0.1 * rng.standard_cauchy()
        if f > 0:
            return float(min(f, 1.0))


def same(found: Sequence[Settings], expected: Sequence[tuple[str, float, float]]) -> None:
    assert [each.rule for each in found] == [rule for rule, _, _ in expected]
    numbers = [(each.f, each.cr) for each in found]
    np.testing.assert_allclose(numbers, [(f, cr) for _, f, cr in expected], atol=1e-9)


def test_fixed_is_what_the_user_set() -> None:
    assert followed(made("fixed"), gains(50, 1)) == [START] * 50


@given(st.floats(0, 2), st.floats(0, 1), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_dither_draws_f_evenly_between_the_users_and_one(f: float, cr: float, seed: int) -> None:
    drawn = followed(made("dither", seed=seed, start=Settings("best/1", f, cr)), [0.0] * 400)
    assert {(each.rule, each.cr) for each in drawn} == {("best/1", cr)}
    low, high = sorted((f, 1.0))
    fs = [each.f for each in drawn]
    assert all(low - 1e-12 <= x <= high + 1e-12 for x in fs)
    # Eight standard deviations of the mean, and of the largest.
    assert mean(fs) == pytest.approx((low + high) / 2, abs=8 * (high - low) / math.sqrt(12 * 400) + 1e-12)
    assert min(fs) <= low + 0.06 * (high - low) + 1e-12
    assert max(fs) >= high - 0.06 * (high - low) - 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_jde_inherits_or_draws_anew(seed: int) -> None:
    """Brest et al. 2006, eq. 5 and 6: F_l = 0.1, F_u = 0.9, tau_1 = tau_2 = 0.1."""
    told = gains(1000, seed)
    rng = np.random.default_rng(seed)
    f, cr = [START.f] * 5, [START.cr] * 5
    expected = []
    for n, gain in enumerate(told):
        i = n % 5
        rand1, rand2, rand3, rand4 = (float(rng.random()) for _ in range(4))
        child_f = 0.1 + rand1 * 0.9 if rand2 < 0.1 else f[i]
        child_cr = rand3 if rand4 < 0.1 else cr[i]
        expected.append(("best/1", child_f, child_cr))
        if gain > 0:
            f[i], cr[i] = child_f, child_cr
    same(followed(made("jde", seed=seed), told), expected)


def test_jde_draws_one_time_in_ten_from_the_papers_ranges() -> None:
    drawn = followed(made("jde"), [0.0] * 20000)  # nothing is inherited, so what differs was drawn
    fs = [each.f for each in drawn if each.f != START.f]
    crs = [each.cr for each in drawn if each.cr != START.cr]
    assert len(fs) == pytest.approx(2000, abs=6 * math.sqrt(1800))
    assert len(crs) == pytest.approx(2000, abs=6 * math.sqrt(1800))
    assert (min(fs), max(fs), mean(fs)) == pytest.approx((0.1, 1.0, 0.55), abs=0.03)
    assert (min(crs), max(crs), mean(crs)) == pytest.approx((0.0, 1.0, 0.5), abs=0.03)
    both = sum(each.f != START.f and each.cr != START.cr for each in drawn)
    assert both == pytest.approx(200, abs=6 * math.sqrt(200)), "the two are drawn independently"


@pytest.mark.parametrize("seed", range(5))
def test_jade_moves_its_means_a_tenth_of_the_way(seed: int) -> None:
    """Zhang & Sanderson 2009, eq. 7 to 12, c = 0.1; F by the Lehmer mean."""
    told = gains(400, seed)
    rng = np.random.default_rng(seed)
    mu_f, mu_cr = START.f, START.cr
    expected: list[tuple[str, float, float]] = []
    s_f: list[float] = []
    s_cr: list[float] = []
    for n, gain in enumerate(told):
        cr = normal(mu_cr, rng)
        f = cauchy(mu_f, rng)
        expected.append(("best/1", f, cr))
        if gain > 0:
            s_f.append(f)
            s_cr.append(cr)
        if n % 5 == 4 and s_f:
            mu_cr = (1 - 0.1) * mu_cr + 0.1 * sum(s_cr) / len(s_cr)
            mu_f = (1 - 0.1) * mu_f + 0.1 * sum(x * x for x in s_f) / sum(s_f)
            s_f, s_cr = [], []
    same(followed(made("jade", seed=seed), told), expected)
    assert (mu_f, mu_cr) != (START.f, START.cr)


@pytest.mark.parametrize("seed", range(5))
def test_shade_remembers_means_weighted_by_the_gains(seed: int) -> None:
    """Tanabe & Fukunaga 2013, algorithm 1, a memory of five places."""
    told = gains(400, seed)
    rng = np.random.default_rng(seed)
    memory_f, memory_cr, k = [START.f] * 5, [START.cr] * 5, 0
    expected: list[tuple[str, float, float]] = []
    successes: list[tuple[float, float, float]] = []
    for n, gain in enumerate(told):
        r = int(rng.integers(5))
        cr = normal(memory_cr[r], rng)
        f = cauchy(memory_f[r], rng)
        expected.append(("best/1", f, cr))
        if gain > 0:
            successes.append((f, cr, gain))
        if n % 5 == 4 and successes:
            whole = sum(gain for _, _, gain in successes)
            memory_cr[k] = sum(gain / whole * cr for _, cr, gain in successes)
            squares = sum(gain / whole * f * f for f, _, gain in successes)
            memory_f[k] = squares / sum(gain / whole * f for f, _, gain in successes)
            k = 0 if k == 4 else k + 1
            successes = []
    same(followed(made("shade", seed=seed), told), expected)
    assert START.f not in memory_f


@pytest.mark.parametrize("name", ["jade", "shade"])
def test_around_their_means_f_is_cauchy_and_cr_is_normal(name: str) -> None:
    drawn = followed(made(name, start=Settings("best/1", 0.5, 0.5)), [0.0] * 20000)
    fs, crs = [each.f for each in drawn], [each.cr for each in drawn]
    # Scale 0.1 about 0.5: what lies beyond 0 is drawn again, what lies beyond 1 is 1.
    beyond = 0.5 - math.atan(5) / math.pi
    assert fs.count(1.0) / 20000 == pytest.approx(beyond / (1 - beyond), abs=0.01)
    assert sum(0.4 < f < 0.6 for f in fs) / 20000 == pytest.approx(0.5 / (1 - beyond), abs=0.02)
    assert np.std(crs) == pytest.approx(0.1, abs=0.005)
    assert mean(crs) == pytest.approx(0.5, abs=0.005)


def sade_by_the_paper(told: Sequence[float], seed: int, *, period: int) -> list[tuple[str, float, float]]:
    """Qin et al. 2009, eq. 14: successes and failures of the last ``period`` whole turns, and of this one."""
    rng = np.random.default_rng(seed)
    tried: list[tuple[int, str, float, bool]] = []
    expected = []
    for n, gain in enumerate(told):
        turn = n // 5
        lately = [(rule, cr, won) for when, rule, cr, won in tried if when >= turn - period]
        rates = {}
        for rule in RULES:
            won = sum(1 for name, _, success in lately if name == rule and success)
            lost = sum(1 for name, _, success in lately if name == rule and not success)
            rates[rule] = (won / (won + lost) if won + lost else 0.5) + 0.01
        u, total, chosen = rng.random(), 0.0, RULES[-1]
        for rule in RULES:
            total += rates[rule] / sum(rates.values())
            if u < total:
                chosen = rule
                break
        good = [cr for name, cr, success in lately if name == chosen and success]
        cr = normal(median(good) if good else START.cr, rng)
        expected.append((chosen, float(rng.normal(0.5, 0.3)), cr))
        tried.append((turn, chosen, cr, gain > 0))
    return expected


@pytest.mark.parametrize("seed", range(5))
def test_sade_draws_rules_by_their_successes_and_cr_by_their_medians(seed: int) -> None:
    told = gains(5 * 9, seed)
    same(followed(made("sade", seed=seed), told), sade_by_the_paper(told, seed, period=10))


def test_sade_learns_from_the_last_ten_whole_turns() -> None:
    """Eq. 14 sums over the generations G - LP to G - 1."""
    for seed in range(5):
        told = gains(5 * 60, seed)
        same(followed(made("sade", seed=seed), told), sade_by_the_paper(told, seed, period=10))


def test_sade_forgets() -> None:
    sade = made("sade")
    for _ in range(5):
        sade.learn(0, Settings("evolver", 0.5, 0.9), 1.0)
    sade.turn()
    for _ in range(12):
        sade.turn()
    fresh = made("sade")
    assert [sade.draw(0) for _ in range(50)] == [fresh.draw(0) for _ in range(50)]


def test_sade_favours_the_rule_that_succeeds_and_still_tries_the_others() -> None:
    sade = made("sade")
    for _ in range(20):
        sade.learn(0, Settings("best/1", 0.5, 0.9), 1.0)
        sade.learn(0, Settings("rand/1", 0.5, 0.2), 0.0)
        sade.learn(0, Settings("evolver", 0.5, 0.1), 0.0)
    drawn = [sade.draw(0) for _ in range(6000)]
    rules = [each.rule for each in drawn]
    # Rates of 1.01, 0.01 and 0.01.
    assert rules.count("best/1") / 6000 == pytest.approx(1.01 / 1.03, abs=0.01)
    assert 20 < rules.count("rand/1") < 120
    assert median(each.cr for each in drawn if each.rule == "best/1") == pytest.approx(0.9, abs=0.02)
    assert median(each.cr for each in drawn if each.rule == "rand/1") == pytest.approx(START.cr, abs=0.08)


@pytest.mark.parametrize("name", ["jde", "jade", "shade"])
def test_children_that_did_not_improve_teach_nothing(name: str) -> None:
    taught, untaught = made(name), made(name)
    for k in range(40):
        for i in range(5):
            assert taught.draw(i) == untaught.draw(i)
            taught.learn(i, Settings("rand/1", 0.01 * k, 0.02 * k), 0.0)
        taught.turn()


@pytest.mark.parametrize("name", LEARNING)
def test_children_that_improved_teach_something(name: str) -> None:
    taught, untaught = made(name), made(name)
    for i in range(5):
        taught.learn(i, Settings("rand/1", 0.9, 0.9), 1.0)
    taught.turn()
    assert [taught.draw(0) for _ in range(100)] != [untaught.draw(0) for _ in range(100)]


@given(
    st.sampled_from(sorted(ADAPTATIONS)),
    st.floats(0, 2),
    st.floats(0, 1),
    st.integers(2, 7),
    st.integers(0, 2**32 - 1),
    st.floats(1e-12, 1e6),
)
@settings(max_examples=40)
def test_what_is_drawn_stays_in_range(
    name: str, f: float, cr: float, size: int, seed: int, scale: float
) -> None:
    start = Settings("best/1", f, cr)
    adaptation = made(name, size=size, seed=seed, start=start)
    drawn = followed(adaptation, [scale * gain for gain in gains(1500, seed)], size=size)
    assert all(0 <= each.cr <= 1 for each in drawn)
    if name == "sade":  # N(0.5, 0.3), not cut
        assert {each.rule for each in drawn} == set(RULES)
        assert all(abs(each.f - 0.5) < 6 * 0.3 for each in drawn)
        return
    assert {each.rule for each in drawn} == {"best/1"}
    ranges = {"fixed": (f, f), "dither": (min(f, 1.0), max(f, 1.0)), "jde": (0.1, 1.0)}
    low, high = ranges.get(name, (0.0, 1.0))
    inherited = {f} if name == "jde" else set()
    assert all(low <= each.f <= high for each in drawn if each.f not in inherited)
    if name in ("jade", "shade"):
        assert all(each.f > 0 for each in drawn)


# In the strategy.


def asked_with(dims: Dims, adaptation: str, scores: Sequence[float], **options: Any) -> list[Candidate]:
    strategy = DifferentialEvolution(dims, seed=6, adaptation=adaptation, **options)
    left = list(scores)
    asked: list[Candidate] = []
    while left:
        batch = strategy.ask()
        asked += batch
        strategy.tell([left.pop(0) for _ in batch])
    return asked


@pytest.mark.parametrize("adaptation", [*ADAPTATIONS, "search:random"])
def test_what_a_worse_child_scored_is_never_looked_at(adaptation: str) -> None:
    """One parent is ever beaten, the others never: by little, by much, or failing, it is all the same."""
    runs = []
    for worse in (-1.0, -1e6, -math.inf):
        scores = [0.0] * 4 + [float(n) if n % 4 == 1 else worse for n in range(1, 81)]
        runs.append(
            asked_with(Founders(("a", "b", "c", "d")), adaptation, scores, rule="rand/1", floors=False)
        )
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize("name", LEARNING)
def test_the_strategy_teaches_what_it_is_told(name: str) -> None:
    """Whether there was a gain makes other children; how large it was, with SHADE alone."""
    dims = Founders(("a", "b", "c", "d"))
    scores = np.cumsum(np.random.default_rng(0).random(104)).tolist()
    squared = [score**2 for score in scores]
    none = scores[:4] + [-1.0] * 100
    rising, uneven, stuck = (
        [
            (cross.cr, len(cross.mutant))
            for candidate in asked_with(dims, name, told, rule="rand/1")
            for cross in candidate.genotype
            if isinstance(cross, Cross)
        ]
        for told in (scores, squared, none)
    )
    assert rising != stuck
    assert (rising == uneven) == (name not in ("shade", "lshade"))


def test_a_child_that_replaces_a_failure_has_no_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[float] = []
    monkeypatch.setattr(Fixed, "learn", lambda self, i, settings, gain: learned.append(gain))
    scores = [1.0, -math.inf, 2.0, 4.0, -7.0, 1.5]
    asked_with(Founders(("a", "b", "c")), "fixed", scores, selection="ties")
    assert learned == [3.0, 0.0, 0.0]


@pytest.mark.parametrize("update", ["generation", "sequential"])
def test_a_turn_is_as_many_children_as_there_are_members(
    update: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(Fixed, "learn", lambda self, i, settings, gain: calls.append(f"{i}"))
    monkeypatch.setattr(Fixed, "turn", lambda self: calls.append("turn"))
    asked_with(Founders(("a", "b", "c")), "fixed", [0.0] * 12, update=update)
    assert calls == ["0", "1", "2", "turn"] * 3


# Searched by another strategy.


class Listed:
    """A strategy of F and Cr that asks a fixed list of batches, and takes scores as the contract says."""

    def __init__(self, *batches: Sequence[tuple[float, float]]) -> None:
        self.batches = list(batches)
        self.told: list[list[float]] = []
        self.built: Mapping[str, Any] = {}
        self.pending = 0

    def ask(self) -> Sequence[Candidate]:
        batch = self.batches.pop(0) if self.batches else []
        self.pending = len(batch)
        return [Candidate(point) for point in batch]

    def tell(self, scores: Sequence[float]) -> None:
        if len(scores) != self.pending:
            raise ValueError(f"{self.pending} candidates were asked, {len(scores)} scores told")
        self.told.append(list(scores))


BATCHES = ([(0.1, 0.9), (0.2, 0.8), (0.3, 0.7)], [(0.4, 0.6)], [(0.5, 0.55), (0.6, 0.45)])


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Listed:
    strategy = Listed(*BATCHES)

    def make(name: str, options: Mapping[str, Any], **arguments: Any) -> Strategy:
        strategy.built = {"name": name, "options": dict(options), **arguments}
        return strategy

    monkeypatch.setattr(_control, "make_strategy", make)
    return strategy


def test_the_strategy_is_built_over_two_coordinates_that_start_at_the_users(listed: Listed) -> None:
    controlled("search:nevergrad:CMA", Settings("best/1", 1.7, 0.3), 4, np.random.default_rng(0), 12)
    assert listed.built == {
        "name": "nevergrad:CMA",
        "options": {},
        "dims": (Dim("f", 1.0), Dim("cr", 0.3)),
        "seed": 12,
        "budget": None,
    }


def test_the_inner_strategy_is_told_gains_in_the_order_it_asked(listed: Listed) -> None:
    searched = Searched("listed", START, 0)
    drawn = []
    for gain in (0.5, 0.0, 0.25, 2.0, 0.75, 0.125):
        drawn.append(searched.draw(0))
        searched.learn(0, drawn[-1], gain)
        searched.turn()
    assert drawn == [Settings("best/1", f, cr) for batch in BATCHES for f, cr in batch]
    assert listed.told == [[0.5, 0.0, 0.25], [2.0]]


def test_children_of_the_strategy_are_made_with_its_points_and_told_their_gains(listed: Listed) -> None:
    scores = [1.0, 2.0, 3.0, 1.5, 1.0, 7.0, 1.75, -math.inf, 7.0]
    asked = asked_with(Founders(("a", "b", "c")), "search:listed", scores, rule="evolver")
    crosses = [gene for candidate in asked for gene in candidate.genotype if isinstance(gene, Cross)]
    points = [point for batch in BATCHES for point in batch]
    assert [(cross.mutant[1][1], cross.cr) for cross in crosses] == points
    assert listed.told == [[0.5, 0.0, 4.0], [0.25]]


def test_when_the_inner_strategy_has_finished_its_last_point_stays(listed: Listed) -> None:
    searched = Searched("listed", START, 0)
    drawn = []
    for gain in range(20):
        drawn.append(searched.draw(0))
        searched.learn(0, drawn[-1], float(gain))
    assert drawn[5:] == [Settings("best/1", *BATCHES[-1][-1])] * 15
    assert listed.told[:3] == [[0.0, 1.0, 2.0], [3.0], [4.0, 5.0]]


def test_searched_at_random_the_points_are_those_of_random_search() -> None:
    searched = Searched("random", START, 9)
    random = Random((Dim("f", 0.0), Dim("cr", 0.0)), seed=9)
    expected = []
    for _ in range(4):
        batch = random.ask()
        expected += [Settings("best/1", *candidate.genotype) for candidate in batch]
        random.tell([0.0] * len(batch))
    drawn = []
    for _ in expected:
        drawn.append(searched.draw(0))
        searched.learn(0, drawn[-1], 0.0)
    assert drawn == expected


def test_a_search_that_learns_is_drawn_to_what_brings_gains() -> None:
    """The gain is largest at F 0.8 and Cr 0.2."""
    searched = Searched("cmaes", START, 3)
    drawn = []
    for _ in range(300):
        drawn.append(searched.draw(0))
        searched.learn(0, drawn[-1], max(0.0, 1 - abs(drawn[-1].f - 0.8) - abs(drawn[-1].cr - 0.2)))
    assert mean(each.f for each in drawn[-30:]) == pytest.approx(0.8, abs=0.05)
    assert mean(each.cr for each in drawn[-30:]) == pytest.approx(0.2, abs=0.05)


def test_an_unknown_strategy_is_named() -> None:
    with pytest.raises(UserError, match=r"one of the strategies(?s:.*)'luck'"):
        controlled("search:luck", START, 4, np.random.default_rng(0), 0)
