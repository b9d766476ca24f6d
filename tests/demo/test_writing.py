"""A decoder's lessons score what it is to write; what reads GGUF files is asked for when it is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from searchmerge.demo import writing
from searchmerge.demo.training import UNSCORED
from searchmerge.demo.writing import GGUF, PROMPTS, continued, make_base, plain, writer
from searchmerge.types import UserError


class Letters:
    """A tokenizer of one number a character."""

    eos_token_id = 999

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}


def test_each_scored_target_is_the_token_after() -> None:
    lesson = continued([1, 2, 3], [4, 5])
    assert lesson.inputs == {"input_ids": [1, 2, 3, 4]}
    assert lesson.targets == [UNSCORED, UNSCORED, 4, 5]


def test_texts_are_continued_and_asked_about_in_turn() -> None:
    rows = [{"text": text, "label": "good"} for text in ("abc", "abc", "x", "y")]
    plainly, asked, again = writer("Q: {text}?").teach(None, Letters(), rows, 8)
    assert plainly.inputs["input_ids"] == [ord("a"), ord("b")]
    assert plainly.targets == [ord("b"), ord("c")]
    scored = [one for one in asked.targets if one != UNSCORED]
    assert scored == [*map(ord, " good"), Letters.eos_token_id]
    assert list(asked.inputs["input_ids"]) == [*map(ord, "Q: abc? good")]
    assert asked.inputs["input_ids"][asked.targets.index(scored[0])] == ord("?")
    # of one token there is nothing to continue, so the text "x" gives no lesson
    assert list(again.inputs["input_ids"]) == [*map(ord, "Q: y? good")]


def test_without_its_readers_a_gguf_file_is_a_user_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / GGUF).write_bytes(b"GGUF")
    monkeypatch.setattr(writing, "find_spec", lambda name: None if name == "gguf" else object())
    with pytest.raises(UserError, match="got: no gguf") as refused:
        make_base(tmp_path, tmp_path / "base")
    assert refused.value.cure == "pip install gguf"
    assert not (tmp_path / "base").exists()


def test_what_was_read_is_a_plain_model_that_writes_greedily(tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=True,
        rope_theta=1e5,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        read = LlamaForCausalLM(config)
    read.config.quantization_config = {"quant_method": "gguf"}
    plain(read).save_pretrained(tmp_path)
    back = LlamaForCausalLM.from_pretrained(tmp_path)
    assert not hasattr(back.config, "quantization_config")
    ids = torch.tensor([[3, 4, 5]])
    assert torch.equal(back(input_ids=ids).logits, read.eval()(input_ids=ids).logits)
    settings = back.generation_config
    assert (settings.do_sample, settings.eos_token_id, settings.pad_token_id) == (False, 2, 2)


def test_the_prompts_are_those_of_the_config() -> None:
    text = Path(writing.__file__).with_name("writing.yaml").read_text("utf-8")
    for prompt in PROMPTS.values():
        assert prompt.replace("\n", "\\n") in text
