"""Generation: what the model writes after a prompt, greedily, compared with the right answer."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LogitsProcessor, LogitsProcessorList

from searchmerge.config import Source
from searchmerge.config.tasks import Generation as Section
from searchmerge.objective import fields
from searchmerge.objective.batching import Batch, pack
from searchmerge.objective.cache import encoded
from searchmerge.objective.kinds.answers import SCORERS
from searchmerge.objective.kinds.means import Means, common
from searchmerge.objective.metrics import METRICS
from searchmerge.objective.task import Task, digest_of
from searchmerge.objective.tokens import limit, padding
from searchmerge.types import Outcomes, UserError


class _Finite(LogitsProcessor):  # type: ignore[misc]  # transformers has no types
    """Notes whether all logits were finite, without waiting for the device."""

    def __init__(self) -> None:
        self.all: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Give the scores back."""
        finite = scores.isfinite().all(-1)
        self.all = finite if self.all is None else self.all & finite
        return scores


@dataclass(frozen=True, kw_only=True)
class Generation(Task):
    """Prompts and the right answers.

    Outcomes are float64 ``[prompts, 2]``: the score of what was written, and 1.

    Args:
        tokenizer: turns tokens into text.
        expected: the right answers.
        stop: texts that end an answer.
        max_new_tokens: the most tokens of an answer.
        encoder_decoder: whether an encoder reads the prompts.
    """

    tokenizer: Any
    expected: tuple[str, ...]
    stop: tuple[str, ...]
    max_new_tokens: int
    encoder_decoder: bool

    @property
    def summary(self) -> str:
        """How many prompts, and the most that is written."""
        return f"{self.examples} prompts, at most {self.max_new_tokens} tokens written"

    def answer(self, model: nn.Module, batch: Batch) -> Tensor:
        """Give the tokens written, int64 ``[prompts, new]``; -1 where logits were not finite."""
        made: Any = model
        finite = _Finite()
        mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
        written = made.generate(
            input_ids=batch["input_ids"],
            attention_mask=mask,
            generation_config=self._settings(made),
            logits_processor=LogitsProcessorList([finite]),
            tokenizer=self.tokenizer,
        )
        new = written[:, 1:] if self.encoder_decoder else written[:, batch["input_ids"].shape[1] :]
        assert finite.all is not None  # at least one token is written
        return torch.where(finite.all[:, None], new, -1)

    def _settings(self, model: Any) -> Any:
        """The model's own settings, special tokens among them, but greedy and of this length."""
        settings = deepcopy(model.generation_config)
        settings.update(
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            max_length=None,
            max_new_tokens=self.max_new_tokens,
            stop_strings=list(self.stop) or None,
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=settings.eos_token_id or self.tokenizer.eos_token_id,
            return_dict_in_generate=False,
        )
        return settings

    def read(self, answers: Tensor, number: int) -> Outcomes:
        """Score the texts; errors as of the base class."""
        tokens = answers.cpu()
        if failed := int((tokens < 0).all(1).sum()):
            raise FloatingPointError(
                f"task {self.name}: the logits of {failed} of {len(tokens)} examples are not finite"
            )
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        score = SCORERS[self.metric.name]
        expected = [self.expected[example] for example in self.batches.examples(number)]
        scores = [score(_cut(text, self.stop), right) for text, right in zip(texts, expected, strict=True)]
        return np.array([(each, 1.0) for each in scores])

    def check(self, model: nn.Module) -> None:
        """Make sure that the model can write, and has enough positions for prompt and answer."""
        made: Any = model
        if not (hasattr(made, "can_generate") and made.can_generate()):
            raise UserError(
                expected=f"models that write, for the task {self.name}",
                got=type(model).__name__,
                cure="give models with a language-modelling head (ForCausalLM, ForConditionalGeneration)",
            )
        positions = getattr(made.config, "max_position_embeddings", None)
        needed = self.batches.longest + (0 if self.encoder_decoder else self.max_new_tokens)
        if positions is not None and needed > positions:
            raise UserError(
                expected=f"at most {positions} tokens of prompt and answer in the task {self.name}",
                got=f"{needed}",
                cure=f"set max_length: {positions - self.max_new_tokens} in the task",
            )


def _cut(text: str, stop: Sequence[str]) -> str:
    """The text up to the first stop."""
    ends = [text.find(each) for each in stop if each in text]
    return text[: min(ends)] if ends else text


def load(task: Section, source: Source, means: Means) -> Generation:
    """Read one split and make it ready; a decoder's prompts that are too long lose their beginning.

    Raises:
        UserError: the data are at fault, the tokenizer has no padding token, or no chat template.
    """
    rows = means.read(source)
    prompts = [fields.text(row, task.prompt, "prompt") for row in rows]
    expected = [str(fields.column(row, task.answer, "answer")) for row in rows]
    ids = _prompted(task, prompts, means)
    inputs = digest_of(task.kind, ids, task.max_new_tokens, task.stop)
    return Generation(
        **common(task),
        metric=METRICS[task.kind][task.metric],
        gold=np.ones((len(rows), 2)),
        batches=pack(
            {"input_ids": ids},
            padding(means.tokenizer),
            batch_tokens=means.batch_tokens,
            device=means.device,
            left=not means.encoder_decoder,
        ),
        inputs=inputs,
        digest=digest_of(inputs, [task.name, task.head, task.weight, task.metric], expected),
        tokenizer=means.tokenizer,
        expected=tuple(expected),
        stop=task.stop,
        max_new_tokens=task.max_new_tokens,
        encoder_decoder=means.encoder_decoder,
    )


def _prompted(task: Section, prompts: Sequence[str], means: Means) -> list[list[int]]:
    tokenizer = means.tokenizer
    if task.chat:
        if not tokenizer.chat_template:
            raise UserError(
                expected=f"a tokenizer with a chat template for the task {task.name}",
                got="one that has none",
                cure="set chat: false, or put chat_template into tokenizer_config.json",
            )
        turns = [[{"role": "user", "content": prompt}] for prompt in prompts]
        prompts = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    # A chat template writes the special tokens itself.
    rows = encoded(tokenizer, prompts, add_special_tokens=not task.chat, return_token_type_ids=False)[
        "input_ids"
    ]
    longest = limit(tokenizer, task.max_length) or max(map(len, rows))
    cut = slice(0, longest) if means.encoder_decoder else slice(-longest, None)
    return [ids[cut] for ids in rows]
