"""Fisher information and Grams of tiny models of every kind against loops over single examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
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
from transformers.pytorch_utils import Conv1D

from searchmerge.objective.batching import Batch
from searchmerge.statistics import fisher as fishers
from searchmerge.statistics.fisher import Squares, fisher
from searchmerge.statistics.gram import grams, shared

WORDS, WIDE, INNER, LABELS = 40, 16, 24, 3
_ENCODER: dict[str, Any] = {
    "vocab_size": WORDS,
    "hidden_size": WIDE,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": INNER,
    "num_labels": LABELS,
}

MODELS: dict[str, Callable[[], Any]] = {
    "bert": lambda: BertForSequenceClassification(BertConfig(**_ENCODER, max_position_embeddings=20)),
    "roberta": lambda: RobertaForSequenceClassification(
        RobertaConfig(**_ENCODER, max_position_embeddings=20)
    ),
    "albert": lambda: AlbertForSequenceClassification(AlbertConfig(**_ENCODER, embedding_size=8)),
    "distilbert": lambda: DistilBertForSequenceClassification(
        DistilBertConfig(
            vocab_size=WORDS, dim=WIDE, n_layers=2, n_heads=2, hidden_dim=INNER, num_labels=LABELS
        )
    ),
    "gpt2": lambda: GPT2ForSequenceClassification(
        GPT2Config(
            vocab_size=WORDS,
            n_embd=WIDE,
            n_layer=2,
            n_head=2,
            n_positions=20,
            num_labels=LABELS,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=1,
        )
    ),
    "llama": lambda: LlamaForSequenceClassification(LlamaConfig(**_ENCODER, pad_token_id=0)),
    "t5": lambda: T5ForSequenceClassification(
        T5Config(
            vocab_size=WORDS,
            d_model=WIDE,
            d_kv=8,
            d_ff=INNER,
            num_layers=2,
            num_heads=2,
            num_labels=LABELS,
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
        )
    ),
}
ONE_BY_ONE = {"albert", "t5"}
"""Their layers are called more than once, or lack an axis of examples."""


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(3)
    return MODELS[request.param]().eval()


def texts(model: Any, sizes: tuple[int, ...] = (8, 6, 8, 5)) -> list[Batch]:
    """Two batches, one with padding and repeated words; a text ends in token 1."""
    generator = torch.Generator().manual_seed(7)
    batches = []
    for lengths in (sizes, (7, 7)):
        ids = torch.randint(3, 12, (len(lengths), max(lengths)), generator=generator)
        mask = torch.ones_like(ids)
        for row, length in enumerate(lengths):
            ids[row, length - 1] = 1
            ids[row, length:] = model.config.pad_token_id
            mask[row, length:] = 0
        batches.append({"input_ids": ids} | ({} if mask.all() else {"attention_mask": mask}))
    return batches


def alone(batches: list[Batch]) -> list[Batch]:
    return [
        {k: v[i : i + 1] for k, v in batch.items()}
        for batch in batches
        for i in range(len(batch["input_ids"]))
    ]


def assert_alike(found: Squares, expected: Squares) -> None:
    """Equal but for rounding; some (a key's bias) are nothing but rounding."""
    largest = max(float(each.max()) for each in expected.values())
    for name, each in expected.items():
        tolerance = 1e-5 * float(each.max()) + 1e-9 * largest
        assert torch.allclose(found[name].double(), each.double(), rtol=1e-3, atol=tolerance), name


@pytest.mark.parametrize("true", [False, True], ids=["expected", "true label"])
def test_fisher_is_a_loop_over_examples_and_labels(model: Any, true: bool) -> None:
    batches = texts(model)
    gold = [torch.tensor([0, 2, 1, 1]), torch.tensor([2, 0])]
    found = fisher(model, batches, gold if true else None)
    expected = {name: torch.zeros_like(each, dtype=torch.float64) for name, each in model.named_parameters()}
    model.requires_grad_(True)
    for one, label in zip(alone(batches), torch.cat(gold).tolist(), strict=True):
        for y in range(LABELS):
            model.zero_grad()
            log = model(**one).logits.log_softmax(-1)[0, y]
            log.backward()
            share = float(y == label) if true else float(log.detach().exp())
            for name, each in model.named_parameters():
                if each.grad is not None:
                    expected[name] += share * each.grad.double() ** 2
    assert_alike(found, expected)


def test_layers_that_allow_it_take_their_examples_together(
    model: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = request.node.callspec.params["model"]
    batches = texts(model)
    assert fishers._together(model, batches[0]) == (kind not in ONE_BY_ONE)
    together = fisher(model, batches)
    monkeypatch.setattr(fishers, "_together", lambda *_: False)
    assert_alike(together, fisher(model, batches))


def test_fisher_leaves_the_model_as_it_was(model: Any) -> None:
    model.requires_grad_(False)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    fisher(model, texts(model))
    assert not any(each.requires_grad or each.grad is not None for each in model.parameters())
    assert all(not module._forward_hooks for module in model.modules())
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())


def test_grams_are_the_inner_products_of_real_tokens(model: Any) -> None:
    batches = texts(model)
    found = grams(model, batches)
    expected: dict[str, Tensor] = {}

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, *, name: str) -> None:
        rows = inputs[0].detach().double().reshape(-1, inputs[0].shape[-1])
        expected[name] = expected.get(name, torch.zeros(())) + sum(torch.outer(row, row) for row in rows)

    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | Conv1D):
            module.register_forward_hook(lambda m, i, o, name=f"{name}.weight": look(m, i, o, name=name))
    for one in alone(batches):  # without padding, one text at a time
        real = one.get("attention_mask", torch.ones_like(one["input_ids"])).bool()
        with torch.no_grad():
            model(input_ids=one["input_ids"][real][None])
    assert shared(found).keys() == expected.keys()
    for name, each in shared(found).items():
        exact = expected[name]
        assert torch.equal(each, each.T)
        # A decoder's last layers may see more tokens than a text without padding has: none here do.
        assert torch.allclose(each.double(), exact, rtol=1e-3, atol=1e-4 * float(exact.abs().max())), name


def test_what_shares_its_input_is_computed_once(model: Any, request: pytest.FixtureRequest) -> None:
    found = grams(model, texts(model))
    kind = request.node.callspec.params["model"]
    linear = [name for name, each in model.named_modules() if isinstance(each, nn.Linear | Conv1D)]
    assert len(found.matrices) + len(found.same) == len(linear)
    assert found.input_first == [
        f"{name}.weight" for name, each in model.named_modules() if isinstance(each, Conv1D)
    ]
    if kind in ("bert", "roberta", "distilbert", "llama"):
        owners = [
            owner
            for name, owner in found.same.items()
            if "k_lin" in name or "key" in name or "k_proj" in name
        ]
        assert len(owners) == 2
        assert all("q" in owner for owner in owners)
