"""Cosines, conflicts and norms against loops over single float64 numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.compatibility import vectors
from searchmerge.compatibility.vectors import geometry
from searchmerge.layout import Layout

SHAPES = {
    "embeddings.word.weight": (4, 3),
    "layer.0.mlp.up.weight": (5, 3),
    "layer.0.norm.weight": (3,),
    "layer.1.mlp.up.weight": (5, 3),
    "layer.1.norm.weight": (3,),
    "pooler.weight": (2, 3),
}
LAYOUT = Layout.of(SHAPES)
MATRICES = ("layer.0.mlp.up.weight", "layer.1.mlp.up.weight")

numbers = st.sampled_from([0.0, 0.0, 1.0, -1.0, 0.25, -0.5, 3.0])
models = st.lists(st.lists(numbers, min_size=LAYOUT.size, max_size=LAYOUT.size), min_size=3, max_size=4)


@pytest.fixture(autouse=True, scope="module")
def _small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "_CHUNK", 4)
        yield


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    norms = math.sqrt(dot(a, a)) * math.sqrt(dot(b, b))
    return dot(a, b) / norms if norms else math.nan


def within(a: Sequence[float], *names: str) -> list[float]:
    """The numbers of some tensors."""
    return [x for span in LAYOUT.spans if span.name in names for x in a[span.start : span.stop]]


def of_layer(layer: str, left_out: str = "") -> list[str]:
    return [span.name for span in LAYOUT.spans if span.layer == layer and span.name != left_out]


@given(models, st.sampled_from(["", "pooler.weight", "layer.0.norm.weight"]))
def test_every_figure_is_that_of_a_loop(rows: list[list[float]], left_out: str) -> None:
    base, *deltas = rows
    found = geometry(torch.tensor(deltas), torch.tensor(base), LAYOUT, {left_out})
    layers = [layer for layer in LAYOUT.groups("layer") if of_layer(layer, left_out)]
    assert list(found.layers) == layers
    names = {layer: of_layer(layer, left_out) for layer in layers}
    names["all"] = [name for layer in layers for name in names[layer]]
    for i, one in enumerate(deltas, start=1):
        distance = found.distance(i)
        for j, other in enumerate(deltas, start=1):
            measured, clash = found.cosine(i, j), found.conflict(i, j)
            for layer, tensors in names.items():
                a, b = within(one, *tensors), within(other, *tensors)
                at = measured.layers[layer] if layer != "all" else measured.whole
                assert at == pytest.approx(cosine(a, b), abs=1e-12, nan_ok=True)
                opposite = sum(x * y < 0 for x, y in zip(a, b, strict=True)) / len(a)
                assert (clash.layers[layer] if layer != "all" else clash.whole) == pytest.approx(opposite)
            own, others = ([x + d for x, d in zip(base, tau, strict=True)] for tau in (one, other))
            kept = [name for name in MATRICES if name != left_out]
            assert found.weights(i, j) == pytest.approx(
                cosine(within(own, *kept), within(others, *kept)), abs=1e-9, nan_ok=True
            )
            assert found.weights(0, j) == pytest.approx(
                cosine(within(base, *kept), within(others, *kept)), abs=1e-9, nan_ok=True
            )
        for layer, tensors in names.items():
            a, origin = within(one, *tensors), within(base, *tensors)
            norm = math.sqrt(dot(origin, origin))
            wanted = math.sqrt(dot(a, a)) / norm if norm else math.nan
            at = distance.layers[layer] if layer != "all" else distance.whole
            assert at == pytest.approx(wanted, nan_ok=True)


@given(models)
def test_without_a_base_weights_are_those_of_the_models(rows: list[list[float]]) -> None:
    found = geometry(torch.tensor(rows), None, LAYOUT)
    wanted = cosine(within(rows[0], *MATRICES), within(rows[1], *MATRICES))
    assert found.weights(1, 2) == pytest.approx(wanted, abs=1e-12, nan_ok=True)


def test_small_changes_of_large_weights_keep_their_cosine() -> None:
    generator = torch.Generator().manual_seed(0)
    base = 100 * torch.randn(LAYOUT.size, generator=generator)
    deltas = 1e-4 * torch.randn(2, LAYOUT.size, generator=generator)
    a, b = deltas.double()
    wanted = float(a @ b / (a.norm() * b.norm()))
    assert geometry(deltas, base, LAYOUT).cosine(1, 2).whole == pytest.approx(wanted, rel=1e-12)
