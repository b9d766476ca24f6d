from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.journal import Journal, from_line, pack, read, to_line, unpack
from searchmerge.types import Evaluation, Trial, UserError

HEADER = {"strategy": {"kind": "random"}, "seed": 0, "config": {"any": "thing"}}


def trial(number: int, score: float | None = 0.5) -> Trial:
    outcomes = {"task": np.array([0, 1, number % 2], np.uint8)}
    evaluation = None if score is None else Evaluation(score, {"task": score}, outcomes)
    return Trial(number, (0.25, number / 7), {"n": number}, evaluation, None if evaluation else "broke")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEADER) as journal:
        journal.append(trial(0))
        journal.append(trial(1, None))
    header, trials = read(path)
    assert header["strategy"] == {"kind": "random"}
    assert [t.genotype for t in trials] == [trial(0).genotype, trial(1).genotype]
    assert trials[0].evaluation is not None
    assert np.array_equal(trials[0].evaluation.outcomes["task"], [0, 1, 0])
    assert trials[1].evaluation is None
    assert trials[1].error == "broke"


@given(st.integers(0, 3), st.data())
def test_a_kill_at_any_byte_loses_at_most_the_last_line(trials: int, data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        with Journal(path, HEADER) as journal:
            for number in range(trials):
                journal.append(trial(number))
        whole = path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        with Journal(path, HEADER, resume=True) as journal:
            for number in range(len(journal.trials), trials):
                journal.append(trial(number))
        assert path.read_bytes() == whole


def test_another_runs_journal_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEADER) as journal:
        journal.append(trial(0))
    before = path.read_bytes()
    with pytest.raises(UserError, match="its seed is 0, now 1"):
        Journal(path, {**HEADER, "seed": 1}, resume=True)
    with pytest.raises(UserError, match="--resume"):
        Journal(path, HEADER)
    assert path.read_bytes() == before


def test_the_config_for_people_is_not_compared(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path, HEADER).close()
    with Journal(path, {**HEADER, "config": "moved to another folder"}, resume=True) as journal:
        assert journal.trials == []


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEADER) as journal:
        journal.append(trial(0))
    path.write_bytes(path.read_bytes().replace(b'"number":0', b'"number":'))
    with pytest.raises(UserError, match="line 2"):
        Journal(path, HEADER, resume=True)


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"loss": 1}\n')
    with pytest.raises(UserError, match="another first line"):
        read(path)


def test_a_disk_that_is_full_leaves_a_whole_journal() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    journal = Journal.__new__(Journal)
    journal.path, journal.trials = full, []
    with full.open("r+b", buffering=0) as file:
        journal._file = file
        file.truncate = lambda *_: 0  # type: ignore[method-assign]
        with pytest.raises(UserError, match="No space left"):
            journal.append(trial(0))
    assert journal.trials == []


@given(st.lists(st.integers(0, 300)), st.sampled_from(["u1", "u2", "f4"]))
def test_outcomes_survive_packing(values: list[int], dtype: str) -> None:
    array = np.array(values).astype(dtype)
    assert np.array_equal(unpack(pack(array)), array)
    assert unpack(pack(array)).dtype == array.dtype


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1))
def test_numbers_survive_to_the_last_bit(score: float, coordinate: float) -> None:
    written = Trial(3, (coordinate,), {"w": coordinate}, Evaluation(score, {"t": score}))
    back = from_line(json.loads(json.dumps(to_line(written))))
    assert (back.genotype, back.score, back.recipe) == ((coordinate,), score, {"w": coordinate})
