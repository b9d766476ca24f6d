"""Adapters against their libraries called directly: the same generator gives the same points."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import adapters
from benchmarks.adapters import PEERS, compared, directly, ratio, searched
from benchmarks.direct import scipy_de
from benchmarks.known import CHOICES, FUNCTIONS, Known
from searchmerge.types import default_genotype

SAME = ("random", "cmaes", "tpe", "OnePlusOne", "TwoPointsDE", "CMA", "DiscreteOnePlusOne")


@pytest.mark.parametrize(
    ("peer", "function"), [(name, function) for name in SAME for function in PEERS[name].functions]
)
def test_the_points_are_the_librarys(peer: str, function: str) -> None:
    budget, seed = 25 if peer in ("tpe", "DiscreteOnePlusOne") else 60, 3
    instance = Known(function, 6, seed)
    theirs = directly(PEERS[peer].direct, instance, seed, budget)
    ours = searched(PEERS[peer].strategy, instance, seed, budget)
    assert ours.points == theirs.points
    assert (ours.losses, len(theirs.losses)) == (theirs.losses, budget)


@pytest.mark.parametrize("function", ["sphere", "mixed"])
def test_restarts_are_the_same_too(function: str) -> None:
    instance = Known(function, 2, 1)
    theirs = directly(PEERS["cmaes"].direct, instance, 1, 1200)
    assert searched("cmaes", instance, 1, 1200).points == theirs.points
    assert min(theirs.losses) < 1e-9 < max(theirs.losses[-60:]), "it never started anew"


def test_another_seed_is_another_run() -> None:
    instance = Known("sphere", 6, 0)
    assert (
        searched("cmaes", instance, 1, 30).points != directly(PEERS["cmaes"].direct, instance, 2, 30).points
    )


@pytest.mark.parametrize("name", ["random", "cmaes, fmin2", "DiscreteOnePlusOne, drawn", "de", "de, rand/1"])
def test_both_start_at_the_default_and_spend_the_budget(name: str) -> None:
    instance = Known("mixed", 4, 2)
    for run in (
        directly(PEERS[name].direct, instance, 2, 48),
        searched(PEERS[name].strategy, instance, 2, 48),
    ):
        assert run.points[0] == instance.start.tolist()
        assert len(run.points) == len(run.losses) == 48


def test_de_and_scipy_share_the_first_population() -> None:
    instance = Known("mixed", 6, 4)
    assert searched("de", instance, 4, 12).points == directly(scipy_de("best1bin"), instance, 4, 12).points


def naive(name: str, z: list[float]) -> float:
    total, n = 0.0, len(z)
    for i, x in enumerate(z):
        if name == "ellipsoid":
            total += 10 ** (6 * i / (n - 1)) * x * x
        elif name == "rastrigin":
            total += x * x + 10 - 10 * math.cos(2 * math.pi * x)
        else:
            total += x * x
    return total


@given(st.lists(st.floats(-9, 9), min_size=2, max_size=12))
def test_functions_are_their_formulas(z: list[float]) -> None:
    for name, function in FUNCTIONS.items():
        assert function(np.array(z)) == pytest.approx(naive(name, z), rel=1e-9, abs=1e-9)


@given(st.sampled_from(sorted(FUNCTIONS)), st.integers(2, 40), st.integers(0, 50), st.data())
def test_the_optimum_is_where_it_says(name: str, n: int, seed: int, data: st.DataObject) -> None:
    function = Known(name, n, seed)
    assert function.loss(function.optimum) == 0
    at = np.random.default_rng(data.draw(st.integers(0, 1000))).random(n)
    at[function.reals :] = np.floor(CHOICES * at[function.reals :])
    assert function.loss(at) > 0
    assert function.loss(function.start) > 0
    moved = function.optimum.copy()
    k = data.draw(st.integers(0, n - 1))
    moved[k] = (moved[k] + 1) % CHOICES if k >= function.reals else moved[k] + 1e-4
    assert function.loss(moved) > 0


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_space_decodes_to_the_points_and_starts_away_from_the_optimum(name: str) -> None:
    for n in (10, 40):
        for seed in range(40):
            function = Known(name, n, seed)
            point = function.decode(default_genotype(function.dims))["point"]
            assert point == function.start.tolist()
            reals = slice(function.reals)
            for other in (function.start[reals], np.full(function.reals, 0.5)):
                assert np.linalg.norm(function.optimum[reals] - other) > 0.1
            assert np.all(function.start[function.reals :] != function.optimum[function.reals :])
            assert function.evaluate({"point": point}, -np.inf, 0).score == -function.loss(point)


def test_the_ellipsoid_is_rotated_with_the_condition_it_says() -> None:
    function, h = Known("ellipsoid", 10, 3), 1e-3
    hessian = np.empty((10, 10))
    for i in range(10):
        for j in range(10):
            step = np.zeros((2, 10))
            step[0, i], step[1, j] = h, h
            both, one, other = step.sum(0), step[0], step[1]
            losses = [function.loss(function.optimum + d) for d in (both, one, other)]
            hessian[i, j] = (losses[0] - losses[1] - losses[2]) / h**2
    found = np.linalg.eigvalsh(hessian)
    np.testing.assert_allclose(found, [200 * 10 ** (6 * i / 9) for i in range(10)], rtol=1e-4)
    assert np.abs(hessian - np.diag(np.diag(hessian))).max() > 1e5


def expected_running_time(losses: list[list[float]], target: float) -> float:
    spent = successes = 0
    for run in losses:
        for loss in run:
            spent += 1
            if loss <= target:
                successes += 1
                break
    return spent / successes if successes else math.inf


@given(st.integers(0, 10000), st.integers(1, 5))
def test_the_ratio_is_that_of_expected_running_times(seed: int, seeds: int) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = (rng.random((seeds, 30)) for _ in range(2))
    targets = [t for t in (0.5, 0.2, 0.1, 0.05) if expected_running_time(theirs.tolist(), t) < math.inf]
    if not targets:
        return
    logs = [
        math.log(expected_running_time(ours.tolist(), t) / expected_running_time(theirs.tolist(), t))
        for t in targets
    ]
    found, low, high = ratio(list(ours), list(theirs), np.array(targets))
    assert found == pytest.approx(math.exp(sum(logs) / len(logs)), rel=1e-9)
    assert low <= found <= high or seeds > 1


def test_a_slower_run_has_a_larger_ratio_and_one_that_never_arrives_an_endless_one() -> None:
    fast = [np.array([1.0, 0.5, 0.1, 0.1, 0.1, 0.1])] * 3
    slow = [np.array([1.0, 1.0, 1.0, 0.5, 0.5, 0.1])] * 3
    assert ratio(slow, fast, np.array([0.5, 0.1])) == pytest.approx((2, 2, 2))
    assert ratio(fast, slow, np.array([0.5, 0.1])) == pytest.approx((0.5, 0.5, 0.5))
    assert ratio([np.ones(6)] * 3, fast, np.array([0.5]))[0] == math.inf


def test_the_same_runs_are_one_and_others_are_measured() -> None:
    assert compared(PEERS["random"], "sphere", 4, 40)[0::3] == (True, 1.0)
    found = compared(PEERS["de"], "sphere", 4, 96)
    assert not found.same
    assert found.low <= found.ratio <= found.high


def test_the_last_line_is_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["adapters", "--quick", "--only", "random"])
    adapters.main()
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1]) == {f"random_{function}_10_ratio": 1.0 for function in FUNCTIONS}
    assert len(lines) == 2 + len(FUNCTIONS) + 1
