"""What racing saves: the tokens that are counted are those that models were given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.racing import counted, run, summary, table
from searchmerge.bench import Bench
from searchmerge.config import load
from searchmerge.types import Race
from tests.test_racing import STRATEGIES, racing_family


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(load(racing_family(tmp_path_factory.mktemp("family"), STRATEGIES["tpe"])))


def test_every_token_that_a_model_is_given_is_counted(bench: Bench) -> None:
    dev, models = bench.objective("dev"), bench.realise(bench.merge(method="linear"))
    given: list[int] = []

    def note(_: torch.nn.Module, __: tuple[object, ...], named: dict[str, torch.Tensor]) -> None:
        given.append(named["input_ids"].numel())

    hooks = [model.register_forward_pre_hook(note, with_kwargs=True) for model in models.values()]
    with counted() as tokens:
        evaluation = dev(models)
        dev.raced(models, Race(0, "wilcoxon", 0.1, 0), evaluation)
    for hook in hooks:
        hook.remove()
    assert tokens == given
    assert sum(tokens) == 2 * sum(each.cost for each in dev.asking.rounds)


def test_without_races_all_is_read_and_with_them_less(bench: Bench, tmp_path: Path) -> None:
    plain, raced = (run(bench, "tpe", level, 0, tmp_path, check=True) for level in (0.0, 0.3))
    assert plain["read"] == pytest.approx(1.0)
    assert (plain["lost"], plain["wrong"]) == (0, 0)
    assert raced["read"] < 0.9
    assert 0 <= raced["wrong"] <= raced["lost"] > 0
    again = run(bench, "tpe", 0.3, 0, tmp_path, check=True)
    assert again == raced, "it is not run anew"


def test_seeds_are_averaged_and_compared_with_runs_that_do_not_race() -> None:
    def figures(level: float, seed: int, read: float, dev: float) -> dict[str, object]:
        same = {
            "strategy": "tpe",
            "seconds": 10 * read,
            "lost": 3,
            "rejected": 4,
            "test": None,
            "wrong": None,
        }
        return {**same, "level": level, "seed": seed, "read": read, "dev": dev}

    runs = [
        figures(0.0, 0, 1, 0.5),
        figures(0.1, 0, 0.5, 0.4),
        figures(0.0, 1, 1, 0.7),
        figures(0.1, 1, 0.7, 0.7),
    ]
    assert summary(runs) == {
        "tpe_read_ratio": 0.6,
        "tpe_seconds_ratio": 0.6,
        "tpe_dev_difference": -0.05,
    }
    assert table(runs).splitlines()[3] == "| tpe, racing at 0.1 | 0.600 | 6 | 4.0 | 3.0 | – | 0.5500 | – |"
    assert np.isfinite(list(summary(runs).values())).all()
