"""The tokens of many texts, kept on disk: tokenising them is what takes longest before a search.

They are kept in the user's cache, or in the folder that ``SEARCHMERGE_TOKEN_CACHE`` names; where that is set
and empty nothing is kept. Whatever is wrong with the cache, the texts are tokenised anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import tokenizers
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from searchmerge.files import user_cache

SWITCH = "SEARCHMERGE_TOKEN_CACHE"
"""The environment variable that names the folder, or, empty, turns the cache off."""

FEWEST = 500_000
"""Characters from which on tokens are kept: some 3,000 texts, which take a third of a second."""

VERSIONS = (transformers.__version__, tokenizers.__version__)
"""Of the libraries: others may tokenise otherwise."""

LARGEST = 2**30
"""Bytes of all that is kept; what was not used for longest goes first."""

WORDS, OUTSIDE = "word_ids", -1
"""The column of the words' numbers, and what stands there for a token of no word."""

Columns: TypeAlias = dict[str, list[list[int]]]
"""``input_ids`` and others, one sequence of numbers a text."""

Arrays: TypeAlias = dict[str, npt.NDArray[np.int32]]

_SUFFIX = ".tokens"


def encoded(
    tokenizer: Any, texts: Sequence[Any], pairs: Sequence[str] | None = None, **options: Any
) -> Columns:
    """Tokenise texts, or take their tokens from the cache.

    Args:
        tokenizer: a tokenizer of transformers.
        texts: at least one; lists of words with the option ``is_split_into_words``.
        pairs: the second text of each.
        options: others of the tokenizer's.

    Returns:
        What the tokenizer gives and, of texts in words, ``word_ids``: the number of each token's word.
    """
    path = _path(tokenizer, texts, pairs, options)
    if path is not None and (known := _read(path)) is not None:
        return known
    columns = _tokenised(tokenizer, texts, pairs, options)
    if path is not None:
        # A full disk, a folder that may not be written to: then nothing is kept.
        with suppress(OSError, SafetensorError):
            _keep(columns, path)
    return columns


def _tokenised(
    tokenizer: Any, texts: Sequence[Any], pairs: Sequence[str] | None, options: Mapping[str, Any]
) -> Columns:
    encoding = tokenizer(
        list(texts),
        None if pairs is None else list(pairs),
        return_attention_mask=False,
        verbose=False,
        **options,
    )
    columns = dict(encoding)
    if options.get("is_split_into_words"):
        rows = map(encoding.word_ids, range(len(texts)))
        columns[WORDS] = [[OUTSIDE if word is None else word for word in row] for row in rows]
    return columns


def _path(
    tokenizer: Any, texts: Sequence[Any], pairs: Sequence[str] | None, options: Mapping[str, Any]
) -> Path | None:
    """Where the tokens stand, by a hash of all that they depend on; None where they are not to be kept."""
    folder = os.environ.get(SWITCH)
    # What is in Python cannot be hashed: slow tokenizers, and code that came with a checkpoint.
    told = getattr(tokenizer, "is_fast", False) and type(tokenizer).__module__.startswith("transformers.")
    if folder == "" or not told or _characters(texts) + _characters(pairs or ()) < FEWEST:
        return None
    # What stands first is how the call before this one cut and padded.
    _, _, state = tokenizer.backend_tokenizer.to_str().partition('"added_tokens"')
    settings = [getattr(tokenizer, name, None) for name in ("truncation_side", "split_special_tokens")]
    names = [type(tokenizer).__qualname__, list(tokenizer.model_input_names)]
    content = [VERSIONS, state, settings, names, texts, pairs, options]
    key = hashlib.sha256(json.dumps(content, sort_keys=True, default=repr).encode()).hexdigest()
    return (Path(folder) if folder else user_cache("tokens")) / f"{key[:32]}{_SUFFIX}"


def _characters(texts: Sequence[Any]) -> int:
    return sum(len(text) if isinstance(text, str) else sum(map(len, text)) for text in texts)


def _read(path: Path) -> Columns | None:
    """The columns of a file; None where there is none, or a damaged one."""
    try:
        with safe_open(path, framework="numpy") as file:
            arrays: Arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
            whole = file.metadata() == {"sha256": _digest(arrays)}
        lengths = arrays.pop("lengths")
    except (OSError, SafetensorError, KeyError):
        return None
    if not whole:
        return None
    with suppress(OSError):
        os.utime(path)
    cuts = list(pairwise(np.cumsum([0, *lengths]).tolist()))
    flat = {name: array.tolist() for name, array in arrays.items()}
    return {name: [values[start:end] for start, end in cuts] for name, values in flat.items()}


def _keep(columns: Columns, path: Path) -> None:
    """Write the file, whole or not at all, whoever else writes it."""
    lengths = np.array([len(row) for row in columns["input_ids"]], dtype=np.int32)
    flat = {name: np.fromiter(chain.from_iterable(rows), np.int32) for name, rows in columns.items()}
    arrays: Arrays = {"lengths": lengths, **flat}
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=_SUFFIX)
    os.close(handle)
    beside = Path(name)
    try:
        save_file(arrays, beside, {"sha256": _digest(arrays)})
        if _make_room(beside):
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _digest(arrays: Arrays) -> str:
    found = hashlib.sha256()
    for name in sorted(arrays):
        found.update(name.encode() + arrays[name].tobytes())
    return found.hexdigest()


def _make_room(new: Path) -> bool:
    """Remove the oldest files until all are small enough; whether the new one can stay."""
    files = [(each.stat(), each) for each in new.parent.glob(f"*{_SUFFIX}") if each != new]
    size = new.stat().st_size + sum(stat.st_size for stat, _ in files)
    if new.stat().st_size > LARGEST:
        return False
    for stat, each in sorted(files, key=lambda file: file[0].st_mtime_ns):
        if size <= LARGEST:
            break
        each.unlink(missing_ok=True)
        size -= stat.st_size
    return True
