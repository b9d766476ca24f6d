"""Every installed strategy passes the suite that is published for third parties."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points

import pytest

from searchmerge.testing import SPACES, STRATEGY_CHECKS, Make, check_learns, drive, sphere

STRATEGIES = {point.name: point for point in entry_points(group="searchmerge.strategies")}
BLIND = {"grid", "random"}


def load(name: str) -> Make:
    made: Make = STRATEGIES[name].load()
    return made


def test_the_six_are_found_by_their_entry_points() -> None:
    assert {"cmaes", "de", "grid", "nevergrad", "random", "tpe"} <= set(STRATEGIES)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@pytest.mark.parametrize("check", STRATEGY_CHECKS, ids=lambda check: check.__name__)
def test_contract(name: str, check: Callable[[Make], None]) -> None:
    check(load(name))


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - BLIND))
def test_learns(name: str) -> None:
    check_learns(load(name))


@pytest.mark.parametrize("name", sorted(BLIND))
def test_learning_is_really_tested(name: str) -> None:
    with pytest.raises(AssertionError, match="random points"):
        check_learns(load(name))


def trajectories() -> dict[str, list[tuple[float, ...]]]:
    """What every strategy asks for on the mixed space."""
    dims = SPACES["mixed"]
    return {name: drive(load(name)(dims, seed=11, budget=30), sphere, 30) for name in sorted(STRATEGIES)}


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
