"""Tensors of every shape, merged one by one as by a whole recipe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from searchmerge.layout import Layout, Span
from searchmerge.merging import METHODS, READINGS, find
from searchmerge.merging.magnitudes import Magnitudes
from searchmerge.merging.masks import key
from searchmerge.merging.method import Method
from searchmerge.merging.models import merge
from searchmerge.spaces.coefficients import CoefficientSpace
from tests.merging.making import Known, coarse, slab_of

NAMES = ("a", "b")
LAYOUT = Layout.of({"matrix": (6, 4), "empty": (0, 3), "bias": (5,), "number": (), "cube": (2, 3, 4)})
ROWS = {"matrix": 4, "bias": 5, "number": 1, "cube": 4}


class Models:
    """Two models and their base."""

    names = NAMES

    def __init__(self) -> None:
        self.origin, self.vectors = coarse(0, LAYOUT.size), coarse(1, 2, LAYOUT.size)
        self.magnitudes = Magnitudes(self.vectors)

    def pieces(self, run: slice) -> Iterable[slice]:
        return (run,)

    def base(self, where: slice) -> Tensor | None:
        return self.origin[where]

    def deltas(self, where: slice) -> Tensor:
        return self.vectors[:, where]

    def cutoff(self, model: int, scope: slice, density: float) -> float:
        return self.magnitudes.cutoff(model, scope, density)

    lasting = False

    def memo(self, method: str, run: slice) -> dict[str, Any]:
        return {}

    def known(self, method: Method, where: slice, span: Span) -> Known | None:
        if method.statistics is None:
            return None
        return Known(list(self.vectors[:, where].square()), [None] * len(NAMES))


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("granularity", ["model", "tensor"])
def test_every_tensor_is_merged_and_an_empty_one_stops_nothing(
    name: str, reading: str, granularity: str
) -> None:
    options = {"method": name, "reading": reading, "granularity": granularity}
    recipe = CoefficientSpace(options, experts=NAMES, layout=LAYOUT, seed=7).decode(())
    models, out = Models(), torch.full((LAYOUT.size,), torch.nan)
    merge(recipe, models, LAYOUT, out)
    assert torch.isfinite(out).all()
    method = find(name, reading)
    if method.scope == "run":
        return
    for span in LAYOUT.spans:
        if span.name == "empty":
            continue
        where = slice(span.start, span.stop)
        keys = [key(7, expert, span.name) for expert in NAMES]
        slab = slab_of(models.base(where), models.deltas(where), keys=keys, row=ROWS[span.name])
        method.merge(slab, {knob.name: knob.default(2) for knob in method.knobs})
        assert torch.equal(out[where], slab.out)


def test_what_a_method_remembers_of_the_experts_counts_as_memory() -> None:
    plain, ranked = (
        CoefficientSpace({"method": name}, experts=NAMES, layout=LAYOUT) for name in ("ties", "della")
    )
    assert plain.models == 4
    models = Models()
    memo: dict[str, Any] = {}
    slab = slab_of(models.base(slice(0, 24)), models.deltas(slice(0, 24)), row=4, memo=memo)
    method = find("della", "paper")
    method.merge(slab, {knob.name: knob.default(2) for knob in method.knobs})
    remembered = sum(tensor.nbytes for tensor in memo.values())
    assert ranked.models == 4 + remembered / slab.out.nbytes
