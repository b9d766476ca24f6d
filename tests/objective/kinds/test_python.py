"""A user's function as the objective of whole runs: whatever it does, the run goes on or says why not."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from searchmerge import config
from searchmerge.bench import Bench
from searchmerge.objective import Objective
from searchmerge.objective.kinds.time_limit import within
from searchmerge.objective.making import build
from searchmerge.optimize import run_search
from searchmerge.types import UserError
from tests.family import rewrite, tiny_family
from tests.fixtures import Run, tiny_bert, tiny_tokenizer
from tests.objective.making import CPU, write

FUNCTIONS = Path(__file__).parent / "functions.py"


@pytest.fixture
def family(tmp_path: Path) -> Path:
    """A config with the functions beside it."""
    shutil.copy(FUNCTIONS, tmp_path / "functions.py")
    return tiny_family(tmp_path, heads=False)


def asking(family: Path, function: str, strategy: dict[str, Any] | None = None, **task: Any) -> Path:
    """The config with that function of the file as its only task."""
    given = {"name": "it", "kind": "python", "function": f"functions:{function}", **task}
    return rewrite(
        family,
        objective={"tasks": [given], "precision": "float32"},
        strategy=strategy or {"kind": "random"},
        baselines=[],
    )


def trials(family: Path, out: str = "out", *, resume: bool = False) -> list[dict[str, Any]]:
    """Run, and give the journal's trials without their times."""
    folder = family.parent / out
    bench = Bench(config.load(family))
    run_search(bench, folder, resume=resume, watch=lambda *_: None)
    lines = (folder / "journal.jsonl").read_text().splitlines()[1:]
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


FAILURES = {
    "raises": "ValueError: no good",
    "not_a_number": "FloatingPointError: task it: the answers to 1 of 1 examples are not finite",
    "wrong_shape": "TypeError: task it: expected one score, or a list of them, got [[1.0, 2.0]]",
    "nothing": "TypeError: task it: expected one score, or a list of them, got None",
    "sleeps": "TimeoutError: no score within the time limit of 0.2 s",
    "turns": "TimeoutError: no score within the time limit of 0.2 s",
    "catches": "TimeoutError: no score within the time limit of 0.2 s",
    "catches_all": "TimeoutError: no score within the time limit of 0.2 s",
}


@pytest.mark.parametrize("function", FAILURES)
def test_what_fails_for_some_candidates_is_their_failure(family: Path, function: str) -> None:
    timed: dict[str, Any] = {"time_limit": 0.2} if "time limit" in FAILURES[function] else {}
    found = trials(asking(family, function, **timed))
    states = [trial["state"] for trial in found]
    assert len(found) == 12
    assert 1 < states.count("failed") < 11
    assert {trial["error"] for trial in found if trial["state"] == "failed"} == {FAILURES[function]}
    # The others are scored as if the bad ones had not been.
    plain = trials(asking(family, "size"), "plain")
    assert [trial["genotype"] for trial in found] == [trial["genotype"] for trial in plain]
    assert all(
        one["score"] == other["score"]
        for one, other in zip(found, plain, strict=True)
        if one["state"] == "complete"
    )


@pytest.mark.parametrize("function", ["raises", "draws"])
@pytest.mark.parametrize("left", [0, 1, 5, 11])
def test_cut_off_and_resumed_the_journal_is_the_same(family: Path, function: str, left: int) -> None:
    whole = trials(asking(family, function, {"kind": "cmaes"}))
    journal = family.parent / "out" / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[: 1 + left]) + lines[1 + left][:30])
    assert trials(family, resume=True) == whole


@pytest.mark.parametrize("strategy", ["random", "cmaes", "tpe", "nevergrad", "de"])
def test_what_it_draws_changes_no_strategy_and_is_the_same_every_time(family: Path, strategy: str) -> None:
    """Of all strategies, those that use global generators among them."""
    options = {"kind": strategy} | ({"population": 4} if strategy == "de" else {})
    plain = trials(asking(family, "size", options), "plain")
    seeded = trials(asking(family, "seeds", options), "seeded")
    assert [trial["genotype"] for trial in seeded] == [trial["genotype"] for trial in plain]
    asking(family, "draws", options)
    random.seed(5)
    first = trials(family, "first")
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(9)
    assert trials(family, "second") == first
    # The same number is added to each score.
    shift = first[0]["score"] - plain[0]["score"]
    assert first[1]["score"] - plain[1]["score"] == pytest.approx(shift)


def drawn() -> list[Any]:
    """What the global generators would give next; they stay where they are."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    found = [random.random(), np.random.random(), float(torch.rand(()))]  # noqa: NPY002
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])
    return found


def test_global_generators_are_left_alone(family: Path) -> None:
    bench = Bench(config.load(asking(family, "draws")))
    models = bench.realise(bench.merge(method="linear"))
    judge = bench.objective("dev")
    before = drawn()
    judge(models)
    assert drawn() == before


@pytest.mark.parametrize("best", [None, 0.0])
def test_floors_change_nothing(family: Path, best: float | None) -> None:
    """Greedy differential evolution asks with floors; with ``best`` some calls could be saved."""
    runs = {}
    for floor in (True, False):
        options = {"kind": "de", "population": 4, "floors": floor}
        limit: dict[str, Any] = {} if best is None else {"best": best}
        runs[floor] = trials(asking(family, "size", options, **limit), f"floor {floor}")
    states = [trial["state"] for trial in runs[True]]
    assert "rejected" in states
    assert [trial["genotype"] for trial in runs[True]] == [trial["genotype"] for trial in runs[False]]
    for one, other in zip(runs[True], runs[False], strict=True):
        assert one["state"] == "rejected" or one == other


@pytest.mark.parametrize("function", ["size", "drawn_lengths"])
def test_a_whole_run_is_judged(run: Run, family: Path, function: str) -> None:
    """With baselines, a test split and intervals; one score of all examples has none to draw from."""
    data: dict[str, Any] = {split: f"data/animals.{split}.jsonl" for split in ("dev", "test")}
    asking(family, function, **data)
    rewrite(family, baselines=["experts", "average", "tuned"])
    out = family.parent / "out"
    code, _, errors = run("optimize", family, "--out", out)
    assert code == 0, errors
    result = json.loads((out / "result.json").read_text())
    best = result["best"]["test"]
    assert best["low"] <= best["score"] <= best["high"]
    assert (best["low"] == best["high"]) == (function == "size")
    assert result["best"]["dev"]["score"] >= result["baselines"]["average"]["dev"]["score"] - 1e-9


# One objective on one model.


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_bert(tmp_path_factory.mktemp("bert"), ("bad", "good"), 0)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def judge(tokenizer: Any, function: str, dev: str | None = None, **options: Any) -> Objective:
    task = {"name": "it", "kind": "python", "function": f"{FUNCTIONS}:{function}", **options}
    task |= {} if dev is None else {"dev": dev}
    section = config.Objective.model_validate({"precision": "float32", "tasks": [task]})
    return build(section, "dev", tokenizer=tokenizer, labels={"merged": None}, device=CPU)


@pytest.fixture
def dev(tmp_path: Path) -> str:
    return write(tmp_path / "dev.jsonl", [{"text": "w1"}, {"text": "w1 w2"}, {"text": "w1 w2 w3 w4"}])


def test_a_score_an_example(tokenizer: Any, bert: Any, dev: str) -> None:
    evaluation = judge(tokenizer, "lengths", dev, options={"times": 2})({"merged": bert})
    assert evaluation.outcomes["it"].tolist() == [[6, 1], [8, 1], [12, 1]]
    assert evaluation.score == pytest.approx(26 / 3)


@pytest.mark.parametrize("function", ["tensors", "scalars"])
def test_scores_may_be_tensors(tokenizer: Any, bert: Any, dev: str, function: str) -> None:
    evaluation = judge(tokenizer, function, dev)({"merged": bert})
    assert evaluation.outcomes["it"][:, 0].tolist() == [1.0, 2.0, 4.0]


def test_one_score_of_several_examples(tokenizer: Any, bert: Any, dev: str) -> None:
    evaluation = judge(tokenizer, "size", dev)({"merged": bert})
    assert evaluation.outcomes["it"].shape == (1, 2)
    assert evaluation.score == -float(next(bert.parameters()).detach().abs().mean())


def test_examples_and_options_are_copies(tokenizer: Any, bert: Any, dev: str) -> None:
    task = judge(tokenizer, "changes_examples", dev, options={"words": []})
    assert task({"merged": bert}).score == task({"merged": bert}).score


def test_the_model_is_out_of_training_again(tokenizer: Any, bert: Any) -> None:
    judge(tokenizer, "trains")({"merged": bert})
    assert not bert.training


@pytest.mark.parametrize("function", ["halves", "zeroes", "zeroes_and_raises"])
def test_a_function_that_changes_the_weights_ends_the_run(
    tokenizer: Any, tmp_path: Path, function: str
) -> None:
    """Heads and detached parameters would be as it left them for all candidates to come."""
    model = tiny_bert(tmp_path / "model", ("bad", "good"), 0)
    with pytest.raises(UserError) as caught:
        judge(tokenizer, function)({"merged": model})
    assert "leaves the weights as they are" in caught.value.expected
    assert caught.value.got == (
        "changes in 1 tensors, classifier.weight the first"
        if "zeroes" in function
        else f"changes in {len(list(model.parameters()))} tensors, {next(iter(model.state_dict()))} the first"
    )


def test_a_copy_may_be_changed(tokenizer: Any, bert: Any) -> None:
    judge(tokenizer, "copies")({"merged": bert})


def test_weights_that_are_no_numbers_are_no_change(tokenizer: Any, tmp_path: Path) -> None:
    model = tiny_bert(tmp_path / "model", ("bad", "good"), 0)
    with torch.no_grad():
        next(model.parameters())[0] = math.nan
    with pytest.raises(FloatingPointError):
        judge(tokenizer, "size")({"merged": model})


def test_a_score_above_the_best_is_refused(tokenizer: Any, bert: Any, dev: str) -> None:
    assert judge(tokenizer, "tensors", dev, best=4)({"merged": bert}).score == pytest.approx(7 / 3)
    with pytest.raises(UserError, match="at most 3, the best of the task it"):
        judge(tokenizer, "tensors", dev, best=3)({"merged": bert})


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_module", "ModuleNotFoundError"),
        ("def other(): ...", "AttributeError"),
        ("score = 3", "TypeError: score is 3"),
        ("def score(:", "SyntaxError"),
        ("raise SystemError('no')", "SystemError: no"),
    ],
)
def test_errors_on_import_are_the_users(family: Path, source: str, said: str) -> None:
    (family.parent / "functions.py").write_text(source)
    asking(family, "score")
    with pytest.raises(UserError, match=said) as caught:
        trials(family)
    assert "a function score in" in caught.value.expected


def test_another_version_of_the_file_is_another_run(family: Path) -> None:
    trials(asking(family, "size"))
    (family.parent / "functions.py").write_text(FUNCTIONS.read_text() + "\n# changed\n")
    with pytest.raises(UserError, match="objective"):
        trials(family, resume=True)


def test_a_call_in_time_is_left_alone() -> None:
    tracer = sys.gettrace()
    assert within(30.0, lambda: 3) == 3
    with pytest.raises(KeyError):
        within(30.0, lambda: os.environ["NO_SUCH_VARIABLE"])
    assert sys.gettrace() is tracer
