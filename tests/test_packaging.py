from __future__ import annotations

import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINKED = ("strategies", "spaces")


def test_every_folder_with_python_files_is_a_package_of_the_wheel() -> None:
    packages = PROJECT["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "searchmerge").rglob("*.py")}
    folders |= {Path("searchmerge") / name for name in LINKED}
    assert sorted(".".join(folder.parts) for folder in folders) == packages


@pytest.mark.parametrize("name", LINKED)
def test_the_links_point_to_the_top_level_folders(name: str) -> None:
    link = ROOT / "searchmerge" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name
    assert PROJECT["tool"]["setuptools"]["package-dir"][f"searchmerge.{name}"] == name


@pytest.mark.parametrize("role", LINKED)
def test_every_file_has_its_entry_point_and_loads(role: str) -> None:
    declared = PROJECT["project"]["entry-points"][f"searchmerge.{role}"]
    files = {path.stem for path in (ROOT / role).glob("[!_]*.py")}
    assert set(declared) == files
    for point in entry_points(group=f"searchmerge.{role}"):
        assert point.load().__doc__


def test_nothing_imports_the_top_level_folders() -> None:
    for path in ROOT.rglob("*.py"):
        if ".venv" not in path.parts and "build" not in path.parts:
            text = path.read_text()
            assert "\nfrom spaces" not in text, path
            assert "\nfrom strategies" not in text, path
