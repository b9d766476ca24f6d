"""How probable a model finds texts, alone or after a prompt: what two kinds of tasks are scored by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from searchmerge.objective.batching import Batch, Batches, pack
from searchmerge.objective.cache import encoded
from searchmerge.objective.kinds.means import Means
from searchmerge.objective.tokens import limit, padding, tokenised
from searchmerge.types import UserError

NOT_SCORED = -100
"""Stands in ``labels`` where no token is scored."""

_CHUNK = 2**25
"""Logits that are turned into float32 at once."""


def columns_of(
    task: str,
    texts: Sequence[str],
    prompts: Sequence[str | None],
    tokenizer: Any,
    max_length: int | None,
    *,
    encoder_decoder: bool,
) -> dict[str, list[list[int]]]:
    """Give ``input_ids`` and ``labels``, the tokens that are scored.

    For a decoder prompt and text are one sequence, whose tokens are those of both together. As in lm-eval,
    white space at the prompt's end counts to the text, and as many tokens count to the prompt as it has
    alone. What is too long loses its first tokens. For an encoder-decoder the prompt is the encoder's and the
    text the decoder's, which ends with the token that ends a text.

    Raises:
        UserError: nothing to score in a text, or no prompt for an encoder.
    """
    if encoder_decoder:
        if None in prompts:
            raise UserError(
                expected=f"a prompt in the task {task}: the models have an encoder, which reads it",
                got="none",
                cure="add prompt: to the task",
            )
        labels = tokenised(texts, tokenizer, max_length, return_token_type_ids=False)["input_ids"]
        ids = tokenised(prompts, tokenizer, max_length, return_token_type_ids=False)["input_ids"]
        return {"input_ids": ids, "labels": labels}
    wholes = [(prompt or "") + text for prompt, text in zip(prompts, texts, strict=True)]
    ids = _encoded(tokenizer, wholes)
    starts = _starts(tokenizer, prompts)
    labels = [
        [NOT_SCORED] * min(start, len(each)) + each[start:] for each, start in zip(ids, starts, strict=True)
    ]
    longest = limit(tokenizer, max_length) or max(map(len, ids))
    _scored(task, texts, [each[-longest:] for each in labels])
    return {"input_ids": [each[-longest:] for each in ids], "labels": [each[-longest:] for each in labels]}


def _encoded(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    return encoded(tokenizer, texts, return_token_type_ids=False)["input_ids"]


def _starts(tokenizer: Any, prompts: Sequence[str | None]) -> list[int]:
    """How many tokens of each text are the prompt's, special ones before it among them."""
    stripped = ["" if prompt is None else prompt.rstrip() for prompt in prompts]
    known = [prompt for prompt in dict.fromkeys(stripped) if prompt]
    if not known:
        return [0] * len(prompts)
    ids = _encoded(tokenizer, known)
    bare = tokenizer(known[0], add_special_tokens=False, verbose=False)["input_ids"]
    if ids[0][-len(bare) :] != bare:
        raise UserError(
            expected="a tokenizer that puts nothing after a text, since another follows the prompt",
            got=f"{type(tokenizer).__name__}, which ends a text with {tokenizer.decode(ids[0][-1:])}",
            cure="set add_eos_token: false in tokenizer_config.json",
        )
    lengths = {prompt: len(each) for prompt, each in zip(known, ids, strict=True)}
    return [lengths.get(prompt, 0) for prompt in stripped]


def _scored(task: str, texts: Sequence[str], labels: Sequence[Sequence[int]]) -> None:
    for text, scored in zip(texts, scored_tokens(labels, encoder_decoder=False), strict=True):
        if not scored:
            raise UserError(
                expected=f"in each text of the task {task} a token after the first, to be scored",
                got=repr(text[:60]),
                cure="remove that example, or give it a prompt",
            )


def scored_tokens(labels: Sequence[Sequence[int]], *, encoder_decoder: bool) -> list[int]:
    """How many tokens of each row are scored: not a decoder's first, which nothing predicts."""
    first = 0 if encoder_decoder else 1
    return [sum(label != NOT_SCORED for label in row[first:]) for row in labels]


def packed(
    columns: Mapping[str, Sequence[Sequence[int]]], means: Means, rows: Sequence[int] | None = None
) -> Batches:
    """Cut the columns of :func:`columns_of` into batches that say which logits are wanted.

    Beside the columns each has ``scored``, int64 ``[tokens scored]``: where the token before each of them
    (for an encoder-decoder the token itself) stands in the row after row of the batch. It is found here, so
    that no forward pass waits for the device to tell how many there are.

    Args:
        columns: ``input_ids`` and ``labels``.
        means: tokenizer, size of the batches, device.
        rows: how many rows in turn make up each example; None for one each.
    """
    filled = {**padding(means.tokenizer), "labels": NOT_SCORED}
    batches = pack(
        columns,
        filled,
        batch_tokens=means.batch_tokens,
        device=means.device,
        rows=rows,
        groups=means.groups,
    )
    for batch in batches.batches:
        labels = batch["labels"]
        predicted = labels if means.encoder_decoder else labels[:, 1:]
        row, place = (predicted != NOT_SCORED).nonzero(as_tuple=True)
        batch["scored"] = row * labels.shape[1] + place
    return batches


def loglikelihoods(model: nn.Module, batch: Batch, *, encoder_decoder: bool) -> Tensor:
    """Give the sum of the scored tokens' log-likelihoods in each row, float64 ``[rows]``."""
    labels, scored = batch["labels"], batch["scored"]
    inputs = {name: column for name, column in batch.items() if name not in ("labels", "scored")}
    if encoder_decoder:
        made: Any = model
        inputs["decoder_input_ids"] = made.prepare_decoder_input_ids_from_labels(labels=labels)
        logits, targets = model(**inputs).logits, labels.flatten()[scored]
    else:
        logits, targets = model(**inputs, use_cache=False).logits, labels.flatten()[scored + 1]
    chosen = logits.flatten(0, 1)[scored]
    size = max(1, _CHUNK // chosen.shape[-1])
    parts = [
        F.cross_entropy(some.float(), target, reduction="none")
        for some, target in zip(torch.split(chosen, size), torch.split(targets, size), strict=True)
    ]
    of_rows = torch.zeros(len(labels), dtype=torch.float64, device=labels.device)
    return of_rows.index_add_(0, scored // labels.shape[1], -torch.cat(parts).double())
