"""What floors save is measured on runs that are the same but for what is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from benchmarks import rejection
from searchmerge.config import load
from searchmerge.objective import Objective
from tests.family import rewrite, tiny_family


@pytest.fixture
def config(tmp_path: Path) -> Path:
    config = tiny_family(tmp_path)
    objective = yaml.safe_load(config.read_text())["objective"] | {"batch_tokens": 30}
    return rewrite(config, objective=objective)


@pytest.mark.parametrize("case", ["de", "evolver-code"])
def test_a_case(config: Path, case: str) -> None:
    found = rejection.measured(load(config), case, 30)
    assert found["same_journal"] == 1
    assert found["evaluations"] == 30
    assert found["rejected"] > 2
    assert 0 < found["tokens_ratio"] < 1
    assert found["tokens_by_length_ratio"] >= found["tokens_ratio"]


def test_a_floor_that_changed_something_is_found(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = Objective._bound
    monkeypatch.setattr(Objective, "_bound", lambda self, partial: right(self, partial) - 0.1)
    monkeypatch.setattr(
        "sys.argv", ["rejection", str(config), "--evaluations", "20", "--cases", "de", "--threads", "1"]
    )
    assert rejection.main() == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["de_same_journal"] == 0
