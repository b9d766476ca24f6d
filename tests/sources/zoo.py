"""One tiny random model of each architecture, and models near it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)

from searchmerge.config import Models
from searchmerge.sources import Sources
from searchmerge.types import UserError

_SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
}


def bert(kind: Any = BertForSequenceClassification, *, seed: int = 0, **settings: Any) -> Any:
    """A BERT of that class."""
    return _seeded(seed, lambda: kind(BertConfig(**{**_SIZES, **settings})))


def llama(kind: Any = LlamaForCausalLM, *, seed: int = 0, **settings: Any) -> Any:
    """A Llama of that class, with as many key and value heads as queries."""
    return _seeded(seed, lambda: kind(LlamaConfig(**{**_SIZES, **settings})))


def gpt2(kind: Any = GPT2LMHeadModel, *, seed: int = 0) -> Any:
    """A GPT-2 of that class."""
    return _seeded(
        seed, lambda: kind(GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=20))
    )


def _roberta() -> Any:
    return _seeded(0, lambda: RobertaForSequenceClassification(RobertaConfig(**_SIZES, num_labels=3)))


def _t5() -> Any:
    config = T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2)
    return _seeded(0, lambda: T5ForConditionalGeneration(config))


ZOO: dict[str, Callable[[], Any]] = {
    "bert": bert,
    "bert-base": lambda: bert(BertModel),
    "bert-masked": lambda: bert(BertForMaskedLM),
    "roberta": _roberta,
    "gpt2": gpt2,
    "llama-tied": lambda: llama(tie_word_embeddings=True),
    "llama-untied": lambda: llama(tie_word_embeddings=False),
    "t5": _t5,
}


def near(model: Any, *, seed: int, scale: float = 0.001) -> Any:
    """The model itself, its weights moved by noise as fine-tuning would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=scale)
    return model


def refused(expected: str, got: str, cure: str) -> AbstractContextManager[Any]:
    """Expect a UserError with these words in its three parts."""

    def fits(error: BaseException) -> bool:
        assert isinstance(error, UserError)
        parts = ((expected, error.expected), (got, error.got), (cure, error.cure))
        assert all(words in part for words, part in parts), str(error)
        return True

    return pytest.RaisesExc(UserError, check=fits)


def saved(model: Any, folder: Path, **options: Any) -> Path:
    """Save a model to a folder; give that back."""
    model.save_pretrained(folder, **options)
    return folder


def edit(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    """Change the stored tensors of a folder with one file."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def configure(folder: Path, **settings: Any) -> None:
    """Change values of a folder's config.json; None removes one."""
    path = folder / "config.json"
    content = {**json.loads(path.read_text()), **settings}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def rename(tensors: dict[str, Tensor], old: str, new: str) -> None:
    """Replace a part of the tensors' names."""
    for name in [name for name in tensors if old in name]:
        tensors[name.replace(old, new)] = tensors.pop(name)


def classifier(labels: int, kind: Any = BertForSequenceClassification, **settings: Any) -> Any:
    """A classifier whose body is that of ``bert(BertModel)``."""
    model = kind(
        bert(BertModel).config.__class__(
            **{**bert(BertModel, **settings).config.to_dict(), "num_labels": labels}
        )
    )
    model.bert.load_state_dict(bert(BertModel, **settings).state_dict(), strict=False)
    return model


class Bench:
    """A folder of models, opened as sources."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, name: str, model: Any) -> None:
        """Save a model (without a tokenizer) under that name."""
        model.save_pretrained(self.folder / name)

    def open(
        self, *experts: str, base: str | None = "base", own: bool = True, heads: tuple[str, ...] = ()
    ) -> Sources:
        """Open those experts; ``own``: every task names its expert's head."""
        refs = {name: str(self.folder / name) for name in experts}
        models = Models(base=base and str(self.folder / base), experts=refs, heads=heads)
        return Sources.open(models, own)


def family(folder: Path) -> Bench:
    """A plain base and two classifiers of two and three labels that stem from it."""
    bench = Bench(folder)
    bench.save("base", bert(BertModel))
    bench.save("two", near(classifier(2), seed=1))
    bench.save("three", near(classifier(3), seed=2))
    return bench


def _seeded(seed: int, make: Callable[[], Any]) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().eval()
