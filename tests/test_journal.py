from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchmerge.journal import Journal, from_line, pack, read, to_line, unpack
from searchmerge.types import Cross, Evaluation, Trial, UserError

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


def test_two_processes_do_not_write_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEADER) as journal:
        journal.append(trial(0))
        before = path.read_bytes()
        script = (
            "import sys, json; from pathlib import Path; from searchmerge.journal import Journal\n"
            "Journal(Path(sys.argv[1]), json.loads(sys.argv[2]), resume=True)"
        )
        other = subprocess.run(
            [sys.executable, "-c", script, path, json.dumps(HEADER)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert other.returncode == 1
        assert "one that writes" in other.stderr
        with pytest.raises(UserError, match="stop it"):
            Journal(path, HEADER, resume=True)
        assert path.read_bytes() == before
        journal.append(trial(1))
    with Journal(path, HEADER, resume=True) as journal:
        assert len(journal.trials) == 2


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEADER) as journal:
        journal.append(trial(0))
    path.write_bytes(path.read_bytes().replace(b'"number":0', b'"number":'))
    with pytest.raises(UserError, match="line 2") as refused:
        Journal(path, HEADER, resume=True)
    path.write_bytes(path.read_bytes().replace(b'"number":', b'"number":0'))
    with Journal(path, HEADER, resume=True) as journal:  # the lock is not held as long as the error is
        assert len(journal.trials) == 1
    assert refused


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


@given(st.lists(st.integers(1, 9), max_size=3), st.sampled_from(["u1", "?", "f8"]))
def test_outcomes_of_several_numbers_an_example_keep_their_shape(shape: list[int], dtype: str) -> None:
    array = np.arange(math.prod([4, *shape])).reshape(4, *shape).astype(dtype)
    found = unpack(pack(array))
    assert (found.shape, found.dtype) == (array.shape, array.dtype)
    assert np.array_equal(found, array)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1))
def test_numbers_survive_to_the_last_bit(score: float, coordinate: float) -> None:
    written = Trial(3, (coordinate,), {"w": coordinate}, Evaluation(score, {"t": score}))
    back = from_line(json.loads(json.dumps(to_line(written))))
    assert (back.genotype, back.score, back.recipe) == ((coordinate,), score, {"w": coordinate})


individuals = st.one_of(st.integers(0, 10**6), st.text("ab 0é", max_size=6))
numbers = st.floats(allow_nan=False, allow_infinity=False)
crosses = st.builds(
    Cross,
    individuals,
    st.lists(st.tuples(individuals, numbers), min_size=1, max_size=5).map(tuple),
    st.floats(0, 1),
    st.integers(0, 2**32 - 1),
)
populations = st.lists(st.one_of(individuals, crosses), min_size=1, max_size=6).map(tuple)


@given(populations)
def test_populations_survive_with_their_crosses(genotype: tuple[Any, ...]) -> None:
    written = Trial(3, genotype, {"n": 1}, Evaluation(0.5, {"t": 0.5}))
    back = from_line(json.loads(json.dumps(to_line(written)))).genotype
    assert back == genotype
    assert [type(gene) for gene in back] == [type(gene) for gene in genotype]
    hash(back)  # lists in the place of tuples would raise


def test_a_cross_is_written_for_people_to_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    cross = Cross("reviews", (("reviews", 0.5), (7, 0.5)), 0.25, 2**32 - 1)
    with Journal(path, HEADER) as journal:
        journal.append(Trial(0, (12, cross, "tweets"), {"n": 0}, None, "broke"))
    record = json.loads(path.read_text().splitlines()[1])
    written = {"parent": "reviews", "mutant": [["reviews", 0.5], [7, 0.5]], "cr": 0.25, "seed": 4294967295}
    assert record["genotype"] == [12, written, "tweets"]
    assert read(path)[1][0].genotype == (12, cross, "tweets")


def test_the_three_states_are_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    trials = [
        trial(0),
        Trial(1, (0.5,), {"n": 1}, None, None, seconds=0.25),
        Trial(2, (0.5,), {"n": 2}, None, "broke"),
        Trial(3, (0.5,), {"n": 1}, Evaluation(0.25, {"task": 0.25}), None, 1),
        Trial(4, (0.5,), {"n": 5}, None, None, 1),
    ]
    expected = ["complete", "rejected", "failed", "complete", "rejected"]
    with Journal(path, HEADER) as journal:
        for each in trials:
            journal.append(each)
    records = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    assert [record["state"] for record in records] == expected
    assert [record["score"] for record in records] == [0.5, None, None, 0.25, None]
    _, back = read(path)
    assert [each.state for each in back] == expected
    assert [each.score for each in back] == [0.5, -math.inf, -math.inf, 0.25, -math.inf]
    assert [each.error for each in back] == [None, None, "broke", None, None]
    assert [each.repeats for each in back] == [None, None, None, 1, 1]
    assert back[1].seconds == 0.25
