"""Examples in groups by how hard they are, from the plain average of the experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.bench import Bench
from searchmerge.config import Part, load
from searchmerge.objective.difficulty import GROUPS, groups
from tests.family import rewrite, tiny_family


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60))
def test_groups_are_equal_and_the_hardest_come_first(difficulty: list[float]) -> None:
    of = groups(np.array(difficulty))
    sizes = np.bincount(of, minlength=GROUPS)
    assert sizes.sum() == len(difficulty)
    assert sizes.max() - sizes.min() <= 1
    for group in range(GROUPS - 1):
        harder, easier = (np.array(difficulty)[of == each] for each in (group, group + 1))
        assert not len(harder) or not len(easier) or harder.min() >= easier.max()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tiny_family(tmp_path)


def of_kind(config: Path, kind: str, **objective: Any) -> Bench:
    content = yaml.safe_load(config.read_text())["objective"] | objective
    space = {"kind": kind} | ({"method": "linear", "weight": [0, 1]} if kind == "coefficients" else {})
    return Bench(load(rewrite(config, objective=content, space=space, strategy={"kind": "de"})))


def test_the_average_says_what_is_hard(config: Path) -> None:
    """Against logits of single texts: how far the best wrong label is above the right one."""
    bench = of_kind(config, "coefficients", batches="difficulty")
    models = bench.realise(bench.merge(method="linear"))
    plain = of_kind(config, "coefficients").objective("dev")
    dev = bench.objective("dev")
    for task, alone in zip(dev.tasks, plain.tasks, strict=True):
        difficulty = np.empty(task.examples)
        for number, batch in enumerate(alone.batches.batches):
            for row, example in enumerate(alone.batches.examples(number)):
                length = int(batch["attention_mask"][row].sum()) if "attention_mask" in batch else None
                with torch.no_grad():
                    ids = batch["input_ids"][row : row + 1, :length]
                    logits = models[task.head](input_ids=ids).logits[0].numpy()
                wrong = np.delete(logits, task.gold[example])
                difficulty[example] = wrong.max() - logits[task.gold[example]]
        assert np.ptp(difficulty) > 1e-3, "the texts differ"
        hardest = set(np.argsort(-difficulty)[: task.examples // GROUPS])
        first = set(task.batches.order[: task.examples // GROUPS])
        assert first == hardest


@pytest.mark.parametrize(
    ("kind", "batches", "grouped"),
    [
        ("population", None, True),
        ("coefficients", None, False),
        ("population", "length", False),
        ("coefficients", "difficulty", True),
    ],
)
def test_a_population_has_batches_by_difficulty_and_others_where_asked(
    config: Path, kind: str, batches: str | None, grouped: bool
) -> None:
    bench = of_kind(config, kind, **({"batches": batches} if batches else {}))
    assert [task.batches.grouped for task in bench.objective("dev").tasks] == [grouped] * 2
    assert [task.batches.grouped for task in bench.part_of_dev(0.5).tasks] == [grouped] * 2
    assert not any(task.batches.grouped for task in bench.objective("test").tasks)
    assert not any(task.batches.grouped for task in bench.unrelated("dev").tasks), "no weight is read for it"


def test_scores_are_those_of_other_batches_and_outcomes_stand_in_the_order_of_the_data(config: Path) -> None:
    plain, grouped = (of_kind(config, "coefficients", batches=each) for each in ("length", "difficulty"))
    recipe = plain.merge(method="linear", weight={"animals": 0.7, "colours": 0.3})
    one, other = plain.evaluate(recipe), grouped.evaluate(recipe)
    assert one.score == other.score
    for name in one.outcomes:
        assert np.array_equal(one.outcomes[name], other.outcomes[name])
    digests = [bench.objective("dev").fingerprint for bench in (plain, grouped)]
    assert digests[0] != digests[1]


def test_a_run_may_go_on_where_other_texts_are_hard(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on another processor, whose last digits differ."""
    first = of_kind(config, "population").objective("dev")
    monkeypatch.setattr("searchmerge.objective.groups", lambda difficulty: groups(-np.asarray(difficulty)))
    second = of_kind(config, "population").objective("dev")
    assert [t.batches.order.tolist() for t in first.tasks] != [t.batches.order.tolist() for t in second.tasks]
    assert first.fingerprint == second.fingerprint


def test_spaces_of_one_bench_keep_their_own_batches(config: Path) -> None:
    population = of_kind(config, "population")
    coefficients = population.searched_by(Part(kind="random"), 0, Part(kind="coefficients", method="linear"))
    grouped = [bench.objective("dev").tasks[0].batches.grouped for bench in (population, coefficients)]
    assert grouped == [True, False]
    assert population.objective("dev") is population.objective("dev")


def test_the_average_is_the_linear_merge_and_nothing_stays_for_it(config: Path) -> None:
    bench = of_kind(config, "population")
    bench.objective("dev")
    assert bench.workshop.resident is None
    found = bench.workshop.written.weights.clone()
    bench.realise(bench.merge(method="linear"))
    torch.testing.assert_close(found, bench.workshop.written.weights, rtol=0, atol=1e-6)


def test_where_the_average_has_no_finite_answers_no_text_is_harder_than_another(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An average that overflows is no reason not to search."""
    bench = of_kind(config, "population")
    average = bench.workshop.average

    def overflowing() -> Any:
        models = average()
        bench.workshop.live.fill_(float("nan"))
        return models

    monkeypatch.setattr(bench.workshop, "average", overflowing)
    dev = bench.objective("dev")
    assert all(task.batches.grouped for task in dev.tasks)
    for task in dev.tasks:
        widths = [batch["input_ids"].shape[1] for batch in task.batches.batches]
        assert widths == sorted(widths, reverse=True), "one group, the longest first"
    assert dev(bench.realise(bench.alone("animals"))).score > 0


def test_a_function_is_not_asked_how_hard_its_examples_are(config: Path) -> None:
    (config.parent / "scores.py").write_text(
        "def score(model, tokenizer, examples):\n    raise RuntimeError('asked')\n", encoding="utf-8"
    )
    content = yaml.safe_load(config.read_text())["objective"]
    content["tasks"].append({"name": "mine", "kind": "python", "function": "scores.py:score", "best": 1.0})
    bench = of_kind(config, "population", **content)
    assert [task.batches.grouped for task in bench.objective("dev").tasks] == [True, True, False]
