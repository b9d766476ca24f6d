"""Where a checkpoint's files are: a folder of this machine, or one that the Hugging Face hub fills."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from searchmerge.sources.weights import weight_files
from searchmerge.types import UserError

_PATTERNS = ("*.json", "*.txt", "*.model", "*.jinja", "README.md", "*.safetensors")
# Copies of the weights in other layouts, which many repositories hold beside the one that transformers reads.
_COPIES = ("*/*", "consolidated*")


def folder_of(ref: str, *, allow_pickle: bool = False, trust_remote_code: bool = False) -> Path:
    """Find the folder that a reference names; a hub id is looked up in the local cache first.

    Args:
        ref: a folder, or a hub id such as ``org/model``.
        allow_pickle: whether to fetch pickled weights too.
        trust_remote_code: whether to fetch the repository's Python files too.

    Raises:
        UserError: neither a folder nor an id that can be had.
    """
    path = Path(ref).expanduser()
    if path.is_dir():
        return path
    patterns = [
        *_PATTERNS,
        *(["pytorch_model*"] if allow_pickle else []),
        *(["*.py"] if trust_remote_code else []),
    ]
    fetch = partial(snapshot_download, ref, allow_patterns=patterns, ignore_patterns=list(_COPIES))
    try:
        cached = Path(fetch(local_files_only=True))
        if _complete(cached, allow_pickle):
            return cached
    except HFValidationError as error:
        raise UserError(
            expected=f"a model folder at {path}",
            got="a file" if path.exists() else "no such folder",
            cure="check the path; relative ones are taken from the config's folder",
        ) from error
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(fetch())
    except OSError as error:
        raise UserError(
            expected=f"the model folder or hub id {ref}",
            got=str(error).splitlines()[0],
            cure=f"check the name; where there is no network, fetch it elsewhere with: hf download {ref}",
        ) from error


def _complete(folder: Path, allow_pickle: bool) -> bool:
    """Whether the cache holds the weights too: it may hold a tokenizer alone, or an interrupted download."""
    files = weight_files(folder, allow_pickle=allow_pickle)
    return bool(files) and all(file.is_file() for file in files)
