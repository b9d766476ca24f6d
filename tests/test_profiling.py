"""Where a search's time goes. Most clocks here move only when a planted method says so."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from searchmerge import profiling
from searchmerge.bench import Bench
from searchmerge.config import load
from searchmerge.journal import Journal
from searchmerge.objective import Objective
from searchmerge.objective.kinds.classification import Classification
from searchmerge.optimize import optimize, run_search
from searchmerge.profiling import PARTS, Clock, profiled
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.spaces.population import PopulationSpace
from searchmerge.strategies.random import Random
from searchmerge.workshop import Workshop
from tests.family import rewrite, tiny_family
from tests.fixtures import Run

CPU = torch.device("cpu")


class Hand:
    """A clock's hand that is moved by hand."""

    now = 0.0

    def plant(self, patch: pytest.MonkeyPatch, owner: type, name: str, seconds: float) -> list[None]:
        """Have a method take that long; gives what has one entry for each of its calls."""
        calls: list[None] = []
        method = getattr(owner, name)

        def slow(*arguments: Any, **named: Any) -> Any:
            calls.append(None)
            self.now += seconds
            return method(*arguments, **named)

        patch.setattr(owner, name, slow)
        return calls


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    hand = Hand()
    monkeypatch.setattr(profiling, "perf_counter", lambda: hand.now)
    return hand


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tiny_family(tmp_path)


def searched(config: Path, out: Path, **options: Any) -> dict[str, Any]:
    quiet: Any = {"resume": False, "watch": lambda *_: None, "say": lambda _: None}
    return optimize(load(config), out, **quiet | options)


CALLS: st.SearchStrategy[Any] = st.recursive(
    st.just([]),
    lambda inner: st.lists(st.tuples(st.sampled_from(sorted(PARTS)), st.integers(0, 9), inner), max_size=4),
)
"""What a method does: calls of others, each with its part, its own whole seconds, and its calls."""


@given(calls=CALLS, before=st.integers(0, 9))
def test_each_part_has_its_own_seconds_and_not_those_that_it_calls(calls: Any, before: int) -> None:
    hand = Hand()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiling, "perf_counter", lambda: hand.now)
        clock = Clock(CPU)
        wanted: Counter[str] = Counter()

        def run(calls: Any) -> None:
            for part, seconds, inner in calls:
                wanted[part] += seconds

                def work(seconds: int = seconds, inner: Any = inner) -> None:
                    hand.now += seconds
                    run(inner)

                clock.timed(work, part)()

        hand.now += before
        run(calls)
        wanted["other"] += before
        clock.count()
    assert clock.seconds == {part: wanted[part] for part in PARTS}
    assert sum(clock.seconds.values()) == hand.now


def test_what_raises_is_left(hand: Hand) -> None:
    clock = Clock(CPU)

    def fails() -> None:
        hand.now += 2
        raise ValueError("planted")

    with pytest.raises(ValueError, match="planted"):
        clock.timed(fails, "merge")()
    hand.now += 1
    clock.count()
    assert clock.seconds["merge"] == 2
    assert clock.seconds["other"] == 1


PLANTED: Mapping[str, tuple[tuple[type, str], ...]] = {
    "reading": ((Workshop, "source"),),
    "merge": ((CoefficientSpace, "realise"),),
    "forward": ((Classification, "answer"),),
    "metric": ((Classification, "value"), (Classification, "read")),
    "strategy": ((Random, "ask"), (Random, "tell")),
    "decode": ((CoefficientSpace, "decode"),),
    "journal": ((Journal, "append"),),
}


@pytest.mark.parametrize("part", PLANTED)
def test_slowness_shows_in_its_part_and_in_no_other(
    part: str, config: Path, tmp_path: Path, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = [hand.plant(monkeypatch, owner, name, 3.0) for owner, name in PLANTED[part]]
    bench = Bench(load(config))
    bench.objective("dev")  # what it takes is no part of the search
    with profiled(bench) as found:
        before = hand.now
        run_search(bench, tmp_path / "out", resume=False, watch=lambda *_: None)
        passed = hand.now - before
    assert all(slow)
    assert {name: spent["seconds"] for name, spent in found["profile"]["parts"].items()} == {
        name: passed if name == part else 0.0 for name in PARTS
    }
    assert found["profile"]["parts"][part]["share"] == 1
    assert found["profile"]["seconds"] == passed


def test_a_child_is_a_merge(
    config: Path, tmp_path: Path, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(config, space={"kind": "population"}, strategy={"kind": "de"})
    children = hand.plant(monkeypatch, PopulationSpace, "realise", 2.0)
    profile = searched(config, tmp_path / "out", profile=True)["profile"]
    merged = profile["parts"]["merge"]["seconds"]
    assert merged == 2.0 * profile["candidates"]
    assert len(children) >= profile["candidates"]  # the winner is judged after the search


def test_a_run_is_the_same_with_a_profile_and_without(config: Path, tmp_path: Path) -> None:
    without = searched(config, tmp_path / "without")
    profiled = searched(config, tmp_path / "with", profile=True)
    profile = profiled.pop("profile")
    assert timeless(profiled) == timeless(without)
    assert lines(tmp_path / "with") == lines(tmp_path / "without")
    assert profile["candidates"] == 12
    assert profile["candidates_a_second"] == pytest.approx(12 / profile["seconds"])
    assert sum(part["share"] for part in profile["parts"].values()) == pytest.approx(1)
    assert sum(part["seconds"] for part in profile["parts"].values()) == pytest.approx(profile["seconds"])
    assert all(part["seconds"] > 0 for part in profile["parts"].values())


def timeless(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name != "seconds"}


def lines(out: Path) -> list[dict[str, Any]]:
    return [timeless(json.loads(line)) for line in (out / "journal.jsonl").read_text().splitlines()]


def test_a_resumed_run_counts_what_it_evaluates(config: Path, tmp_path: Path) -> None:
    searched(config, tmp_path / "out")
    journal = tmp_path / "out" / "journal.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:9]))  # header and 8 trials
    assert searched(config, tmp_path / "out", resume=True, profile=True)["profile"]["candidates"] == 4


def test_finalists_are_no_candidates(config: Path, tmp_path: Path) -> None:
    objective = yaml.safe_load(config.read_text())["objective"]
    rewrite(config, objective={**objective, "subset": {"start": 0.5, "rounds": 1, "finalists": 3}})
    assert searched(config, tmp_path / "out", profile=True)["profile"]["candidates"] == 12


def test_every_search_has_a_profile_of_its_own(config: Path, tmp_path: Path) -> None:
    coefficients = {"kind": "coefficients", "weight": [0, 1]}
    stage = {"name": "first", "space": coefficients, "strategy": {"kind": "random"}}
    rewrite(
        config,
        before=[{**stage, "budget": {"evaluations": 3}}],
        space={"kind": "paths", "sources": ["first", "animals"]},
        budget={"evaluations": 2},
    )
    result = searched(config, tmp_path / "out", profile=True)
    assert result["profile"]["candidates"] == 2
    assert result["before"]["first"]["profile"]["candidates"] == 3


def test_nothing_is_left_of_it_even_after_an_error(config: Path) -> None:
    bench = Bench(load(config))
    owners = (Bench, Workshop, Objective, Journal, CoefficientSpace, Random, Classification)
    before = [dict(vars(owner)) for owner in owners]

    def interrupted() -> None:
        with profiled(bench):
            assert [dict(vars(owner)) for owner in owners] != before
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [dict(vars(owner)) for owner in owners] == before


def test_a_method_of_the_parents_comes_back(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Heir(Random):
        pass

    monkeypatch.setattr(Bench, "strategy", lambda bench: Heir(bench.space.dims, seed=0))
    with profiled(Bench(load(config))):
        assert "ask" in vars(Heir)
        assert "ask" in vars(Random)
    assert "ask" not in vars(Heir)


def test_only_a_device_that_works_by_itself_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    Clock(CPU).timed(lambda: None, "merge")()
    assert not waited
    cuda = torch.device("cuda", 0)
    Clock(cuda).timed(lambda: None, "merge")()
    assert waited == [cuda, cuda]  # before it starts and when it has ended


def test_nothing_is_wrapped_where_no_profile_is_wanted(config: Path) -> None:
    before = vars(Bench)["realise"]
    with profiled(Bench(load(config)), False) as found:
        assert vars(Bench)["realise"] is before
    assert found == {}


def test_the_command_prints_it(run: Run, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, printed, errors = run("optimize", config, "--out", out, "--profile")
    assert code == 0, errors
    profile = json.loads((out / "result.json").read_text())["profile"]
    assert f"12 candidates, {profile['candidates_a_second']:.3g} a second" in printed
    for part, spent in profile["parts"].items():
        (line,) = (line for line in printed.splitlines() if line.startswith(f"{part} "))
        assert f"{spent['seconds']:.3f} s" in line
        assert f"{spent['share']:.1%}" in line


def test_without_the_option_nothing_is_said(run: Run, config: Path, tmp_path: Path) -> None:
    _, printed, _ = run("optimize", config, "--out", tmp_path / "out")
    assert "a second" not in printed
    assert "profile" not in json.loads((tmp_path / "out" / "result.json").read_text())
