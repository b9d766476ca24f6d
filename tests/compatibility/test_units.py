"""Hidden units that were exchanged by hand: the model computes the same, and the exchange is found."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from searchmerge.compatibility import units as room
from searchmerge.compatibility.units import Weights, compare, find, match, units
from searchmerge.layout import Layout
from tests.sources.zoo import ZOO, near

INCOMING = ("intermediate.dense", "c_fc", "gate_proj", "up_proj", "DenseReluDense.wi")
OUTGOING = (".output.dense", "mlp.c_proj", "down_proj", "DenseReluDense.wo")
MODELS = ["bert", "gpt2", "llama-tied", "t5"]
LAYERS = {"t5": [f"{stack}.layer.{i}" for stack in ("encoder", "decoder") for i in range(2)]}


def layout_of(model: nn.Module) -> Layout:
    return Layout.of({name: tuple(p.shape) for name, p in model.named_parameters()})


def weights_of(model: nn.Module) -> Weights:
    state = model.state_dict()
    return lambda span: state[span.name]


def exchange(model: nn.Module, order: Tensor) -> None:
    """Put the hidden units of every MLP in another order."""
    for name, module in model.named_modules():
        if not hasattr(module, "weight") or "attention" in name:
            continue
        transposed = type(module).__name__ == "Conv1D"
        if name.endswith(INCOMING):
            module.weight.data = module.weight.data[:, order] if transposed else module.weight.data[order]
            if getattr(module, "bias", None) is not None:
                module.bias.data = module.bias.data[order]
        elif name.endswith(OUTGOING):
            module.weight.data = module.weight.data[order] if transposed else module.weight.data[:, order]


def logits(model: Any) -> Tensor:
    ids = torch.arange(3, 15).reshape(2, 6)
    more = {"decoder_input_ids": ids} if model.config.model_type == "t5" else {}
    with torch.inference_mode():
        found: Tensor = model(input_ids=ids, **more).logits
    return found


@pytest.mark.parametrize("name", MODELS)
def test_a_planted_order_is_found_and_leaves_the_model_as_it_was(name: str) -> None:
    model, shuffled = (near(ZOO[name](), seed=2, scale=0.1) for _ in range(2))  # biases are 0 at first
    mlps = find(layout_of(model))
    assert [mlp.layer for mlp in mlps] == LAYERS.get(name, ["layer.0", "layer.1"])
    width = mlps[0].width
    assert width == (64 if name == "gpt2" else 24)
    order = torch.randperm(width, generator=torch.Generator().manual_seed(1))
    exchange(shuffled, order)
    torch.testing.assert_close(logits(shuffled), logits(model))
    fixed = int((order == torch.arange(width)).sum()) / width
    for mlp in mlps:
        ours, theirs = units(mlp, weights_of(model)), units(mlp, weights_of(shuffled))
        assert torch.equal(theirs, ours[order])  # with their biases, gates and outgoing weights, all of them
        found, cosine = match(theirs, ours)
        assert found.tolist() == order.tolist()
        assert cosine == pytest.approx(1, abs=1e-6)
        assert compare(mlp, weights_of(model), weights_of(shuffled)).in_place == fixed


@pytest.mark.parametrize("name", MODELS)
def test_noise_like_fine_tunings_moves_no_unit(name: str) -> None:
    model, tuned = ZOO[name](), near(ZOO[name](), seed=3)
    for mlp in find(layout_of(model)):
        assert compare(mlp, weights_of(model), weights_of(tuned)).in_place == 1


@pytest.mark.parametrize("name", MODELS)
def test_a_unit_has_one_slice_of_each_tensor_of_its_mlp(name: str) -> None:
    tensors = {"bert": 3, "gpt2": 3, "llama-tied": 3, "t5": 2}[name]
    model = ZOO[name]()
    for mlp in find(layout_of(model)):
        assert len(mlp.parts) == tensors
        assert all("mlp" in span.block for span in mlp.parts)


def test_gate_and_incoming_weights_in_one_matrix() -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(2):
        shapes |= {f"layers.{layer}.mlp.Wi.weight": (12, 4), f"layers.{layer}.mlp.Wo.weight": (4, 6)}
        shapes |= {f"layers.{layer}.mlp.Wi.bias": (12,), f"layers.{layer}.mlp.Wo.bias": (4,)}
    mlp = find(Layout.of(shapes))[0]
    assert mlp.width == 6
    fused, bias, out = torch.randn(12, 4), torch.randn(12), torch.randn(4, 6)
    tensors = {"Wi.weight": fused, "Wi.bias": bias, "Wo.weight": out}
    found = units(mlp, lambda span: tensors[span.name.split("mlp.")[1]])
    for unit in range(6):
        halves = torch.cat([fused[unit], fused[6 + unit], bias[[unit, 6 + unit]], out[:, unit]])
        assert torch.equal(found[unit].sort().values, halves.sort().values)


def test_layers_without_a_pair_of_matrices_have_no_mlp() -> None:
    shapes = {f"layers.{i}.dense.weight": (8, 4) for i in range(2)}
    assert find(Layout.of(shapes)) == ()


@given(st.integers(1, 5), st.integers(0, 10**6))
def test_the_order_is_the_best_of_all(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.standard_normal((2, count, 3)).astype(np.float32)

    def worth(order: tuple[int, ...]) -> float:
        return sum(float(np.dot(one[i].astype(float), other[j].astype(float))) for i, j in enumerate(order))

    found, cosine = match(torch.from_numpy(one), torch.from_numpy(other))
    best = max(itertools.permutations(range(count)), key=worth)
    assert worth(tuple(found)) == pytest.approx(worth(best), rel=1e-4, abs=1e-4)
    norms = np.linalg.norm(one.astype(float)) * np.linalg.norm(other.astype(float))
    assert cosine == pytest.approx(worth(tuple(found)) / norms, abs=1e-6)


def test_dead_units_stay() -> None:
    alive = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    alive[[1, 4, 6]] = 0
    assert match(alive, alive)[0].tolist() == list(range(8))
    assert match(torch.zeros(4, 2), torch.zeros(4, 2))[0].tolist() == list(range(4))


def test_units_that_rounding_alone_tells_apart_stay() -> None:
    # Exchanged, their products sum to 2 + 1.2e-7 in float32, the next number above 2.
    one = torch.tensor([[1.0, 0.0], [1.0, 3e-4]])
    other = torch.tensor([[1.0, 3e-4], [1.0, 0.0]])
    assert match(one, other)[0].tolist() == [0, 1]


def test_of_wide_mlps_some_units_are_matched_the_same_in_both(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ZOO["gpt2"]()
    mlp = find(layout_of(model))[0]
    monkeypatch.setattr(room, "MOST", 16)
    same = compare(mlp, weights_of(model), weights_of(model))
    assert (same.width, same.units, same.in_place) == (64, 16, 1.0)
    exchange(model, torch.arange(64).roll(1))
    assert compare(mlp, weights_of(ZOO["gpt2"]()), weights_of(model)).in_place < 0.3
