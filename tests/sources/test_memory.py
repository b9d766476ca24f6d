from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertModel

from searchmerge.sources import memory
from tests.sources.zoo import Bench, bert, family, refused


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return family(tmp_path)


def test_the_memory_needed_is_counted_from_headers(bench: Bench) -> None:
    sources = bench.open("two", "three")
    body = sum(tensor.numel() for tensor in bert(BertModel).parameters())
    heads = (2 * 16 + 2) + (3 * 16 + 3)
    assert memory.bytes_needed(sources) == 4 * ((2 + 2) * body + 40 * 16 + heads)


def test_a_merge_that_does_not_fit_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sources, device = bench.open("two", "three"), torch.device("cpu")
    assert memory.memory_there(device) > 0
    memory.check_fits(sources, device)
    monkeypatch.setattr(memory, "memory_there", lambda _: memory.bytes_needed(sources) - 1)
    with refused("GiB of free memory on cpu for 2 experts", "0.0 GiB", "fewer experts"):
        memory.check_fits(sources, device)
