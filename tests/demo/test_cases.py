"""Each case can be asked for, goes to its own preparation, and has a config that names what is prepared."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import get_args

import pytest
import yaml

from searchmerge import demo
from searchmerge.cli import searching
from searchmerge.demo import brown, texts
from tests.fixtures import Run

CASES = get_args(demo.Case)


@pytest.mark.parametrize(
    ("arguments", "case"),
    [([], "tasks"), (["--domains"], "domains"), *[(["--case", case], case) for case in CASES]],
)
def test_the_case_is_what_was_asked_for(
    arguments: list[str], case: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def prepare(case: str, *_: object) -> None:
        asked.append(case)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "prepare", prepare)
    run("demo", *arguments)
    assert asked == [case]


def test_the_command_offers_all_cases() -> None:
    (option,) = [one for one in searching.demo.params if one.name == "case" and one.opts == ["--case"]]
    assert option.to_info_dict()["type"]["choices"] == CASES


@pytest.mark.parametrize("case", CASES)
def test_a_case_goes_to_its_own_preparation(
    case: demo.Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    for name in ("classifying", "tagging", "writing", "answers"):
        module = importlib.import_module(f"searchmerge.demo.{name}")
        monkeypatch.setattr(module, "prepare", lambda *given, name=name: made.append(name))
    demo.prepare(case, tmp_path, lambda _: None)
    assert made == [case if case not in ("tasks", "domains") else "classifying"]
    assert (tmp_path / f"{case}.yaml").is_file()


@pytest.mark.parametrize("case", CASES)
def test_the_config_names_what_is_prepared(case: str) -> None:
    config = yaml.safe_load(Path(demo.__file__).with_name(f"{case}.yaml").read_text("utf-8"))
    names = list(brown.GENRES) if case == "tagging" else [task.name for task in texts.CASES[case]]  # type: ignore[index]
    assert config["models"] == {
        "base": f"{case}/base",
        "experts": {name: f"{case}/experts/{name}" for name in names},
    }
    files = [(task["dev"], task["test"]) for task in config["objective"]["tasks"]]
    assert set(files) == {
        (f"{case}/data/{name}.dev.jsonl", f"{case}/data/{name}.test.jsonl") for name in names
    }
    known = {name for task in config["objective"]["tasks"] for name in (task["name"], task.get("expert"))}
    assert set(names) <= known
