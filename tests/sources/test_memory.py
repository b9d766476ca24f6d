from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertModel

from searchmerge.sources import Sources, memory
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.spaces.population import PopulationSpace
from searchmerge.types import Space
from searchmerge.workshop import Workshop, layout_of
from tests.sources.zoo import Bench, bert, family, refused
from tests.spaces.test_population import accept_all, recipes

CPU = torch.device("cpu")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return family(tmp_path)


@pytest.mark.parametrize("models", [4, 2.5, 1])
def test_the_memory_needed_is_counted_from_headers(bench: Bench, models: float) -> None:
    sources = bench.open("two", "three")
    body = sum(tensor.numel() for tensor in bert(BertModel).parameters())
    largest, heads = 40 * 16, (2 * 16 + 2) + (3 * 16 + 3)
    assert memory.bytes_needed(sources, models) == 4 * (models * body + largest + heads)


def test_a_merge_that_does_not_fit_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = bench.open("two", "three")
    assert memory.memory_there(CPU) > 0
    memory.check_fits(sources, 4, CPU)
    monkeypatch.setattr(memory, "memory_there", lambda _: memory.bytes_needed(sources, 4) - 1)
    with refused("GiB of free memory on cpu for 2 experts", "0.0 GiB", "fewer experts"):
        memory.check_fits(sources, 4, CPU)
    memory.check_fits(sources, 3.5, CPU)


@pytest.mark.parametrize(
    ("options", "copies"),
    [
        ({}, 2 + 1),
        ({"storage": "bfloat16"}, 2 / 2 + 1),
        ({"variants": {"pairs": True, "scaled": [0.5]}}, 5 + 1),
        ({"merge": "linear", "storage": "float16"}, 2 / 2 + 1),
        ({"merge": {"method": "ties", "density": 0.5}}, 2 + 1 + 1),
        ({"merge": "task_arithmetic", "storage": "bfloat16", "variants": {"pairs": True}}, 3 / 2 + 1 + 1),
    ],
    ids=str,
)
def test_a_population_holds_the_copies_that_it_says(
    bench: Bench, options: dict[str, Any], copies: float
) -> None:
    sources = bench.open("two", "three")
    space = PopulationSpace(options, experts=tuple(sources.experts), layout=layout_of(sources))
    assert space.models == copies
    assert held(sources, space) == copies


@pytest.mark.parametrize(("storage", "share"), [("float32", 1), ("bfloat16", 1 / 2), ("float16", 1 / 2)])
@pytest.mark.parametrize("base", ["base", None])
def test_the_coefficient_space_holds_no_more_copies_than_it_says(
    bench: Bench, base: str | None, storage: str, share: float
) -> None:
    sources = bench.open("two", "three", base=base)
    space = CoefficientSpace(
        {"method": "linear", "storage": storage},
        experts=tuple(sources.experts),
        layout=layout_of(sources),
        has_base=bool(base),
    )
    assert space.models == 2 * share + 2
    assert held(sources, space) == (space.models if base else space.models - 1)


def held(sources: Sources, space: Space) -> float:
    """Copies of the merged parameters, counted in float32, that some trials leave in memory.

    They are looked for among all tensors that have come to be: what is as long as a copy or several.
    """
    gc.freeze()  # who was there before is not listed
    try:
        workshop = Workshop(sources, ["two"], CPU)
        if isinstance(space, PopulationSpace):
            for recipe in recipes(space, accept_all, 12, rule="evolver-code", update="sequential"):
                space.realise(recipe, workshop)
        else:
            space.realise(space.decode(()), workshop)
        gc.collect()
        found = [each for each in gc.get_objects() if issubclass(type(each), Tensor) and each.device == CPU]
    finally:
        gc.unfreeze()
    storages = [tensor.untyped_storage() for tensor in found]
    sizes: dict[int, int] = {storage.data_ptr(): storage.nbytes() for storage in storages}
    half = 2 * workshop.layout.size
    return sum(nbytes for nbytes in sizes.values() if nbytes % half == 0) / (2 * half)
