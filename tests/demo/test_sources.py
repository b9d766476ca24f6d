"""Downloads are pinned, checked, unpacked whole, and not repeated."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from searchmerge.demo.download import fetch
from searchmerge.demo.sources import SOURCES, Source
from searchmerge.types import UserError

CONTENT = b"one\ttwo\n"


def source(file: str, archive: bytes, members: tuple[str, ...] = ("inside/a.tab",)) -> Source:
    return Source("pack", "1.0", file, hashlib.sha256(archive).hexdigest(), "texts", "MIT", members)


def wheel() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inside/a.tab", CONTENT)
        archive.writestr("inside/b.py", "raise SystemExit")
    return buffer.getvalue()


def sdist() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("inside/a.tab")
        entry.size = len(CONTENT)
        archive.addfile(entry, io.BytesIO(CONTENT))
        folder = tarfile.TarInfo("inside")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    return buffer.getvalue()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(subprocess, "run", refuse)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("file", "archive"), [("pack-1.0-py3-none-any.whl", wheel()), ("pack-1.0.tar.gz", sdist())]
)
def test_only_the_named_members_are_taken_and_then_kept(tmp_path: Path, file: str, archive: bytes) -> None:
    (tmp_path / file).write_bytes(archive)
    pinned = source(file, archive)
    folder = fetch(tmp_path, ["pack"], [pinned])["pack"]
    assert [path.name for path in folder.iterdir()] == ["a.tab"]
    assert (folder / "a.tab").read_bytes() == CONTENT
    (tmp_path / file).unlink()
    assert fetch(tmp_path, ["pack"], [pinned])["pack"] == folder
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder.name]


@pytest.mark.usefixtures("offline")
def test_another_hash_is_refused(tmp_path: Path) -> None:
    archive = wheel()  # archives hold the time
    (tmp_path / "pack.whl").write_bytes(archive)
    wrong = dataclasses.replace(source("pack.whl", archive), sha256="0" * 64)
    with pytest.raises(UserError, match="SHA-256 0000") as refused:
        fetch(tmp_path, ["pack"], [wrong])
    assert hashlib.sha256(archive).hexdigest() in refused.value.got
    assert [path.name for path in tmp_path.iterdir()] == ["pack.whl"]


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("file", "archive", "member"),
    [
        ("pack.whl", wheel(), "inside/c.tab"),
        ("pack.tar.gz", sdist(), "inside/c.tab"),
        ("pack.tar.gz", sdist(), "inside"),
    ],
)
def test_a_missing_member_is_refused_and_leaves_no_folder(
    tmp_path: Path, file: str, archive: bytes, member: str
) -> None:
    (tmp_path / file).write_bytes(archive)
    with pytest.raises(UserError, match=member):
        fetch(tmp_path, ["pack"], [source(file, archive, ("inside/a.tab", member))])
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_what_pip_cannot_find_is_a_user_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match="pip ended with 1") as refused:
        fetch(tmp_path, ["pack"], [source("pack-1.0.tar.gz", sdist())])
    assert "put pack-1.0.tar.gz into" in refused.value.cure
    assert not list(tmp_path.iterdir())


def test_pip_downloads_from_a_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = _minimal_wheel()
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "pack-1.0-py3-none-any.whl").write_bytes(built)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    folder = fetch(tmp_path / "cache", ["pack"], [source("pack-1.0-py3-none-any.whl", built)])["pack"]
    assert (folder / "a.tab").read_bytes() == CONTENT
    assert (tmp_path / "cache" / "pack-1.0-py3-none-any.whl").read_bytes() == built


def test_what_a_case_does_not_name_is_not_brought(tmp_path: Path) -> None:
    assert fetch(tmp_path, [], [source("pack-1.0.tar.gz", sdist())]) == {}


def npm_source(archive: bytes) -> Source:
    return dataclasses.replace(source("pack-1.0.tgz", archive), client="npm")


def test_npm_packs_what_it_has_into_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for npm: it checks its arguments and leaves the archive where it is told."""
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    archive = sdist()
    pinned = npm_source(archive)
    (tmp_path / "archive").write_bytes(archive)
    npm.write_text(
        f'#!/bin/sh\n[ "$1 $2" = "pack pack@1.0" ] || exit 3\n'
        f'for last; do :; done\ncp {tmp_path}/archive "$last/pack-1.0.tgz"\n'
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(npm.parent), prepend=os.pathsep)
    folder = fetch(tmp_path / "cache", ["pack"], [pinned])["pack"]
    assert (folder / "a.tab").read_bytes() == CONTENT
    npm.write_text("#!/bin/sh\necho no such version >&2\necho log at >&2\nexit 1\n")
    with pytest.raises(UserError, match="npm ended with 1: no such version"):
        fetch(tmp_path / "other", ["pack"], [pinned])


def test_without_npm_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="npm, which brings pack") as refused:
        fetch(tmp_path / "cache", ["pack"], [npm_source(sdist())])
    assert refused.value.cure == f"install Node.js, or put pack-1.0.tgz into {tmp_path / 'cache'}"


def _minimal_wheel() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inside/a.tab", CONTENT)
        archive.writestr("pack-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: pack\nVersion: 1.0\n")
        archive.writestr("pack-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("pack-1.0.dist-info/RECORD", "")
    return buffer.getvalue()


def test_every_source_is_pinned() -> None:
    assert len({one.name for one in SOURCES}) == len(SOURCES) == 6
    for one in SOURCES:
        assert len(one.sha256) == 64
        assert one.version in one.file
        assert one.licence
        assert one.members
