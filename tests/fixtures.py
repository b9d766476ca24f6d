"""Tiny random models and a word-level tokenizer: a few thousand parameters, made in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

WORDS = tuple(f"w{number}" for number in range(60))
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")

Run = Callable[..., tuple[int, str, str]]
"""What the fixture ``run`` gives: types a command, gives back exit code, output and errors."""


def tiny_tokenizer(folder: Path) -> Any:
    """Save to ``folder`` a fast tokenizer that knows ``WORDS`` between spaces; give it back."""
    vocabulary = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(word, vocabulary[word]) for word in ("[CLS]", "[SEP]")],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def tiny_bert(folder: Path, labels: Sequence[str], seed: int) -> Any:
    """Save to ``folder`` a random two-layer BERT classifier of those labels; give it back in eval mode."""
    config = BertConfig(
        vocab_size=len(SPECIAL + WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=0,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config)
    # The usual initial deviation of 0.02 gives all texts nearly the same logits.
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.2, generator=generator)
    model.eval().save_pretrained(folder)
    return model
