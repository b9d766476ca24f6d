"""Texts as the models' token numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from searchmerge.types import UserError


def tokenised(texts: Sequence[str], tokenizer: Any, max_length: int | None) -> dict[str, list[list[int]]]:
    """Give the columns that a model takes, one sequence of numbers a text; longer texts are cut.

    Args:
        texts: at least one.
        tokenizer: a tokenizer of transformers.
        max_length: the most tokens of a text; None for what the tokenizer allows.
    """
    # A tokenizer without a limit of its own has 10^30.
    limits = [limit for limit in (max_length, tokenizer.model_max_length) if limit and limit < 10**9]
    encoded = tokenizer(
        list(texts),
        truncation=bool(limits),
        max_length=min(limits, default=None),
        return_attention_mask=False,
        verbose=False,
    )
    # Columns of zeros are what models assume; some models do not take them.
    return {
        name: column
        for name, column in encoded.items()
        if name == "input_ids" or any(any(values) for values in column)
    }


def padding(tokenizer: Any) -> dict[str, int]:
    """What each column is padded with.

    Raises:
        UserError: the tokenizer has no padding token.
    """
    if tokenizer.pad_token_id is None:
        raise UserError(
            expected="a tokenizer with a padding token",
            got="one that has none",
            cure="set pad_token in tokenizer_config.json, and its number as pad_token_id in config.json",
        )
    return {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
