"""Generation: what the model writes after a prompt, greedily, compared with the right answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria

from searchmerge.config import Source
from searchmerge.config.tasks import Generation as Section
from searchmerge.objective import fields
from searchmerge.objective.batching import Batch, pack
from searchmerge.objective.cache import encoded
from searchmerge.objective.data import Row, short
from searchmerge.objective.kinds.answers import SCORERS, number
from searchmerge.objective.kinds.means import Means, common
from searchmerge.objective.metrics import METRICS
from searchmerge.objective.task import Task, digest_of, positions_of
from searchmerge.objective.tokens import limit, padding, tokenised
from searchmerge.types import Outcomes, UserError


class _Finite(LogitsProcessor):  # type: ignore[misc]  # transformers has no types
    """Notes whether all logits were numbers, without waiting for the device."""

    def __init__(self) -> None:
        self.all: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Give the scores back."""
        finite = scores.amax(-1).isfinite()  # a token that is forced leaves the others -infinity
        self.all = finite if self.all is None else self.all & finite
        return scores


class _Stops(StoppingCriteria):  # type: ignore[misc]  # transformers has no types
    """Ends a row when what was written, the prompt apart, holds a text that ends an answer."""

    def __init__(self, tokenizer: Any, stop: Sequence[str], start: int) -> None:
        self._tokenizer, self._stop, self._start = tokenizer, stop, start
        # A token has a byte at least; the first of those decoded may lose the space before it.
        self._tail = 1 + max(len(each.encode()) for each in stop)

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        """Whether to end each row, ``[rows]``."""
        tails = self._tokenizer.batch_decode(input_ids[:, self._start :][:, -self._tail :])
        ended = [any(each in tail for each in self._stop) for tail in tails]
        return torch.tensor(ended, device=input_ids.device)


@dataclass(frozen=True, kw_only=True)
class Generation(Task):
    """Prompts and the right answers.

    Answers are plain greedy ones: of the settings that came with a model only the special tokens are kept,
    no sampling, beams or penalties.

    Outcomes are float64 ``[prompts, 2]``: the score of what was written, and 1.

    Args:
        tokenizer: turns tokens into text.
        expected: the right answers.
        stop: texts that end an answer.
        max_new_tokens: the most tokens of an answer.
        encoder_decoder: whether an encoder reads the prompts.
    """

    side_by_side: ClassVar[bool] = False  # the model is lent settings

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
        finite, prompt = _Finite(), batch["input_ids"]
        start = 1 if self.encoder_decoder else prompt.shape[1]
        settings = self._settings(made.generation_config)
        with _lent(made, settings):
            written = made.generate(
                input_ids=prompt,
                attention_mask=batch.get("attention_mask", torch.ones_like(prompt)),
                generation_config=settings,
                logits_processor=LogitsProcessorList([finite]),
                stopping_criteria=[_Stops(self.tokenizer, self.stop, start)] if self.stop else None,
            )
        assert finite.all is not None  # at least one token is written
        new = written[:, start:]
        if settings.eos_token_id is not None:  # it need not be special to the tokenizer
            ends = torch.isin(new, new.new_tensor(settings.eos_token_id))
            new = torch.where(ends, settings.pad_token_id, new)
        return torch.where(finite.all[:, None], new, -1)

    def _settings(self, own: Any) -> GenerationConfig:
        eos = self.tokenizer.eos_token_id if own.eos_token_id is None else own.eos_token_id
        return GenerationConfig(
            max_new_tokens=self.max_new_tokens,
            eos_token_id=eos,
            pad_token_id=self.tokenizer.pad_token_id,
            bos_token_id=own.bos_token_id,
            decoder_start_token_id=own.decoder_start_token_id,
            forced_bos_token_id=own.forced_bos_token_id,
        )

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
        positions = positions_of(made)
        prompt, answer = self.batches.longest, self.max_new_tokens
        needed = max(prompt, answer) if self.encoder_decoder else prompt + answer
        if positions is not None and needed > positions:
            raise UserError(
                expected=f"prompts and answers in the task {self.name} that fit in {positions} positions",
                got=f"a prompt of {prompt} tokens and an answer of up to {answer}",
                cure="lower max_length, which cuts the prompts, or max_new_tokens in the task",
            )


@contextmanager
def _lent(model: Any, settings: GenerationConfig) -> Iterator[None]:
    """Lend a model settings: what these leave open, ``generate`` would take from the model's own."""
    own, model.generation_config = model.generation_config, settings
    try:
        yield
    finally:
        model.generation_config = own


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
    expected = [_expected(task, row) for row in rows]
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
            calls=task.max_new_tokens,
            groups=means.groups,
        ),
        inputs=inputs,
        digest=digest_of(inputs, [task.name, task.head, task.weight, task.metric], expected),
        tokenizer=means.tokenizer,
        expected=tuple(expected),
        stop=task.stop,
        max_new_tokens=task.max_new_tokens,
        encoder_decoder=means.encoder_decoder,
    )


def _expected(task: Section, row: Row) -> str:
    right = str(fields.column(row, task.answer, "answer"))
    if task.metric == "numeric" and number(right) is None:
        raise UserError(
            expected=f"a number as {task.answer} in {row[0]}",
            got=short(right),
            cure="correct that example, or take another metric",
        )
    return right


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
    special: dict[str, Any] = {"add_special_tokens": not task.chat, "return_token_type_ids": False}
    if means.encoder_decoder:
        return list(tokenised(prompts, tokenizer, task.max_length, **special)["input_ids"])
    rows = encoded(tokenizer, prompts, **special)["input_ids"]
    longest = limit(tokenizer, task.max_length) or max(map(len, rows))
    return [ids[-longest:] for ids in rows]
