"""Tiny classifiers of every architecture whose labels overlap in part, in another order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForSequenceClassification,
)

from tests.sources.zoo import Bench, near

SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "pad_token_id": 0,
}
KINDS: dict[str, tuple[Any, Any, set[str]]] = {
    "bert": (BertForSequenceClassification, BertConfig(**SIZES), {"classifier.weight", "classifier.bias"}),
    "bert-tags": (BertForTokenClassification, BertConfig(**SIZES), {"classifier.weight", "classifier.bias"}),
    "roberta": (
        RobertaForSequenceClassification,
        RobertaConfig(**SIZES),
        {"classifier.out_proj.weight", "classifier.out_proj.bias"},
    ),
    "distilbert": (
        DistilBertForSequenceClassification,
        DistilBertConfig(vocab_size=40, dim=16, hidden_dim=24, n_layers=2, n_heads=2),
        {"classifier.weight", "classifier.bias"},
    ),
    "gpt2": (
        GPT2ForSequenceClassification,
        GPT2Config(
            vocab_size=40,
            n_embd=16,
            n_layer=2,
            n_head=2,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=1,
        ),
        {"score.weight"},
    ),
    "llama": (LlamaForSequenceClassification, LlamaConfig(**SIZES), {"score.weight"}),
    "t5": (
        T5ForSequenceClassification,
        T5Config(
            vocab_size=40,
            d_model=16,
            d_kv=8,
            d_ff=24,
            num_layers=2,
            num_heads=2,
            eos_token_id=1,
            decoder_start_token_id=0,
        ),
        {"classification_head.out_proj.weight", "classification_head.out_proj.bias"},
    ),
}
LABELS = {"one": ("joy", "anger", "fear"), "two": ("anger", "calm", "joy", "hope")}
UNION = ("joy", "anger", "fear", "calm", "hope")


def named(labels: Sequence[Any]) -> dict[str, Any]:
    """What config.json says of labels."""
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
    }


def save_all(bench: Bench, kind: str, labels: Mapping[str, Sequence[str]]) -> None:
    """Save a base without a head and experts with those labels, whose bodies stem from it."""
    model_class, config, _ = KINDS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for number, (name, own) in enumerate(labels.items()):
            settings = {k: v for k, v in config.to_dict().items() if k not in ("id2label", "label2id")}
            model = model_class(type(config)(**settings, **named(own)))
            inner = getattr(model, model.base_model_prefix)
            if number == 0:
                body = {key: tensor.clone() for key, tensor in inner.state_dict().items()}
                bench.save("base", inner)
            inner.load_state_dict(body)
            bench.save(name, near(model, seed=number + 1))
