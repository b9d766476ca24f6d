from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn

from searchmerge.layers import stacks_of
from searchmerge.layers.stacks import Place
from searchmerge.types import UserError
from tests.layers.zoo import MAKERS, tiny

NAMES = {
    "bert": {"bert.encoder.layer": 3},
    "roberta": {"roberta.encoder.layer": 3},
    "distilbert": {"distilbert.transformer.layer": 3},
    "gpt2": {"transformer.h": 3},
    "llama": {"model.layers": 3},
    "qwen2": {"model.layers": 3},
    "mistral": {"model.layers": 3},
    "gpt_neox": {"gpt_neox.layers": 3},
    "t5": {"encoder.block": 3, "decoder.block": 3},
    "t5_gated": {"encoder.block": 3, "decoder.block": 2},
}
MIXTRAL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "num_local_experts": 2,
}


@pytest.mark.parametrize("name", MAKERS)
def test_each_architecture_has_its_stacks(name: str) -> None:
    assert {stack.name: stack.length for stack in stacks_of(tiny(name))} == NAMES[name]


@pytest.mark.parametrize("name", MAKERS)
def test_the_settings_of_a_path_build_just_that_stack(name: str) -> None:
    model = tiny(name)
    for stack in stacks_of(model):
        origins = [1, 0, 1, 1]
        config = type(model.config).from_dict({**model.config.to_dict(), **stack.settings(origins)})
        grown = type(model)(config)
        sizes = {**NAMES[name], stack.name: len(origins)}
        assert {path: len(grown.get_submodule(path)) for path in sizes} == sizes


def test_aliases_are_one_counter() -> None:
    (stack,) = stacks_of(tiny("gpt2"))
    assert stack.counters == (Place("", "n_layer", config=True),)


def test_modules_that_keep_the_number_themselves_are_found() -> None:
    (stack,) = stacks_of(tiny("distilbert"))
    assert Place("distilbert.transformer", "n_layers") in stack.counters


def test_lists_with_an_entry_a_layer_are_told_from_lists_that_merely_have_that_length() -> None:
    model = hf.Qwen2ForCausalLM(
        hf.Qwen2Config(
            vocab_size=40,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            intermediate_size=24,
            eos_token_id=[1, 2],
            use_sliding_window=True,
            sliding_window=4,
            max_window_layers=1,
        )
    )
    (stack,) = stacks_of(model)
    kinds = ("full_attention", "sliding_attention")
    assert stack.lists == ((Place("", "layer_types", config=True), kinds),)
    assert stack.settings([1, 1, 0]) == {
        "num_hidden_layers": 3,
        "layer_types": [kinds[1], kinds[1], kinds[0]],
    }


@pytest.mark.parametrize("heads", [2, 3])
def test_other_settings_of_the_same_value_are_not_taken_for_the_number_of_layers(heads: int) -> None:
    sizes = {"vocab_size": 40, "hidden_size": 6 * heads, "intermediate_size": 24, "type_vocab_size": heads}
    config = hf.BertConfig(**sizes, num_hidden_layers=heads, num_attention_heads=heads, num_labels=heads)
    (stack,) = stacks_of(hf.BertForSequenceClassification(config))
    assert stack.counters == (Place("", "num_hidden_layers", config=True),)


def test_a_stack_of_one_layer_shows_what_only_a_first_layer_has() -> None:
    sizes: dict[str, Any] = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_heads": 2}
    model = hf.T5ForConditionalGeneration(hf.T5Config(**sizes, num_layers=1, num_decoder_layers=1))
    assert [stack.name for stack in stacks_of(model)] == ["encoder.block", "decoder.block"]
    for stack in stacks_of(model):
        assert [place.name for place in stack.extras] == ["relative_attention_bias"]
        assert [place.name for place, _, _ in stack.flags] == ["has_relative_attention_bias"]


def test_experts_inside_a_layer_are_no_stack() -> None:
    model = hf.MixtralForCausalLM(hf.MixtralConfig(**MIXTRAL))
    assert [stack.name for stack in stacks_of(model)] == ["model.layers"]


def test_a_model_of_unlike_layers_has_none() -> None:
    model = hf.Qwen2ForCausalLM(hf.Qwen2Config(**{k: v for k, v in MIXTRAL.items() if "experts" not in k}))
    model.model.layers[1].mlp = nn.Linear(16, 16)
    with pytest.raises(UserError) as refused:
        stacks_of(model)
    assert "list of alike layers" in refused.value.expected
    assert refused.value.got == "Qwen2ForCausalLM, which has none"
    assert refused.value.cure.startswith("search a path")


SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}


def test_a_list_that_no_setting_makes_longer_is_no_stack() -> None:
    class Extended(hf.BertModel):  # type: ignore[misc]  # transformers ships no types
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.extra = nn.ModuleList([nn.Linear(16, 16) for _ in range(2)])

    assert [stack.name for stack in stacks_of(Extended(hf.BertConfig(**SMALL)))] == ["encoder.layer"]


def test_a_model_with_weights_for_each_layer_elsewhere_has_no_stack() -> None:
    class Mixing(hf.BertModel):  # type: ignore[misc]  # transformers ships no types
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.mixture = nn.Parameter(torch.zeros(config.num_hidden_layers))

    with pytest.raises(UserError, match="got: Mixing, which has none"):
        stacks_of(Mixing(hf.BertConfig(**SMALL)))


def test_a_first_layer_with_a_bare_parameter_of_its_own_is_refused() -> None:
    class Marked(hf.BertModel):  # type: ignore[misc]  # transformers ships no types
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.encoder.layer[0].mark = nn.Parameter(torch.zeros(1))

    with pytest.raises(UserError, match="got: Marked, which has none"):
        stacks_of(Marked(hf.BertConfig(**SMALL)))
