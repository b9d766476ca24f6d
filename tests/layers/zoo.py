"""Tiny random models of eight architectures, weights large enough for every part to matter; random paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transformers as hf
from torch import nn

from searchmerge.layers import Stack, Step

_SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 48,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 39,
}
_WINDOW: dict[str, Any] = {"num_key_value_heads": 1, "sliding_window": 4}
_T5: dict[str, Any] = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_heads": 2}


def _bert() -> Any:
    return hf.BertForSequenceClassification(hf.BertConfig(**_SIZES, num_labels=3))


def _roberta() -> Any:
    return hf.RobertaForSequenceClassification(hf.RobertaConfig(**_SIZES, num_labels=3))


def _distilbert() -> Any:
    sizes = {"vocab_size": 40, "dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 24}
    return hf.DistilBertForSequenceClassification(
        hf.DistilBertConfig(**sizes, max_position_embeddings=48, num_labels=3)
    )


def _gpt2() -> Any:
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 39}
    return hf.GPT2LMHeadModel(
        hf.GPT2Config(vocab_size=40, n_embd=16, n_layer=3, n_head=2, n_positions=48, **tokens)
    )


def _llama() -> Any:
    return hf.LlamaForCausalLM(hf.LlamaConfig(**_SIZES, num_key_value_heads=1, attention_bias=True))


def _qwen2() -> Any:
    window = {**_WINDOW, "use_sliding_window": True, "max_window_layers": 1}
    return hf.Qwen2ForCausalLM(hf.Qwen2Config(**_SIZES, **window, tie_word_embeddings=True))


def _mistral() -> Any:
    return hf.MistralForCausalLM(hf.MistralConfig(**_SIZES, **_WINDOW))


def _gpt_neox() -> Any:
    return hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**_SIZES))


def _t5() -> Any:
    config = hf.T5Config(**_T5, num_layers=3, decoder_start_token_id=0, eos_token_id=39)
    return hf.T5ForConditionalGeneration(config)


def _t5_gated() -> Any:
    config = hf.T5Config(
        **_T5,
        num_layers=3,
        num_decoder_layers=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
        eos_token_id=39,
    )
    return hf.T5ForConditionalGeneration(config)


MAKERS: Mapping[str, Callable[[], Any]] = {
    "bert": _bert,
    "roberta": _roberta,
    "distilbert": _distilbert,
    "gpt2": _gpt2,
    "llama": _llama,
    "qwen2": _qwen2,
    "mistral": _mistral,
    "gpt_neox": _gpt_neox,
    "t5": _t5,
    "t5_gated": _t5_gated,
}
WRITERS = ("gpt2", "llama", "qwen2", "mistral", "gpt_neox", "t5", "t5_gated")


def tiny(name: str, seed: int = 0) -> Any:
    """A model of that architecture, in eval mode."""
    return randomised(MAKERS[name](), seed)


def randomised(model: Any, seed: int) -> Any:
    """The same model with large random weights, in eval mode, without gradients."""
    generator = torch.Generator().manual_seed(seed)
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for key, parameter in model.named_parameters():
        spread = 1.0 if id(parameter) in tables else 0.25
        shift = 1.0 if parameter.dim() == 1 and key.endswith("weight") else 0.0
        parameter.data.normal_(shift, spread, generator=generator)
    return model.eval().requires_grad_(False)


def layers_of(model: Any, stack: Stack) -> list[nn.Module]:
    """The layers that a model has now."""
    return list(model.get_submodule(stack.name))


def texts(rng: np.random.Generator, rows: int = 2, length: int = 7) -> torch.Tensor:
    """Random tokens without special ones, ``[rows, length]``."""
    return torch.from_numpy(rng.integers(2, 39, (rows, length)))


def inputs(model: Any, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """What a forward pass takes; the second text is padded at its end, where the class can tell."""
    batch = {"input_ids": texts(rng)}
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    batch["attention_mask"][1, 5:] = 0
    if model.config.is_encoder_decoder:
        batch["decoder_input_ids"] = texts(rng, length=5)
    return batch


def random_path(
    rng: np.random.Generator, sources: Sequence[Sequence[nn.Module]], *, scaled: bool = True
) -> list[Step]:
    """One to six steps through the layers of several models, repeats allowed."""
    steps = []
    for _ in range(rng.integers(1, 7)):
        layers = sources[int(rng.integers(len(sources)))]
        origin = int(rng.integers(len(layers)))
        steps.append(Step(layers[origin], origin, float(2 ** rng.uniform(-1, 1)) if scaled else 1.0))
    return steps
