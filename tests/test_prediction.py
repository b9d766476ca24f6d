"""What an evaluation is said to cost, on a clock that only the work moves: so estimates can be exact."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from searchmerge import prediction
from searchmerge.bench import Bench
from searchmerge.config import load
from searchmerge.prediction import Cost, Synthetic, cost
from searchmerge.sources.checkpoint import Checkpoint
from tests.family import rewrite, tiny_family

CPU = torch.device("cpu")
A_TOKEN, A_CONVERSION, A_PARAMETER = 2.0**-10, 2.0**-6, 2.0**-20


class Clock:
    """Seconds that pass where tokens are read, weights converted, parameters merged or memory passed over."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cold: set[nn.Module] = set()

    def __call__(self) -> float:
        return self.now

    @contextmanager
    def computing(self, models: Any, *_: Any) -> Iterator[None]:
        self.cold = set(models)
        yield

    def forward(self, model: nn.Module, _: Any, batch: Any, __: Any) -> None:
        self.now += A_TOKEN * batch["input_ids"].numel() + A_CONVERSION * (model in self.cold)
        self.cold.discard(model)

    def merge(self, _recipe: Any, _of: Any, layout: Any, out: Any) -> None:
        assert layout.size == len(out)
        self.now += 2 * A_PARAMETER * layout.size

    def floor(self, of: Synthetic) -> None:
        self.now += A_PARAMETER * of.size


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", clock)
    monkeypatch.setattr("searchmerge.objective.asking.computing", clock.computing)
    monkeypatch.setattr("searchmerge.objective.asking.lanes_for", lambda _: 1)  # one thread moves the clock
    monkeypatch.setattr(prediction, "merge", clock.merge)
    monkeypatch.setattr(Synthetic, "floor", lambda of: clock.floor(of))
    return clock


def bench(folder: Path, clock: Clock, *, batch_tokens: int = 1024, **sections: Any) -> Bench:
    config = rewrite(tiny_family(folder), **sections)
    made = Bench(load(config, [f"objective.batch_tokens={batch_tokens}"]))
    for model in made.workshop.models.values():
        model.register_forward_hook(clock.forward, with_kwargs=True)
    return made


@pytest.mark.parametrize("limit", [0.2, 1e9])
def test_batches_stand_for_all_of_them(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, limit: float
) -> None:
    monkeypatch.setattr(prediction, "_LIMIT", limit)
    made = bench(tmp_path, clock, batch_tokens=32)
    models, tasks = made.workshop.models, made.objective("dev").tasks
    answering = cost(made).answering
    before = clock.now
    made.objective("dev")(models)
    assert answering == pytest.approx(clock.now - before)
    tokens = sum(sum(task.costs) for task in tasks)
    assert answering == pytest.approx(A_TOKEN * tokens + A_CONVERSION * len(models))


def test_one_batch_has_to_do_where_it_takes_too_long(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "_LIMIT", 0.01)
    made = bench(tmp_path, clock, batch_tokens=32)
    answering, asked = cost(made).answering, clock.now
    costs = [task.costs for task in made.objective("dev").tasks]
    firsts = [A_TOKEN * each[0] + A_CONVERSION for each in costs]
    assert answering == pytest.approx(
        sum(first * sum(each) / each[0] for first, each in zip(firsts, costs, strict=True))
    )
    passes = 4 * A_PARAMETER * (1 + 2) * made.layout.size  # a floor and a merge, each once to warm up
    assert asked == pytest.approx(sum(firsts) + passes)


@pytest.mark.parametrize("part", [3000, 2**25])
@pytest.mark.parametrize(
    ("space", "passes"),
    [
        ({"kind": "coefficients", "method": "linear"}, 2.0),  # what the probe of the merge takes
        ({"kind": "coefficients", "method": "ties"}, 2.0),  # half of the most that it may take
        ({"kind": "population"}, 1.0),
        ({"kind": "paths"}, 0.0),
    ],
)
def test_a_merge_of_some_parameters_stands_for_all(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, part: int, space: Any, passes: float
) -> None:
    monkeypatch.setattr(prediction, "_PART", part)
    strategy = {"kind": "random"} if space["kind"] != "population" else {"kind": "de"}
    made = bench(tmp_path, clock, space=space, strategy=strategy)
    assert cost(made).merging == pytest.approx(passes * A_PARAMETER * made.layout.size)


def test_a_slow_merge_is_made_where_it_counts(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "merge", lambda *_: setattr(clock, "now", clock.now + 700.0))
    monkeypatch.setattr(prediction, "merge", clock.merge)
    monkeypatch.setattr(Synthetic, "floor", lambda _: setattr(clock, "now", clock.now + 100.0))
    made = bench(tmp_path, clock, space={"kind": "coefficients", "method": "ties"})
    assert cost(made).merging == pytest.approx(700.0)


def test_paths_cost_what_those_cost_that_are_asked_first(tmp_path: Path, clock: Clock) -> None:
    space = {"kind": "paths", "encoding": "indicators", "repeats": 2}
    plain = cost(bench(tmp_path / "plain", clock)).answering
    made = bench(tmp_path / "paths", clock, space=space, strategy={"kind": "random"})
    recipes = [made.space.decode(tuple(dim.default for dim in made.space.dims))]  # type: ignore[union-attr]
    asked = made.strategy()
    while len(recipes) < 16:
        recipes += [made.space.decode(each.genotype) for each in asked.ask()]
        asked.tell([0.0] * 8)
    (depth,) = made.layout.stacks.values()
    mean = statistics.mean(len(steps) for recipe in recipes for steps in recipe["stacks"].values())
    assert mean > depth
    assert cost(made).answering == pytest.approx(plain * mean / depth)


def test_a_search_on_a_part_of_dev_costs_less(tmp_path: Path, clock: Clock) -> None:
    each = Cost(merging=1.0, answering=10.0)
    config = tiny_family(tmp_path)
    whole = Bench(load(config, ["budget.evaluations=8"]))
    assert each.of(whole) == pytest.approx(8 * 11)
    part = Bench(
        load(config, ["budget.evaluations=8", "objective.subset.start=0.25", "objective.subset.rounds=2"])
    )
    assert each.of(part) == pytest.approx(8 * 1 + 10 * (1 + 3 * 0.25 + 4 * 1))
    assert each.of(Bench(load(config, ["budget={seconds: 60}"]))) is None


def test_no_weight_is_read_but_of_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Bench(load(tiny_family(tmp_path)))  # whose kinship is seen in a sample of the weights
    read: list[str] = []
    loaded = Checkpoint.load

    def load_and_note(checkpoint: Checkpoint, name: str) -> torch.Tensor:
        read.append(name)
        return loaded(checkpoint, name)

    monkeypatch.setattr(Checkpoint, "load", load_and_note)
    cost(made)
    assert set(read) == {"classifier.weight", "classifier.bias"}


def test_cutoffs_keep_the_share_that_is_wanted() -> None:
    of = Synthetic(200_000, 2, CPU)
    for expert, row in enumerate(of.deltas(slice(0, 200_000))):
        for density in (0.1, 0.5, 0.9):
            kept = row.abs() >= of.cutoff(expert, slice(0, 200_000), density)
            assert kept.double().mean().item() == pytest.approx(density, abs=0.01)


def test_synthetic_experts_differ() -> None:
    first, second = Synthetic(1000, 2, CPU).deltas(slice(0, 1000))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("has_base", [True, False])
def test_the_floor_reads_every_expert_and_writes_everything(has_base: bool) -> None:
    of = Synthetic(1000, 3, CPU, has_base=has_base)
    of.out.fill_(torch.nan)
    of.floor()
    whole = slice(0, 1000)
    base = of.base(whole)
    assert (base is not None) == has_base
    for j in range(1000):
        mean = sum(float(row[j]) for row in of.deltas(whole)) / 3
        assert float(of.out[j]) == pytest.approx(mean + (0.0 if base is None else float(base[j])), abs=1e-6)
