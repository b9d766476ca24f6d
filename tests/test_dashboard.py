from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from searchmerge.dashboard import Board, serve
from searchmerge.journal import Journal
from searchmerge.types import Evaluation, Trial, UserError
from tests.fixtures import Run

HEADER = {"strategy": {"kind": "de"}, "space": {"kind": "any"}, "seed": 0, "dims": ["a"]}


def trial(number: int) -> Trial:
    return Trial(number, (number / 100,), {"n": number}, Evaluation(number, {"task": number}), seconds=1.0)


def begun(folder: Path, trials: int) -> Journal:
    folder.mkdir(parents=True)
    journal = Journal(folder / "journal.jsonl", HEADER)
    for number in range(trials):
        journal.append(trial(number))
    return journal


def scores(board: Board) -> dict[str, list[float | None]]:
    return {study.study_name: [trial.value for trial in study.trials] for study in board.studies}


def test_trials_arrive_as_the_journal_grows(tmp_path: Path) -> None:
    board = Board([tmp_path])
    with begun(tmp_path / "run", 2) as journal:
        board.look()
        (study,) = board.studies
        assert [trial.value for trial in study.trials] == [0, 1]
        journal.append(trial(2))
        assert len(study.trials) == 2
        board.look()
        board.look()
        assert [trial.number for trial in study.trials] == [0, 1, 2]
        assert study.trials[2].params == {"a": 0.02}
        assert study.trials[2].datetime_start == study.trials[1].datetime_complete


def test_a_line_arrives_when_it_is_whole(tmp_path: Path) -> None:
    begun(tmp_path / "run", 3).close()
    path = tmp_path / "run" / "journal.jsonl"
    whole = path.read_bytes()
    board = Board([tmp_path])
    for cut in range(0, len(whole) + 1, 7):
        path.write_bytes(whole[:cut])
        board.look()
        complete = whole[:cut].count(b"\n")
        assert scores(board) == ({f"{tmp_path.name}/run": [0, 1, 2][: complete - 1]} if complete else {})


def test_new_runs_are_found_at_any_depth_and_named_by_their_place(tmp_path: Path) -> None:
    tasks, other = tmp_path / "compared" / "tasks", tmp_path / "evo"
    begun(tasks / "de-0", 1).close()
    begun(other, 2).close()
    board = Board([tmp_path / "compared", other, tasks])
    board.look()
    assert scores(board) == {"compared/tasks/de-0": [0], "evo": [0, 1]}
    begun(tasks / "de-1" / "before", 3).close()
    board.look()
    assert scores(board)["compared/tasks/de-1/before"] == [0, 1, 2]
    assert len(board.studies) == 3


def test_what_cannot_be_read_is_said_once_and_left_out(tmp_path: Path) -> None:
    begun(tmp_path / "good", 1).close()
    begun(tmp_path / "bad", 1).close()
    (tmp_path / "bad" / "journal.jsonl").write_text("no JSON\n")
    said: list[str] = []
    board = Board([tmp_path], said.append)
    board.look()
    board.look()
    assert scores(board) == {f"{tmp_path.name}/good": [0]}
    assert len(said) == 1
    assert "bad/journal.jsonl" in said[0]


def test_another_run_in_the_same_folder_takes_the_firsts_place(tmp_path: Path) -> None:
    begun(tmp_path / "run", 5).close()
    board = Board([tmp_path])
    board.look()
    shutil.rmtree(tmp_path / "run")
    board.look()
    begun(tmp_path / "run", 2).close()
    board.look()
    board.look()
    assert scores(board) == {f"{tmp_path.name}/run": [0, 1]}


def test_a_study_deleted_in_the_browser_stays_away(tmp_path: Path) -> None:
    board = Board([tmp_path])
    with begun(tmp_path / "run", 1) as journal:
        board.look()
        board.storage.delete_study(board.studies[0]._study_id)
        journal.append(trial(1))
        board.look()
        journal.append(trial(2))
        board.look()
    assert board.studies == []
    assert board.storage.get_all_studies() == []


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        Board([tmp_path, tmp_path / "nowhere"])


@pytest.mark.skipif(find_spec("optuna_dashboard") is not None, reason="optuna-dashboard is installed")
def test_without_the_extra_the_command_names_it(run: Run, tmp_path: Path) -> None:
    begun(tmp_path / "run", 1).close()
    code, _, errors = run("dashboard", tmp_path)
    assert code == 2
    assert 'pip install "searchmerge[dashboard]"' in errors


@pytest.fixture
def _installed() -> None:
    pytest.importorskip("optuna_dashboard")


@pytest.mark.usefixtures("_installed")
def test_no_runs_and_a_port_that_is_taken_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none that can be read"):
        serve([tmp_path], "127.0.0.1", 0, print)
    begun(tmp_path / "run", 1).close()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="--port"):
            serve([tmp_path], "127.0.0.1", taken.getsockname()[1], print)


def asked(address: str, path: str) -> Any:
    with urlopen(f"{address}api/{path}") as answer:
        return json.load(answer)


@pytest.mark.usefixtures("_installed")
def test_the_page_shows_a_run_that_goes_on_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    with begun(tmp_path / "run", 2) as journal:
        server = subprocess.Popen(
            [sys.executable, "-m", "searchmerge", "dashboard", str(tmp_path), "--port", "0"],
            stderr=subprocess.PIPE,
            text=True,
            # A shell's background job ignores interrupts, and what it starts does too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            assert server.stderr is not None
            said = re.search(r"1 run at (http://127\.0\.0\.1:\d+/)", server.stderr.readline())
            assert said
            (study,) = asked(said[1], "studies")["study_summaries"]
            assert study["study_name"] == f"{tmp_path.name}/run"
            seen: Sequence[Any] = asked(said[1], f"studies/{study['study_id']}")["trials"]
            assert [trial["values"] for trial in seen] == [[0], [1]]
            journal.append(trial(2))
            deadline = time.monotonic() + 60
            while len(seen) < 3 and time.monotonic() < deadline:
                time.sleep(0.5)
                seen = asked(said[1], f"studies/{study['study_id']}")["trials"]
            assert [trial["values"] for trial in seen] == [[0], [1], [2]]
        finally:
            server.send_signal(signal.SIGINT)
            _, errors = server.communicate(timeout=60)
        assert (server.returncode, errors.strip()) == (0, "")
