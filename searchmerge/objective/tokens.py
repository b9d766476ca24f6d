"""Texts as the models' token numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from searchmerge.objective.cache import WORDS, Columns, encoded
from searchmerge.types import UserError


def limit(tokenizer: Any, max_length: int | None) -> int | None:
    """The most tokens of a text: the smaller of the user's limit and the tokenizer's, None without either."""
    # A tokenizer without a limit of its own has 10^30.
    return min(
        (each for each in (max_length, tokenizer.model_max_length) if each and each < 10**9), default=None
    )


def tokenised(
    texts: Sequence[Any],
    tokenizer: Any,
    max_length: int | None,
    *,
    pairs: Sequence[str] | None = None,
    **options: Any,
) -> Columns:
    """Give the columns that a model takes, one sequence of numbers a text; longer texts are cut.

    Args:
        texts: at least one.
        tokenizer: a tokenizer of transformers.
        max_length: the most tokens of a text; None for what the tokenizer allows.
        pairs: the second text of each.
        options: further ones of the tokenizer's.

    Returns:
        ``input_ids`` and what other columns the model takes; and what :func:`encoded` gives beside.
    """
    longest = limit(tokenizer, max_length)
    columns = encoded(tokenizer, texts, pairs, truncation=longest is not None, max_length=longest, **options)
    # Columns of zeros are what models assume; some models do not take them.
    return {
        name: rows for name, rows in columns.items() if name in ("input_ids", WORDS) or any(map(any, rows))
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
