from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from torch import Tensor

from searchmerge.layers import Rule, Stack, Step, folded, folding, lay, plain, stacks_of
from searchmerge.quiet import quiet
from searchmerge.types import UserError
from tests.layers.zoo import MAKERS, WRITERS, inputs, layers_of, random_path, randomised, texts, tiny

PATHS = 20  # of each architecture


class Laid:
    """Two sources and a live model of one architecture; every path goes through the sources' layers."""

    def __init__(self, name: str) -> None:
        self.name, self.live = name, tiny(name)
        self.stacks = stacks_of(self.live)
        sources = [tiny(name, seed=1), tiny(name, seed=2)]
        self.layers = {stack: [layers_of(source, stack) for source in sources] for stack in self.stacks}

    def lay(self, rng: np.random.Generator, *, scaled: bool = True) -> None:
        for stack in self.stacks:
            lay(self.live, stack, random_path(rng, self.layers[stack], scaled=scaled))

    def rules(self, *, scaled: bool = True) -> dict[Stack, Rule]:
        return {stack: rule(self.name, stack, scaled) for stack in self.stacks}


@cache
def rule(name: str, stack: Stack, scaled: bool) -> Rule:
    return folding(tiny(name), stack, scaled=scaled)


def reloaded(live: Any, rules: dict[Stack, Rule], folder: Path) -> Any:
    with quiet():
        live.save_pretrained(folder, state_dict=folded(live, rules))
        return type(live).from_pretrained(folder).eval()


def logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(**batch).logits
    return found


@pytest.mark.parametrize("name", MAKERS)
def test_a_scaled_path_saved_and_read_again_by_the_plain_class_answers_alike(
    name: str, tmp_path: Path
) -> None:
    case, rng = Laid(name), np.random.default_rng(0)
    rules = case.rules()
    for _ in range(PATHS):
        case.lay(rng)
        batch = inputs(case.live, rng)
        expected = logits(case.live, batch)
        got = logits(reloaded(case.live, rules, tmp_path), batch)
        assert (got - expected).abs().max() < 1e-3 * expected.std()
        assert torch.equal(logits(case.live, batch), expected)  # folding leaves the live model as it was


@pytest.mark.parametrize("name", MAKERS)
def test_a_path_without_scales_is_saved_to_the_bit(name: str, tmp_path: Path) -> None:
    case, rng = Laid(name), np.random.default_rng(1)
    case.lay(rng, scaled=False)
    batch = inputs(case.live, rng)
    for rules in (case.rules(), case.rules(scaled=False)):
        assert torch.equal(logits(reloaded(case.live, rules, tmp_path), batch), logits(case.live, batch))


@pytest.mark.parametrize("name", WRITERS)
def test_live_and_reloaded_write_the_same_with_and_without_a_cache(name: str, tmp_path: Path) -> None:
    case, rng = Laid(name), np.random.default_rng(2)
    rules = case.rules()
    for _ in range(4):
        case.lay(rng)
        prompt = texts(rng, rows=2)
        copy = reloaded(case.live, rules, tmp_path)
        written = [
            model.generate(prompt, max_new_tokens=10, min_new_tokens=10, do_sample=False, use_cache=cache)
            for model in (case.live, copy)
            for cache in (True, False)
        ]
        assert written[0].shape[1] >= 10
        for other in written[1:]:
            assert torch.equal(written[0], other)


@pytest.mark.parametrize("name", ["t5", "t5_gated"])
@pytest.mark.parametrize("sizes", [(1, 4), (4, 1)])
def test_each_stack_of_an_encoder_decoder_has_its_own_length(
    name: str, sizes: tuple[int, int], tmp_path: Path
) -> None:
    case, rng = Laid(name), np.random.default_rng(3)
    for stack, size in zip(case.stacks, sizes, strict=True):
        lay(case.live, stack, [Step(case.layers[stack][at % 2][1], 1, 1.2) for at in range(size)])
    copy = reloaded(case.live, case.rules(), tmp_path)
    assert (copy.config.num_layers, copy.config.num_decoder_layers) == sizes
    prompt = texts(rng)
    written = [
        model.generate(prompt, max_new_tokens=8, do_sample=False, use_cache=cache)
        for model in (case.live, copy)
        for cache in (True, False)
    ]
    for other in written[1:]:
        assert torch.equal(written[0], other)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_a_layer_used_twice_is_two_copies_and_the_rest_stays_one(name: str) -> None:
    case = Laid(name)
    (stack,) = case.stacks
    layer = case.layers[stack][0][1]
    lay(case.live, stack, [Step(layer, 1), Step(layer, 1)])
    state = folded(case.live, case.rules())
    body = [tensor.data_ptr() for key, tensor in state.items() if key.startswith(stack.name)]
    assert len(set(body)) == len(body)
    assert not set(body) & {parameter.data_ptr() for parameter in case.live.parameters()}
    if name == "gpt2":
        assert state["lm_head.weight"].data_ptr() == state["transformer.wte.weight"].data_ptr()


def test_a_plain_model_is_of_the_same_class_and_shares_nothing() -> None:
    case = Laid("llama")
    case.lay(np.random.default_rng(4))
    copy = plain(case.live, case.rules())
    assert type(copy) is type(case.live)
    assert not any(module._forward_pre_hooks for module in copy.modules())
    own = {parameter.data_ptr() for parameter in case.live.parameters()}
    assert not own & {parameter.data_ptr() for parameter in copy.parameters()}


def test_folded_scales_are_where_the_algebra_puts_them() -> None:
    case = Laid("llama")
    (stack,) = case.stacks
    layers = case.layers[stack][0]
    lay(case.live, stack, [Step(layers[0], 0, 0.5), Step(layers[1], 1, 3.0)])
    state = folded(case.live, case.rules())
    for at, factor in enumerate((0.5, 1.5)):
        source = layers[at].state_dict()
        for key, tensor in source.items():
            divided = key.startswith(("self_attn.o_proj", "mlp.down_proj"))
            expected = tensor / factor if divided else tensor
            assert torch.equal(state[f"model.layers.{at}.{key}"], expected), key


SMALL: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "pad_token_id": 0,
}
T5: dict[str, Any] = {
    "vocab_size": 40,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 2,
}
BART: dict[str, Any] = {
    "vocab_size": 40,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
}


@pytest.mark.parametrize(
    ("kind", "sizes", "cumulative"),
    [
        (hf.T5EncoderModel, T5, True),
        (hf.T5ForSequenceClassification, T5, True),
        (hf.GPT2ForSequenceClassification, SMALL, True),
        (hf.LlamaForTokenClassification, SMALL, True),
        (hf.OPTForCausalLM, {**SMALL, "word_embed_proj_dim": 16}, True),
        (hf.PhiForCausalLM, SMALL, True),
        (hf.RobertaPreLayerNormModel, SMALL, True),
        (hf.RobertaForQuestionAnswering, SMALL, False),
        (hf.ElectraForSequenceClassification, SMALL, False),
        (hf.MPNetModel, SMALL, False),
        (hf.BartForConditionalGeneration, BART, False),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_the_rule_is_found_by_trial_whatever_the_head(
    kind: Any, sizes: dict[str, Any], cumulative: bool
) -> None:
    model = kind(kind.config_class(**sizes))
    for stack in stacks_of(model):
        assert folding(model, stack).cumulative is cumulative


def test_norms_after_what_is_added_refuse_scales_but_not_paths() -> None:
    config = hf.Gemma2Config(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        intermediate_size=24,
    )
    model = randomised(hf.Gemma2ForCausalLM(config), 0)
    (stack,) = stacks_of(model)
    with pytest.raises(UserError, match="can take the fold") as refused:
        folding(model, stack)
    assert refused.value.cure == "take scales: off"
    folding(model, stack, scaled=False)


@pytest.mark.parametrize("scaled", [True, False])
def test_layers_that_know_their_depth_cannot_move(scaled: bool) -> None:
    config = hf.GPT2Config(
        vocab_size=40,
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=20,
        scale_attn_by_inverse_layer_idx=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = hf.GPT2LMHeadModel(config).eval()
    (stack,) = stacks_of(model)
    with pytest.raises(UserError, match="whose layers can move"):
        folding(model, stack, scaled=scaled)
