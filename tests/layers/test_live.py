from __future__ import annotations

import gc
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from searchmerge.layers import Stack, Step, lay, shared, stacks_of
from searchmerge.types import UserError
from tests.layers.zoo import MAKERS, inputs, layers_of, random_path, texts, tiny

Array = npt.NDArray[np.float64]


def logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(**batch).logits
    return found


def identity(model: Any, stack: Stack) -> list[Step]:
    return [Step(layer, at) for at, layer in enumerate(layers_of(model, stack))]


@pytest.mark.parametrize("name", MAKERS)
def test_the_path_of_a_models_own_layers_changes_no_bit(name: str) -> None:
    model, rng = tiny(name), np.random.default_rng(0)
    batch = inputs(model, rng)
    before = logits(model, batch)
    for stack in stacks_of(model):
        lay(model, stack, identity(model, stack))
    assert torch.equal(logits(model, batch), before)


@pytest.mark.parametrize("name", MAKERS)
def test_the_path_of_a_sources_layers_under_its_own_rest_is_the_source(name: str) -> None:
    model, source, rng = tiny(name), tiny(name, seed=1), np.random.default_rng(0)
    stacks = stacks_of(model)
    lists = {stack: identity(source, stack) for stack in stacks}
    for stack in stacks:  # something else first: what a path leaves behind must not show in the next one
        lay(model, stack, random_path(rng, [layers_of(source, stack)]))
        lay(model, stack, lists[stack])
    inner = tuple(f"{stack.name}." for stack in stacks)
    rest = {
        key: tensor
        for key, tensor in source.state_dict().items()
        if not key.startswith(inner) or "relative_attention_bias" in key
    }
    model.load_state_dict(rest, strict=False)
    batch = inputs(model, rng)
    assert torch.equal(logits(model, batch), logits(source, batch))


@pytest.mark.parametrize("name", MAKERS)
def test_laid_layers_read_the_config_of_the_model_that_they_are_in(name: str) -> None:
    model, source, rng = tiny(name), tiny(name, seed=1), np.random.default_rng(4)
    own = {id(part.config) for part in model.modules() if hasattr(part, "config")}
    for stack in stacks_of(model):
        lay(model, stack, random_path(rng, [layers_of(source, stack)]))
    assert {id(part.config) for part in model.modules() if hasattr(part, "config")} <= own


@pytest.mark.parametrize("name", MAKERS)
def test_no_weight_is_copied_and_the_sources_stay_as_they_were(name: str) -> None:
    model, source = tiny(name), tiny(name, seed=1)
    for stack in stacks_of(model):
        layers = layers_of(source, stack)
        positions = [[vars(part).get("layer_idx") for part in layer.modules()] for layer in layers]
        names = [list(layer.state_dict()) for layer in layers]
        lay(model, stack, [Step(layers[1], 1, 0.5), Step(layers[0], 0), Step(layers[1], 1)])
        for laid, origin in zip(layers_of(model, stack), (1, 0, 1), strict=True):
            own = dict(laid.named_parameters())
            for key, parameter in layers[origin].named_parameters():
                if "relative_attention_bias" not in key:
                    assert own[key] is parameter
        for layer, before, keys in zip(layers, positions, names, strict=True):
            assert [vars(part).get("layer_idx") for part in layer.modules()] == before
            assert list(layer.state_dict()) == keys
            assert not layer._forward_pre_hooks


def test_relative_positions_are_the_models_and_only_the_first_steps() -> None:
    model, source = tiny("t5"), tiny("t5", seed=1)
    for stack in stacks_of(model):
        place = "layer.0.SelfAttention"
        own = model.get_submodule(f"{stack.name}.0.{place}").relative_attention_bias.weight
        layers = layers_of(source, stack)
        for origins in ([2, 0, 1, 0], [0, 0], [1]):
            lay(model, stack, [Step(layers[origin], origin) for origin in origins])
            parts: list[Any] = [layer.get_submodule(place) for layer in layers_of(model, stack)]
            assert parts[0].relative_attention_bias.weight is own
            assert [part.has_relative_attention_bias for part in parts] == [
                at == 0 for at in range(len(parts))
            ]
            assert not any(hasattr(part, "relative_attention_bias") for part in parts[1:])


def test_the_kind_of_attention_goes_with_the_layer() -> None:
    model, rng = tiny("qwen2"), np.random.default_rng(10)
    (stack,) = stacks_of(model)
    layers = layers_of(model, stack)
    full, sliding = "full_attention", "sliding_attention"
    tokens = texts(rng, rows=1, length=9)
    other = torch.cat([tokens[:, :1] % 37 + 2, tokens[:, 1:]], dim=1)
    for origins, kinds in (([1, 2], [sliding, sliding]), ([2, 0, 0], [sliding, full, full])):
        lay(model, stack, [Step(layers[origin], origin) for origin in origins])
        assert model.config.layer_types == kinds
        ends = [logits(model, {"input_ids": text})[0, -1] for text in (tokens, other)]
        # Two layers with a window of four see no further back than seven tokens.
        assert torch.equal(ends[0], ends[1]) == (full not in kinds)


def test_two_live_models_of_different_classes_are_laid_with_the_same_steps() -> None:
    headed, source, rng = tiny("bert"), tiny("bert", seed=1), np.random.default_rng(5)
    body = tiny("bert").bert
    (stack,), (inner,) = stacks_of(headed), stacks_of(body)
    path = random_path(rng, [layers_of(source, stack)])
    lay(headed, stack, path)
    lay(body, inner, path)
    batch = inputs(headed, rng)
    with torch.no_grad():
        assert torch.equal(headed.bert(**batch).last_hidden_state, body(**batch).last_hidden_state)


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_hidden_states_are_those_of_the_path_whenever_they_were_first_asked_for(name: str) -> None:
    model, rng = tiny(name), np.random.default_rng(6)
    (stack,) = stacks_of(model)
    layers = layers_of(tiny(name, seed=1), stack)
    batch = inputs(model, rng)
    for count in (3, 5, 1):
        lay(model, stack, [Step(layers[0], 0, 1.5)] * count)
        with torch.no_grad():
            assert len(model(**batch, output_hidden_states=True).hidden_states) == count + 1


def test_a_thousand_paths_leave_nothing_behind() -> None:
    model, source, rng = tiny("t5"), tiny("t5", seed=1), np.random.default_rng(7)
    stacks = stacks_of(model)
    batch = {**inputs(model, rng), "output_hidden_states": True}
    steps = {
        stack: [Step(layers_of(source, stack)[at % 3], at % 3, 1.5) for at in range(3)] for stack in stacks
    }

    def census() -> int:
        with torch.no_grad():
            model(**batch)
        gc.collect()
        things = sum(issubclass(type(thing), nn.Module | Tensor) for thing in gc.get_objects())
        kept = [value for part in model.modules() for value in vars(part).values()]
        return things + sum(len(value) for value in kept if isinstance(value, dict | set | list))

    counts = []
    for laid in range(1000):
        for stack in stacks:
            lay(model, stack, steps[stack])
        if laid in (1, 999):
            counts.append(census())
    assert counts[0] == counts[1]


def test_a_copy_has_its_own_attributes_hooks_and_parts() -> None:
    layer: Any = layers_of(tiny("gpt2"), stacks_of(tiny("gpt2"))[0])[0]
    copy: Any = shared(layer)
    copy.attn.layer_idx = 7
    copy.attn.register_forward_hook(lambda *_: None)
    copy.ln_1 = nn.Identity()
    assert layer.attn.layer_idx == 0
    assert not layer.attn._forward_hooks
    assert isinstance(layer.ln_1, nn.LayerNorm)
    assert copy.attn.c_attn.weight is layer.attn.c_attn.weight


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_must_be_finite_and_positive(scale: float) -> None:
    with pytest.raises(UserError) as refused:
        Step(nn.Linear(2, 2), 3, scale)
    assert "above 0" in refused.value.expected
    assert refused.value.got == f"{scale} for a copy of layer 3"
    assert "scales: off" in refused.value.cure


def test_a_path_needs_a_step() -> None:
    model = tiny("bert")
    with pytest.raises(UserError, match=r"at least one layer for bert\.encoder\.layer"):
        lay(model, stacks_of(model)[0], [])


# Witnesses: a whole model in numpy, float64, one text at a time, written from the papers' formulas.


def numbers(module: nn.Module) -> dict[str, Array]:
    return {key: tensor.double().numpy() for key, tensor in module.state_dict().items()}


def normed(x: Array, weights: dict[str, Array], name: str, epsilon: float) -> Array:
    spread = np.sqrt(x.var(axis=-1, keepdims=True) + epsilon)
    scaled: Array = (x - x.mean(axis=-1, keepdims=True)) / spread * weights[f"{name}.weight"]
    return scaled + weights[f"{name}.bias"]


def attended(queries: Array, keys: Array, values: Array, causal: bool) -> Array:
    """Two heads of eight, each ``[tokens, 16]``."""
    out = np.zeros_like(queries)
    for head in (slice(0, 8), slice(8, 16)):
        for token in range(len(queries)):
            seen = token + 1 if causal else len(keys)
            weights = np.exp(keys[:seen, head] @ queries[token, head] / np.sqrt(8))
            out[token, head] = weights @ values[:seen, head] / weights.sum()
    return out


def gpt2_layer(x: Array, w: dict[str, Array]) -> Array:
    inner = normed(x, w, "ln_1", 1e-5) @ w["attn.c_attn.weight"] + w["attn.c_attn.bias"]
    queries, keys, values = np.split(inner, 3, axis=-1)
    heads = attended(queries, keys, values, causal=True)
    x = x + heads @ w["attn.c_proj.weight"] + w["attn.c_proj.bias"]
    inner = normed(x, w, "ln_2", 1e-5) @ w["mlp.c_fc.weight"] + w["mlp.c_fc.bias"]
    inner = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
    found: Array = x + inner @ w["mlp.c_proj.weight"] + w["mlp.c_proj.bias"]
    return found


def bert_layer(x: Array, w: dict[str, Array]) -> Array:
    def linear(states: Array, name: str) -> Array:
        found: Array = states @ w[f"{name}.weight"].T + w[f"{name}.bias"]
        return found

    queries, keys, values = (linear(x, f"attention.self.{part}") for part in ("query", "key", "value"))
    heads = linear(attended(queries, keys, values, causal=False), "attention.output.dense")
    x = normed(x + heads, w, "attention.output.LayerNorm", 1e-12)
    inner = linear(x, "intermediate.dense")
    inner = 0.5 * inner * (1 + np.vectorize(math.erf)(inner / np.sqrt(2)))
    return normed(x + linear(inner, "output.dense"), w, "output.LayerNorm", 1e-12)


def test_a_pre_norm_path_is_the_loop_over_its_scaled_layers() -> None:
    model, source, rng = tiny("gpt2"), tiny("gpt2", seed=1), np.random.default_rng(8)
    (stack,) = stacks_of(model)
    sources, rest = [layers_of(model, stack), layers_of(source, stack)], numbers(model)
    for _ in range(5):
        path = random_path(rng, sources)
        lay(model, stack, path)
        tokens = texts(rng, rows=1)
        x = rest["transformer.wte.weight"][tokens[0]] + rest["transformer.wpe.weight"][:7]
        for step in path:
            x = gpt2_layer(step.scale * x, numbers(step.layer))
        expected = normed(x, rest, "transformer.ln_f", 1e-5) @ rest["lm_head.weight"].T
        np.testing.assert_allclose(logits(model, {"input_ids": tokens})[0], expected, rtol=1e-3, atol=1e-3)


def test_a_post_norm_path_is_the_loop_over_its_scaled_layers() -> None:
    model, source, rng = tiny("bert"), tiny("bert", seed=1), np.random.default_rng(9)
    (stack,) = stacks_of(model)
    sources, rest = [layers_of(model, stack), layers_of(source, stack)], numbers(model)
    tables = "bert.embeddings"
    for _ in range(5):
        path = random_path(rng, sources)
        lay(model, stack, path)
        tokens = texts(rng, rows=1)
        x = rest[f"{tables}.word_embeddings.weight"][tokens[0]]
        x = x + rest[f"{tables}.position_embeddings.weight"][:7]
        x = normed(x + rest[f"{tables}.token_type_embeddings.weight"][0], rest, f"{tables}.LayerNorm", 1e-12)
        for step in path:
            x = bert_layer(step.scale * x, numbers(step.layer))
        pooled = np.tanh(x[0] @ rest["bert.pooler.dense.weight"].T + rest["bert.pooler.dense.bias"])
        expected = pooled @ rest["classifier.weight"].T + rest["classifier.bias"]
        np.testing.assert_allclose(logits(model, {"input_ids": tokens})[0], expected, rtol=1e-3, atol=1e-3)
