"""The GPU benchmark on the CPU, small: its figures belong together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.gpu import LAYERS, WORDS, measured, write_family


def test_its_figures_belong_together(tmp_path: Path) -> None:
    write_family(tmp_path, 1)
    figures = measured(tmp_path, torch.device("cpu"), 8)
    wide = 64
    a_layer = 4 * wide**2 + 3 * wide * 4 * wide + 2 * wide
    parameters = (
        LAYERS * a_layer + WORDS * wide + wide + 2 * wide
    )  # embeddings, last norm, a head of two labels
    assert figures["parameters_millions"] * 1e6 == pytest.approx(parameters)
    # A copy reads and writes; a merge reads a base and four experts and writes.
    for name, passes in {"copy": 2, "merge": 6}.items():
        moved = 1e9 * figures[f"{name}_gigabytes_a_second"] * figures[f"{name}_seconds"]
        assert moved == pytest.approx(passes * 4 * parameters)
    rates = [figures[f"{name}_gigabytes_a_second"] for name in ("merge", "copy")]
    assert figures["merge_bandwidth_ratio"] == pytest.approx(rates[0] / rates[1])
    assert not any(name.endswith("_waits") for name in figures)
