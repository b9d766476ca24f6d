from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    T5Config,
    T5Model,
)

from searchmerge.layout import GRANULARITIES, Layout

MODELS = {
    "bert": BertModel(
        BertConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16
        )
    ),
    "distilbert": DistilBertModel(
        DistilBertConfig(vocab_size=20, dim=8, n_layers=3, n_heads=2, hidden_dim=16)
    ),
    "gpt2": GPT2Model(GPT2Config(vocab_size=20, n_embd=8, n_layer=3, n_head=2, n_positions=16)),
    "llama": LlamaModel(
        LlamaConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16
        )
    ),
    "t5": T5Model(T5Config(vocab_size=20, d_model=8, num_layers=3, num_heads=2, d_kv=4, d_ff=16)),
}


def layout_of(model: str) -> Layout:
    return Layout.of({name: tuple(p.shape) for name, p in MODELS[model].named_parameters()})


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_has_one_place(model: str) -> None:
    layout = layout_of(model)
    assert layout.size == sum(parameter.numel() for parameter in MODELS[model].parameters())
    assert layout.spans[0].start == 0
    assert all(a.stop == b.start for a, b in itertools.pairwise(layout.spans))
    assert {span.name for span in layout.spans} == {name for name, _ in MODELS[model].named_parameters()}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_groups_are_contiguous_and_cover_the_vector(model: str, granularity: str) -> None:
    layout = layout_of(model)
    runs = list(layout.groups(granularity).values())  # type: ignore[arg-type]
    assert runs[0].start == 0
    assert runs[-1].stop == layout.size
    assert all(a.stop == b.start for a, b in itertools.pairwise(runs))


@pytest.mark.parametrize("model", ["bert", "distilbert", "gpt2", "llama"])
def test_layers_of_one_stack(model: str) -> None:
    groups = list(layout_of(model).groups("layer"))
    assert groups[:4] == ["embeddings", "layer.0", "layer.1", "layer.2"]
    assert groups[4:] in ([], ["head"])
    assert list(layout_of(model).groups("block"))[1:4] == [
        "layer.0.attention",
        "layer.0.mlp",
        "layer.0.norms",
    ]


def test_two_stacks_stay_apart() -> None:
    groups = list(layout_of("t5").groups("layer"))
    expected = [f"{stack}.layer.{i}" for stack in ("encoder", "decoder") for i in range(3)]
    assert groups == ["embeddings", *expected, "head"]


@pytest.mark.parametrize(
    ("model", "tensor", "block"),
    [
        ("bert", "encoder.layer.1.attention.output.LayerNorm.weight", "layer.1.norms"),
        ("bert", "encoder.layer.1.attention.output.dense.weight", "layer.1.attention"),
        ("bert", "encoder.layer.1.intermediate.dense.bias", "layer.1.mlp"),
        ("bert", "embeddings.LayerNorm.weight", "embeddings"),
        ("bert", "pooler.dense.weight", "head"),
        ("gpt2", "h.2.ln_1.weight", "layer.2.norms"),
        ("gpt2", "h.2.attn.c_proj.weight", "layer.2.attention"),
        ("gpt2", "h.2.mlp.c_fc.weight", "layer.2.mlp"),
        ("gpt2", "wpe.weight", "embeddings"),
        ("gpt2", "ln_f.weight", "head"),
        ("llama", "layers.0.self_attn.q_proj.weight", "layer.0.attention"),
        ("llama", "layers.0.post_attention_layernorm.weight", "layer.0.norms"),
        ("llama", "layers.0.mlp.gate_proj.weight", "layer.0.mlp"),
        ("llama", "norm.weight", "head"),
        ("distilbert", "transformer.layer.0.ffn.lin1.weight", "layer.0.mlp"),
        ("distilbert", "transformer.layer.0.sa_layer_norm.weight", "layer.0.norms"),
        ("t5", "decoder.block.0.layer.1.EncDecAttention.q.weight", "decoder.layer.0.attention"),
        ("t5", "decoder.block.0.layer.2.DenseReluDense.wi.weight", "decoder.layer.0.mlp"),
        ("t5", "decoder.block.0.layer.2.layer_norm.weight", "decoder.layer.0.norms"),
        ("t5", "shared.weight", "embeddings"),
    ],
)
def test_block_of_a_tensor(model: str, tensor: str, block: str) -> None:
    spans = {span.name: span for span in layout_of(model).spans}
    assert spans[tensor].block == block


@given(st.permutations([name for name, _ in MODELS["bert"].named_parameters()]))
def test_groups_do_not_depend_on_the_order_of_the_names(names: list[str]) -> None:
    shapes = {name: tuple(p.shape) for name, p in MODELS["bert"].named_parameters()}
    shuffled = Layout.of({name: shapes[name] for name in names})
    assert shuffled.groups("block") == layout_of("bert").groups("block")


@pytest.mark.parametrize(
    ("model", "stacks"),
    [
        ("bert", {"encoder.layer": 3}),
        ("distilbert", {"transformer.layer": 3}),
        ("gpt2", {"h": 3}),
        ("llama", {"layers": 3}),
        ("t5", {"encoder.block": 3, "decoder.block": 3}),
    ],
)
def test_stacks_of_layers(model: str, stacks: dict[str, int]) -> None:
    found = layout_of(model).stacks
    assert found == stacks
    assert list(found) == list(stacks)


@pytest.mark.parametrize(
    "shapes",
    [
        {"classifier.0.weight": (2, 2), "classifier.1.weight": (2, 2)},  # a list of plain matrices
        {"stages.0.conv.weight": (2, 2), "stages.1.conv.weight": (4, 2)},  # not of one shape
        {"layer.0.mlp.weight": (2, 2), "layer.2.mlp.weight": (2, 2)},  # one is missing
    ],
)
def test_lists_whose_members_cannot_take_each_others_place(shapes: dict[str, tuple[int, ...]]) -> None:
    assert Layout.of(shapes).stacks == {}
    assert Layout.of({**shapes, "body.0.mlp.weight": (2, 2)}).stacks == {"body": 1}


def test_layers_are_counted_by_number_not_by_name() -> None:
    shapes = {f"h.{k}.mlp.weight": (2, 2) for k in (10, 2, 0, 1, 3, 5, 4, 9, 8, 7, 6)}
    assert Layout.of(shapes).stacks == {"h": 11}
