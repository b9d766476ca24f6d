"""What quicker statistics differ by is measured against those in float32."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import statistics
from tests.family import rewrite, tiny_family

DATA = {"animals": "data/animals.dev.jsonl", "colours": "data/colours.dev.jsonl"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    config = tiny_family(tmp_path)
    return rewrite(config, statistics={"data": DATA})


def test_products_of_fewer_bits_differ_by_little(config: Path) -> None:
    found = statistics.entry_errors(config)
    assert 1e-5 < found["bfloat16_entry_difference"] < 0.02
    assert 1e-5 < found["int8_entry_difference"] < 0.05


def test_so_do_the_merges_and_those_by_float32_not_at_all(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "ALPHAS", (0.5,))
    found = statistics.merge_errors(config)
    assert found.keys() == {
        "regmean_0.5_float32_score",
        *(f"regmean_0.5_{each}_{what}" for each in ("bfloat16", "int8") for what in ("score", "difference")),
    }
    for each in ("bfloat16", "int8"):
        assert 0 < found[f"regmean_0.5_{each}_difference"] < 0.2
