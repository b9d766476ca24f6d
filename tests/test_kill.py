from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from searchmerge.plugins import available
from tests.family import rewrite, tiny_family

ROOT = Path(__file__).parent.parent


def compared(journal: Path) -> list[str]:
    """The journal without the times, line by line, byte for byte."""
    lines = journal.read_text().splitlines()
    return [lines[0], *(line[: line.rindex(',"seconds":')] for line in lines[1:])]


@pytest.mark.parametrize("strategy", sorted(available("strategies")))
def test_killed_at_random_instants_and_resumed_the_journal_is_the_same(tmp_path: Path, strategy: str) -> None:
    config = rewrite(tiny_family(tmp_path), budget={"evaluations": 40}, baselines=[])
    command = [sys.executable, "-m", "tests.killed", str(config), strategy, str(tmp_path), "7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr

    whole, killed = (compared(tmp_path / name / "journal.jsonl") for name in ("undisturbed", "killed"))
    assert killed == whole
    assert len([line for line in whole[1:] if json.loads(line + "}")["repeats"] is None]) == 40
    results = [
        json.loads((tmp_path / name / "result.json").read_text()) for name in ("undisturbed", "killed")
    ]
    assert results[0]["best"] == results[1]["best"]
