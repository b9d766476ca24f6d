from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from searchmerge.config import Models
from searchmerge.export import export
from searchmerge.sources import Sources
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.spaces.paths import PathsSpace
from searchmerge.types import MERGED
from searchmerge.workshop import Workshop

MODELS: dict[str, tuple[Any, Any, Any]] = {
    "gpt2, tied": (
        GPT2LMHeadModel,
        GPT2Config(vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=16),
        AutoModelForCausalLM,
    ),
    "llama, untied": (
        LlamaForCausalLM,
        LlamaConfig(
            vocab_size=32,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            tie_word_embeddings=False,
        ),
        AutoModelForCausalLM,
    ),
    "t5": (
        T5ForConditionalGeneration,
        T5Config(
            vocab_size=32, d_model=16, num_layers=2, num_heads=2, d_kv=8, d_ff=32, decoder_start_token_id=0
        ),
        AutoModelForSeq2SeqLM,
    ),
}


def family(folder: Path, kind: str, dtype: torch.dtype) -> Models:
    """A base and two experts of one architecture."""
    model_class, config, _ = MODELS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(config)
        for name in ("base", "a", "b"):
            model.to(dtype).save_pretrained(folder / name)
            with torch.no_grad():
                for parameter in model.float().parameters():
                    parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return Models(base=str(folder / "base"), experts={name: str(folder / name) for name in ("a", "b")})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", MODELS)
def test_an_exported_model_reloads_to_the_live_one(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    workshop = Workshop(
        Sources.open(family(tmp_path, kind, dtype), tasks_name_heads=False), [MERGED], torch.device("cpu")
    )
    space = CoefficientSpace({"method": "ties", "density": 0.5}, experts=("a", "b"), layout=workshop.layout)
    recipe = space.decode(())
    live = space.realise(recipe, workshop)[MERGED]
    export(recipe, workshop, {"task": MERGED}, None, "---\n---\n", tmp_path / "out")

    loaded = MODELS[kind][2].from_pretrained(tmp_path / "out").eval()
    assert loaded.dtype == dtype
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == str(dtype).removeprefix(
        "torch."
    )
    state = live.state_dict()
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, state[name].to(dtype)), name
    if dtype == torch.float32:
        tokens = torch.arange(6)[None]
        inputs = {"input_ids": tokens} | ({"decoder_input_ids": tokens} if kind == "t5" else {})
        with torch.inference_mode():
            assert torch.equal(loaded(**inputs).logits, live(**inputs).logits)


def test_a_tied_head_is_stored_once(tmp_path: Path) -> None:
    workshop = Workshop(
        Sources.open(family(tmp_path, "gpt2, tied", torch.float32), tasks_name_heads=False),
        [MERGED],
        torch.device("cpu"),
    )
    live: Any = workshop.models[MERGED]
    assert live.lm_head.weight.data_ptr() == live.transformer.wte.weight.data_ptr()
    space = CoefficientSpace({}, experts=("a", "b"), layout=workshop.layout)
    export(space.decode(()), workshop, {"task": MERGED}, None, "", tmp_path / "out")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("a", "out")]
    assert abs(sizes[0] - sizes[1]) < 200


@pytest.mark.parametrize("kind", MODELS)
def test_an_exported_path_reloads_to_the_live_one_and_writes_as_it_does(tmp_path: Path, kind: str) -> None:
    models = family(tmp_path, kind, torch.float32)
    workshop = Workshop(Sources.open(models, tasks_name_heads=False), [MERGED], torch.device("cpu"))
    # Every stack gets three layers of two models, one of them twice.
    steps = [["a", 1, 0.8], ["b", 0], ["b", 0, 1.5]]
    stacks = dict.fromkeys(workshop.layout.stacks, steps)
    assert len(stacks) == (2 if kind == "t5" else 1)
    recipe = {"space": "paths", "rest": "b", "stacks": stacks, "stages": {}}
    live: Any = PathsSpace.realise(recipe, workshop)[MERGED]
    export(recipe, workshop, {"task": MERGED}, None, "", tmp_path / "out")
    loaded = MODELS[kind][2].from_pretrained(tmp_path / "out").eval()
    assert type(loaded) is type(live)
    tokens = torch.tensor([[5, 9, 2, 7, 3]])
    inputs = {"input_ids": tokens} | ({"decoder_input_ids": tokens} if kind == "t5" else {})
    with torch.no_grad():
        expected, found = live(**inputs).logits, loaded(**inputs).logits
        # Untrained embeddings are so small that the norms' epsilon shows; tests/layers has the strict bound.
        assert (found - expected).abs().max() < 5e-3 * expected.std()
        written = [
            model.generate(tokens, max_new_tokens=6, do_sample=False, use_cache=cached)
            for model in (live, loaded)
            for cached in (True, False)
        ]
    assert all(torch.equal(written[0], other) for other in written)
