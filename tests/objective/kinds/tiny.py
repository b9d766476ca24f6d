"""Tiny random models that write or tag, tokenizers of words and of byte pairs, and one task at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from searchmerge import config
from searchmerge.objective import Objective
from searchmerge.objective.making import build
from tests.fixtures import WORDS
from tests.objective.making import CPU, random_texts, write

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
POSITIONS = 128
_SIZES: Mapping[str, Any] = MappingProxyType(
    {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": POSITIONS,
    }
)
_TOKENS: Mapping[str, int] = MappingProxyType({"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3})

DECODERS = ("gpt2", "llama", "qwen2")
ENCODER_DECODERS = ("t5", "bart")
ENCODERS = ("bert", "roberta", "distilbert")


def word_tokenizer(*, begins: bool = True, ends: bool = False) -> Any:
    """Words between spaces; ``<s>`` before a text, ``</s>`` after it, as asked."""
    vocabulary = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single=" ".join(["<s>"] * begins + ["$A"] + ["</s>"] * ends),
        special_tokens=[("<s>", 2), ("</s>", 3)],
    )
    return _fast(inner)


def tokenizer_for(kind: str) -> Any:
    """That of words as models of this kind have it: a decoder's begins a text, the others end it."""
    both = kind in ENCODER_DECODERS
    return word_tokenizer(begins=not both, ends=both)


@functools.cache
def byte_tokenizer() -> Any:
    """Byte pairs with the space before a word, as GPT-2's: nothing before or after a text."""
    inner = Tokenizer(models.BPE(unk_token=None))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(
        [*random_texts(50), "yes no maybe", "Answer: the end.\n\nQuestion: why"], trainer
    )
    return _fast(inner)


def _fast(inner: Any) -> Any:
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
    )


def tiny(kind: str, seed: int = 0, *, vocabulary: int = len(SPECIAL + WORDS), **options: Any) -> Any:
    """A random model with a language-modelling head, or of an encoder's with one that tags words."""
    name, settings = _MAKERS[kind]
    configuration = getattr(transformers, f"{name[0]}Config")(
        **{"vocab_size": vocabulary, **_TOKENS, **settings, **options}
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, f"{name[0]}{name[1]}")(configuration)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.3, generator=generator)
    return model.eval()


_MAKERS: Mapping[str, tuple[tuple[str, str], Mapping[str, Any]]] = MappingProxyType(
    {
        "gpt2": (
            ("GPT2", "LMHeadModel"),
            {"n_positions": POSITIONS, "n_embd": 32, "n_layer": 2, "n_head": 2},
        ),
        "llama": (("Llama", "ForCausalLM"), _SIZES),
        "qwen2": (("Qwen2", "ForCausalLM"), {**_SIZES, "num_key_value_heads": 1}),
        "t5": (
            ("T5", "ForConditionalGeneration"),
            {
                "d_model": 32,
                "d_kv": 16,
                "d_ff": 64,
                "num_layers": 2,
                "num_heads": 2,
                "decoder_start_token_id": 0,
            },
        ),
        "bart": (
            ("Bart", "ForConditionalGeneration"),
            {
                "d_model": 32,
                "encoder_layers": 2,
                "decoder_layers": 2,
                "encoder_attention_heads": 2,
                "decoder_attention_heads": 2,
                "encoder_ffn_dim": 64,
                "decoder_ffn_dim": 64,
                "max_position_embeddings": POSITIONS,
                "decoder_start_token_id": 3,
                "forced_eos_token_id": None,
            },
        ),
        "bert": (("Bert", "ForTokenClassification"), _SIZES),
        "roberta": (("Roberta", "ForTokenClassification"), _SIZES),
        "distilbert": (
            ("DistilBert", "ForTokenClassification"),
            {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2, "max_position_embeddings": POSITIONS},
        ),
    }
)


def objective(
    tokenizer: Any,
    *tasks: Mapping[str, Any],
    encoder_decoder: bool = False,
    labels: Mapping[str, Mapping[str, int] | None] = MappingProxyType({"merged": None}),
    **options: Any,
) -> Objective:
    """The objective of these tasks on their dev splits, in float32."""
    section = config.Objective.model_validate({"precision": "float32", **options, "tasks": list(tasks)})
    return build(
        section, "dev", tokenizer=tokenizer, labels=labels, device=CPU, encoder_decoder=encoder_decoder
    )


def one_task(kind: str, folder: Path, rows: Sequence[Mapping[str, Any]], **options: Any) -> dict[str, Any]:
    """The section of a task named ``it`` whose dev split is these rows."""
    return {"name": "it", "kind": kind, "dev": write(folder / "dev.jsonl", rows), **options}


def forwards(model: Any, work: Callable[[], Any]) -> int:
    """How often the model is called while something works."""
    calls: list[None] = []
    hook = model.register_forward_hook(lambda *_: calls.append(None))
    try:
        work()
    finally:
        hook.remove()
    return len(calls)
