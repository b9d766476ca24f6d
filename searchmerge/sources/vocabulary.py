"""Whether models read text alike: their tokenizers' vocabularies, compared from the files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from searchmerge.types import UserError

_FILES = (
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a vocabulary of any kind."""
    return any((folder / name).is_file() for name in _FILES)


def compare(folders: Mapping[str, Path]) -> list[str]:
    """Check that the tokenizers of several models agree.

    Args:
        folders: the model folders by what the user calls them; the first with a tokenizer is the measure.

    Returns:
        Notes for the user: who has no tokenizer, whose has more tokens or splits text otherwise.

    Raises:
        UserError: two tokenizers give one number to different tokens.
    """
    notes = [f"{who} has no tokenizer of its own" for who, at in folders.items() if not has_tokenizer(at)]
    readable = {who: tokens for who, at in folders.items() if (tokens := _tokens(at)) is not None}
    notes += [
        f"the vocabulary of {who} cannot be compared (a sentencepiece file without tokenizer.json)"
        for who, at in folders.items()
        if has_tokenizer(at) and who not in readable
    ]
    if not readable:
        return notes
    first, *others = readable
    for who in others:
        notes += _differences(first, readable[first], who, readable[who])
        if _rules(folders[first]) != _rules(folders[who]):
            notes.append(f"the tokenizers of {first} and {who} normalise or split text differently")
    return notes


def _differences(first: str, one: Mapping[int, str], who: str, other: Mapping[int, str]) -> list[str]:
    for number in one.keys() & other.keys():
        if one[number] != other[number]:
            raise UserError(
                expected=f"one vocabulary in {first} and {who}",
                got=f"token {number} is {one[number]!r} in {first} and {other[number]!r} in {who}",
                cure="merge models that were fine-tuned from one base with its tokenizer",
            )
    apart = len(one.keys() ^ other.keys())
    return [f"{apart} tokens are in only one of the vocabularies of {first} and {who}"] if apart else []


def _tokens(folder: Path) -> dict[int, str] | None:
    """The token of each number, without those added after training; None if no file can be read."""
    vocab: Any
    if (folder / "tokenizer.json").is_file():
        vocab = _json(folder / "tokenizer.json").get("model", {}).get("vocab")
        if isinstance(vocab, list):  # Unigram: pairs of token and score, in the order of their numbers
            return {number: str(pair[0]) for number, pair in enumerate(vocab)}
    elif (folder / "vocab.json").is_file():
        vocab = _json(folder / "vocab.json")
    elif (folder / "vocab.txt").is_file():
        lines = (folder / "vocab.txt").read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
        return {number: line.rstrip("\r") for number, line in enumerate(lines)}
    else:
        return None
    return {int(number): str(token) for token, number in vocab.items()} if isinstance(vocab, dict) else None


def _rules(folder: Path) -> Any:
    """How text is normalised and cut into words; None where only a vocabulary is there."""
    path = folder / "tokenizer.json"
    return [_json(path).get(part) for part in ("normalizer", "pre_tokenizer")] if path.is_file() else None


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError(f"{type(content).__name__} instead of an object")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            expected=f"JSON in {path}", got=str(error), cure="download or save the tokenizer again"
        ) from error
    return content
