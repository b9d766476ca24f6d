"""Races in a search: who loses to whom, what the journal says of it, and what a resumed run makes of that."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from searchmerge.bench import Bench
from searchmerge.config import Budget, load
from searchmerge.journal import Journal, from_line, to_line
from searchmerge.optimize import run_search
from searchmerge.profiling import profiled
from searchmerge.search import search
from searchmerge.types import Candidate, Evaluation, Lost, Race, Recipe, Trial, UserError
from tests.family import rewrite, tiny_family
from tests.test_search import Counted, Line, Listed, compared, known, states


def against(rival: int, level: float = 0.1) -> Race:
    return Race(rival, "bound", level, seed=7)


class Racing(Listed):
    """A strategy that asks fixed batches of coordinates, or of pairs of one and what else there is."""

    def ask(self) -> Sequence[Candidate]:
        batch = self.batches.pop(0) if self.batches else []
        return [
            Candidate((x,), **more) for x, more in (e if isinstance(e, tuple) else (e, {}) for e in batch)
        ]


class Track:
    """Scores candidates that race as :class:`Counted` does; who would score less than the rival has lost."""

    def __init__(self) -> None:
        self.alone = Counted()
        self.met: list[tuple[float, Race, int]] = []

    def raced(
        self, recipe: Recipe, floor: float, share: float, race: Race, rival: Evaluation
    ) -> Evaluation | Lost | None:
        (outcome,) = rival.outcomes["x"].tolist()
        self.met.append((recipe["x"], race, outcome))
        found = Counted()(recipe, -math.inf, share)
        assert found is not None
        return Lost() if found.score < rival.score else found if found.score > floor else None


def raced(
    folder: Path, strategy: Any, track: Track, *, resume: bool = False, evaluations: int = 100, **options: Any
) -> list[Trial]:
    folder.mkdir(exist_ok=True)
    with Journal(folder / "journal.jsonl", {"seed": 0}, resume=resume) as journal:
        budget = Budget(evaluations=evaluations)
        parts: Any = {"raced": track.raced, **options}
        return list(search(Line(), strategy, track.alone, journal, budget, **parts))


def test_a_candidate_that_loses_its_race_is_rejected_and_the_journal_says_to_whom(tmp_path: Path) -> None:
    strategy, track = Racing([0.4], [(0.6, {"race": against(1)}), (0.2, {"race": against(1)})]), Track()
    trials = raced(tmp_path, strategy, track)
    assert track.alone.calls == [0.5, 0.4]
    assert track.met == [(0.6, against(1), 4), (0.2, against(1), 4)]
    assert states(trials) == ["complete", "complete", "rejected", "complete"]
    assert [trial.lost_to for trial in trials] == [None, None, 1, None]
    assert strategy.told == [[pytest.approx(-0.01)], [-math.inf, pytest.approx(-0.01)]]
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()[1:]]
    assert [line.get("lost_to") for line in lines] == [None, None, 1, None]
    assert ["lost_to" in line for line in lines] == [False, False, True, False]
    assert lines[2]["state"] == "rejected"


def test_a_floor_in_a_race_rejects_without_a_loss(tmp_path: Path) -> None:
    strategy = Racing([0.4], [(0.2, {"race": against(1), "floor": 0.0})])
    trials = raced(tmp_path, strategy, Track())
    assert (trials[2].state, trials[2].lost_to) == ("rejected", None)


def test_a_rival_that_is_a_repeat_races_with_the_outcomes_of_the_trial_that_it_repeats(
    tmp_path: Path,
) -> None:
    track = Track()
    trials = raced(tmp_path, Racing([0.51], [(0.7, {"race": against(1)})]), track)
    assert (trials[1].repeats, dict(trials[1].evaluation.outcomes if trials[1].evaluation else {})) == (0, {})
    assert track.met == [(0.7, against(1), 5)]
    assert trials[2].lost_to == 1


def test_a_rival_that_was_rejected_first_races_with_its_own_outcomes(tmp_path: Path) -> None:
    track = Track()
    trials = raced(tmp_path, Racing([(0.2, {"floor": 0.0})], [0.2], [(0.7, {"race": against(2)})]), track)
    assert [trial.repeats for trial in trials] == [None, None, 1, None]
    assert track.met == [(0.7, against(2), 2)]


def test_without_a_rivals_outcomes_on_the_same_share_there_is_no_race(tmp_path: Path) -> None:
    track = Track()
    whole, half = {"race": against(1)}, {"race": against(2)}
    parts = [(0.1, {"share": 0.5}), 0.4], [(0.6, whole), (0.7, {**half, "share": 0.5})]
    trials = raced(tmp_path / "shares", Racing(*parts), track)
    assert (track.met, states(trials)) == ([], ["complete"] * 5)
    raced(tmp_path / "rejected", Racing([(0.2, {"floor": 0.0})], [(0.6, whole)]), track)
    assert track.met == []

    def broken(recipe: Recipe, floor: float, share: float) -> Evaluation | None:
        if recipe["x"] == 0.2:
            raise RuntimeError("broke")
        return Counted()(recipe, floor, share)

    track.alone = broken  # type: ignore[assignment]
    raced(tmp_path / "failed", Racing([0.2], [(0.6, whole)]), track)
    assert track.met == []
    track = Track()
    raced(
        tmp_path / "half", Racing([(0.1, {"share": 0.5})], [(0.7, {"race": against(1), "share": 0.5})]), track
    )
    assert [met[0] for met in track.met] == [0.7]
    raced(tmp_path / "nobody", Racing([0.4], [(0.6, whole)]), track, raced=None)
    assert [met[0] for met in track.met] == [0.7]


def test_the_share_that_counts_in_a_race_is_the_one_that_the_candidate_gets(tmp_path: Path) -> None:
    """In a round on half of dev a rival of the whole is no rival, and one of that half is."""
    track = Track()
    batches = [0.4], [(0.6, {"race": against(0)})], [(0.7, {"race": against(1)})]
    raced(tmp_path, Racing(*batches), track, share=lambda number: 0.5 if number else 1.0)
    assert [met[0] for met in track.met] == [0.7]


def test_whoever_lost_is_evaluated_again_at_no_cost_when_it_comes_again(tmp_path: Path) -> None:
    """A loss is no knowledge of the score: the recipe may be the better one."""
    track = Track()
    race = {"race": against(1)}
    strategy = Racing([0.4], [(0.6, race)], [0.6], [(0.6, race)], [0.1])
    trials = raced(tmp_path, strategy, track, evaluations=4)
    assert states(trials) == ["complete", "complete", "rejected", "complete", "complete", "complete"]
    assert [trial.repeats for trial in trials] == [None, None, None, 2, 3, None]
    assert track.alone.calls == [0.5, 0.4, 0.6, 0.1]
    assert len(track.met) == 1, "the last time its score was known"


def test_what_fails_in_a_race_has_failed(tmp_path: Path) -> None:
    def failing(*_: Any) -> Evaluation:
        raise RuntimeError("broke")

    trials = raced(tmp_path, Racing([0.4], [(0.6, {"race": against(1)})]), Track(), raced=failing)
    assert (trials[2].state, trials[2].error, trials[2].lost_to) == ("failed", "RuntimeError: broke", None)


def test_what_another_search_knows_does_not_answer_for_a_race(tmp_path: Path) -> None:
    """It would have a score where the candidate alone would have been stopped."""
    track = Track()
    strategy = Racing([0.4], [(0.6, {"race": against(1)}), 0.7])
    trials = raced(
        tmp_path, strategy, track, recall=lambda recipe: known(recipe["x"]) if recipe["x"] > 0.5 else None
    )
    assert (trials[2].lost_to, trials[3].seconds) == (1, 7.0)
    assert track.alone.calls == [0.5, 0.4]


RACES: tuple[list[Any], ...] = (
    [0.4, 0.2],
    [(0.6, {"race": against(1)}), (0.3, {"race": against(2)}), (0.61, {"race": against(1)})],
    [(0.1, {"race": against(4)}), 0.6, (0.6, {"race": against(4)}), (0.3, {"race": against(3)})],
)


@pytest.mark.parametrize("done", range(11))
def test_resumed_with_lost_races_the_journal_is_the_same(tmp_path: Path, done: int) -> None:
    undisturbed, complete = Racing(*RACES), Track()
    trials = raced(tmp_path / "whole", undisturbed, complete)
    assert [trial.lost_to for trial in trials].count(None) == len(trials) - 3
    lines = (tmp_path / "whole" / "journal.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "journal.jsonl").write_text("".join(lines[: 1 + done]))
    strategy, track = Racing(*RACES), Track()
    raced(tmp_path, strategy, track, resume=True)
    assert compared(tmp_path / "journal.jsonl") == compared(tmp_path / "whole" / "journal.jsonl")
    assert strategy.told == undisturbed.told
    assert track.met == complete.met[len(complete.met) - len(track.met) :]


def test_a_loss_is_kept_in_the_journal_and_lines_without_one_are_read() -> None:
    lost = Trial(7, (0.5,), {"x": 1}, None, lost_to=3)
    line = json.loads(json.dumps(to_line(lost)))
    assert from_line(line) == lost
    del line["lost_to"]
    assert from_line(line) == Trial(7, (0.5,), {"x": 1}, None)


# On models.

STRATEGIES: dict[str, dict[str, Any]] = {
    "tpe": {"kind": "tpe", "startup": 5, "racing": 0.3},
    "cmaes": {"kind": "cmaes", "racing": 0.3},
}


def racing_family(folder: Path, strategy: dict[str, Any], **objective: Any) -> Path:
    """Texts of a few words in some 14 batches; weights that make a great difference."""
    config = tiny_family(folder)
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    content["objective"] |= {"batch_tokens": 30, **objective}
    content |= {"strategy": strategy, "budget": {"evaluations": 30}, "baselines": []}
    return rewrite(config, **content)


def searched(config: Path, out: Path, *, resume: bool = False) -> tuple[Bench, list[Trial], dict[str, float]]:
    bench, trials = Bench(load(config)), []
    _, _, counts = run_search(bench, out, resume=resume, watch=lambda trial, _: trials.append(trial))
    return bench, trials, counts


@pytest.fixture(scope="module", params=STRATEGIES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param)
    config = racing_family(folder, STRATEGIES[request.param])
    return config, folder / "whole", *searched(config, folder / "whole")


def test_races_are_lost_to_earlier_trials_and_save_forward_passes(run: Any) -> None:
    _, _, bench, trials, counts = run
    dev = bench.objective("dev")
    lost = [trial for trial in trials if trial.lost_to is not None]
    assert lost
    for trial in lost:
        assert trials[trial.lost_to].evaluation is not None
        assert (trial.state, trial.lost_to < trial.number) == ("rejected", True)
    assert counts["rejected"] >= len(lost)
    whole = sum(each.cost for each in dev.asking.rounds)
    assert dev.forwarded < sum(trial.repeats is None for trial in trials) * whole


def test_what_was_not_stopped_has_the_score_that_it_has_alone(run: Any) -> None:
    config, _, _, trials, _ = run
    bench = Bench(load(config))
    for trial in trials[::4]:
        if trial.evaluation is not None:
            assert bench.evaluate(trial.recipe).score == trial.score


@pytest.mark.parametrize("part", [0.2, 0.6, 0.9])
def test_resumed_from_any_line_a_race_ends_as_it_would_have(run: Any, tmp_path: Path, part: float) -> None:
    """The fresh process knows nothing of how hard the batches are, and has read them in no order yet."""
    config, whole, _, _, _ = run
    lines = (whole / "journal.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "journal.jsonl").write_text("".join(lines[: round(part * len(lines))]))
    searched(config, tmp_path, resume=True)
    assert compared(tmp_path / "journal.jsonl") == compared(whole / "journal.jsonl")


def test_a_penalty_is_no_obstacle_to_a_race(tmp_path: Path) -> None:
    config = racing_family(tmp_path, STRATEGIES["tpe"], penalty={"coefficients": 0.5})
    _, trials, _ = searched(config, tmp_path / "out")
    assert any(trial.lost_to is not None for trial in trials)


def test_a_profile_counts_those_that_raced(tmp_path: Path) -> None:
    bench = Bench(load(racing_family(tmp_path, STRATEGIES["tpe"])))
    with profiled(bench) as found:
        _, _, counts = run_search(bench, tmp_path / "out", resume=False, watch=lambda *_: None)
    assert found["profile"]["candidates"] == counts["evaluations"] == 30
    assert found["profile"]["parts"]["forward"]["seconds"] > 0


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_metric_that_is_no_mean_is_refused_before_the_search(tmp_path: Path, name: str) -> None:
    config = racing_family(tmp_path, STRATEGIES[name], aggregate="worst")
    with pytest.raises(UserError, match="aggregate: worst"):
        Bench(load(config)).strategy()
    Bench(load(rewrite(config, strategy={"kind": name}))).strategy()
