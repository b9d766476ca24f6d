"""The benchmark beside other ways refuses figures of ways that make something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import peers, plain
from benchmarks.ways import Ways
from searchmerge.config import load
from tests.family import tiny_family


@pytest.fixture
def ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ways:
    """Of a tiny family, the plain loop alone: mergekit is not installed here."""
    no_server: Any = None
    ways = Ways(load(tiny_family(tmp_path / "family")), tmp_path / "scratch", no_server)
    monkeypatch.setattr(ways, "of", lambda _: {"searchmerge": ways._ours, "plain": ways._by_plain})
    return ways


METHODS = ("linear", "ties", "dare_ties")


@pytest.mark.parametrize("method", METHODS)
def test_the_plain_loop_makes_the_same(ways: Ways, method: str) -> None:
    rng = np.random.default_rng(1)
    assert peers.agree_on(ways, method, rng)
    assert peers.timed(ways, method, 1, rng).keys() == {"searchmerge", "plain"}


@pytest.mark.parametrize("method", METHODS)
def test_a_loop_that_makes_something_else_is_found(
    ways: Ways, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = getattr(plain, method)

    def wrong(*arguments: Any) -> plain.State:
        return {name: tensor * 1.01 for name, tensor in right(*arguments).items()}

    monkeypatch.setattr(plain, method, wrong)
    assert not peers.agree_on(ways, method, np.random.default_rng(1))


def test_the_share_of_entries_that_differ() -> None:
    ours = {"a": torch.tensor([4.0, 1.0]), "b": torch.tensor([[1.0], [0.0]])}
    theirs = {"a": torch.tensor([4.0, 2.0]), "b": torch.tensor([[1.0], [1e-5]])}
    assert peers.apart(ours, theirs) == (0.25, 0.25)  # 1e-5 is within 1e-5 of the largest, 4


def test_ratios_are_to_the_reading_of_the_peer() -> None:
    seconds = {
        "ties": {
            "searchmerge": 2.0,
            "searchmerge_as_mergekit": 4.0,
            "mergekit_folder": 8.0,
            "mergekit_memory": 6.0,
            "plain": 3.0,
        }
    }
    found = peers.ratios(seconds)
    assert found["ties_ratio_mergekit_folder"] == 2
    assert found["ties_ratio_mergekit_memory"] == 1.5
    assert found["ties_ratio_plain"] == 1.5
    assert found["ties_plain_seconds"] == 3
    line = "| ties | 0.5 | 0.25 | 0.125 (1/2.0) | 0.167 (1/1.5) | 0.333 (1/1.5) |"
    assert peers.table("config", seconds, 23_000_000).splitlines()[-1] == line
