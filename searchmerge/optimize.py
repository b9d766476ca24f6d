"""The main job: search, then judge the winner and the baselines, then leave the run's files."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Generator, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from searchmerge import __version__, front, plugins
from searchmerge.baselines import require
from searchmerge.bench import Bench
from searchmerge.config import Budget, Config, Objective
from searchmerge.export import export
from searchmerge.files import output_folder, write_json
from searchmerge.fitness import Fitness
from searchmerge.journal import Journal
from searchmerge.judge import judge
from searchmerge.leaks import Leak, leaks
from searchmerge.objective.bootstrap import unseen
from searchmerge.profiling import profiled
from searchmerge.provenance import provenance
from searchmerge.recipes import needed, recipe_file
from searchmerge.report import card, page
from searchmerge.search import Recall, search
from searchmerge.types import Recipe, Trial, UserError, default_genotype, meanings, names

LIBRARIES = ("torch", "transformers", "numpy", "cma", "optuna", "nevergrad")

Watch = Callable[[Trial, Trial], None]
"""Called after each trial with it and the best one so far."""


def optimize(
    config: Config,
    out: Path,
    *,
    resume: bool,
    watch: Watch,
    say: Callable[[str], None],
    begin: Callable[[Budget], None] = lambda _: None,
    profile: bool = False,
) -> dict[str, Any]:
    """Run a config to its end and leave the contract's files in ``out``.

    Args:
        config: the whole run.
        out: ``journal.jsonl``, ``recipe.json``, ``model/``, ``result.json`` and ``report.html`` go there, and
            ``front/`` where the tasks are kept apart.
        resume: go on with the run that is there.
        watch: sees every trial.
        say: told what takes long before and after the search, a line at a time.
        begin: told the budget of each search before it starts, the main one's last.
        profile: whether to measure where each search's wall time goes.

    Returns:
        The content of ``result.json``.

    Raises:
        UserError: the input is at fault; whatever was evaluated stays in the journal.
    """
    started = time.perf_counter()
    bench = Bench(config, say)
    require(bench)
    bench.check_space()
    found = _said(leaks(config, "training"), say)
    watch = _with_noise(bench, watch, say)
    before = _search_before(bench, out, resume=resume, watch=watch, begin=begin, profile=profile)
    begin(config.budget)
    with profiled(bench, profile) as spent:
        best, reason, counts = run_search(bench, out, resume=resume, watch=watch)
    write_json(out / "recipe.json", _file(bench, best.recipe))
    points = front.leave(bench, out, int(counts["evaluations"] + counts["repeats"]))
    say("judging the winner and the baselines")
    found += _said(leaks(config, "test"), say)
    judgement = judge(bench, best)
    result = {
        "strategy": config.strategy.kind,
        "space": config.space.kind,
        "seed": config.seed,
        "budget": config.budget.model_dump(exclude_none=True),
        **counts,
        "stopped": reason,
        **spent,
        **({"before": before} if before else {}),
        **judgement,
        **front.judged(bench, points, judgement["baselines"]),
        "leaks": [leak.record for leak in found],
        "seconds": round(time.perf_counter() - started, 1),
        "versions": versions(),
    }
    if best.recipe["space"] == "population":
        result["provenance"] = provenance(best.recipe, bench.layout)
    say("writing the model and the report")
    deliver(bench, best.recipe, result, out)
    return result


def _search_before(
    bench: Bench, out: Path, *, resume: bool, watch: Watch, begin: Callable[[Budget], None], profile: bool
) -> dict[str, Any]:
    """Run the earlier searches, each in a folder of its name, and give the bench their winners' recipes."""
    done: dict[str, Any] = {}
    for stage in bench.config.before:
        bench.before(stage).strategy()  # what is wrong with any is said before the first one starts
    if bench.config.before:
        bench.strategy()
    _ = bench.workshop  # one for all searches
    for stage in bench.config.before:
        bench.say(f"searching {stage.name}: {stage.strategy.kind} over {stage.space.kind}")
        begin(stage.budget)
        earlier = bench.before(stage)
        with profiled(earlier, profile) as spent:
            best, reason, counts = run_search(earlier, out / stage.name, resume=resume, watch=watch)
        bench.found(stage.name, plugins.load("spaces", best.recipe["space"]).pruned(best.recipe))
        budget = stage.budget.model_dump(exclude_none=True)
        parts = {"strategy": stage.strategy.kind, "space": stage.space.kind, "budget": budget}
        done[stage.name] = {**parts, **counts, "stopped": reason, "trial": best.number, **spent}
    return done


def _said(found: Iterable[Leak], say: Callable[[str], None]) -> list[Leak]:
    found = list(found)
    for leak in found:
        say(f"leak: {leak}")
    return found


def _with_noise(bench: Bench, watch: Watch, say: Callable[[str], None]) -> Watch:
    """Say, when a default merge has been scored, how small a difference dev cannot show."""
    said = False

    def watched(trial: Trial, best: Trial) -> None:
        nonlocal said
        if trial.number == 0 and trial.evaluation is not None and not said:
            said = True
            noise = unseen(bench.objective("dev"), trial.evaluation.outcomes)
            say(f"differences under {noise:.3g} cannot be seen on dev (bootstrap of the default merge)")
        watch(trial, best)

    return watched


def run_search(
    bench: Bench, out: Path, *, resume: bool, watch: Watch, recall: Recall = lambda _: None
) -> tuple[Trial, str, dict[str, float]]:
    """Search as the bench's config says, its journal in ``out``; returns what :func:`follow` does."""
    config = bench.config
    strategy, fitness = bench.strategy(), Fitness(bench)
    with Journal(output_folder(out) / "journal.jsonl", header(bench), resume=resume) as journal:
        parts = bench.space, strategy, fitness, journal, config.budget
        told, share = front.told(bench), fitness.share
        best, reason, counts = follow(search(*parts, recall, told, share, fitness.raced), watch)
        return fitness.winner(best, journal.trials), reason, counts


def follow(run: Generator[Trial, None, str], watch: Watch) -> tuple[Trial, str, dict[str, float]]:
    """Run a search to its end.

    Returns:
        The best trial (the first of equals), why the search ended, and its counts.

    Raises:
        UserError: not one candidate could be evaluated.
    """
    best: Trial | None = None
    counts = {"evaluations": 0.0, "repeats": 0, "rejected": 0, "failures": 0}
    while True:
        try:
            trial = next(run)
        except StopIteration as end:
            reason = str(end.value)
            break
        counts["repeats"] += trial.repeats is not None
        counts["evaluations"] += trial.cost if trial.repeats is None else 0
        counts["rejected"] += trial.state == "rejected" and trial.repeats is None
        counts["failures"] += trial.state == "failed" and trial.repeats is None
        best = trial if best is None or _rank(trial) > _rank(best) else best
        watch(trial, best)
    if best is None or best.evaluation is None:
        raise UserError(
            expected="one candidate that can be evaluated",
            got=f"{counts['failures']} failures" + (f", the first: {best.error}" if best else ""),
            cure="look at the errors in journal.jsonl",
        )
    counts["evaluations"] = round(counts["evaluations"], 3)
    return (
        best,
        reason,
        {name: int(count) if count == int(count) else count for name, count in counts.items()},
    )


def _rank(trial: Trial) -> tuple[bool, float]:
    """What was scored on a part of dev comes after all that was scored on the whole."""
    return trial.share == 1 and trial.evaluation is not None, trial.score


def deliver(bench: Bench, recipe: Recipe, result: dict[str, Any], out: Path) -> None:
    """Write ``model/``, ``result.json`` and ``report.html``."""
    content = _file(bench, recipe)
    export(recipe, bench.workshop, bench.heads, bench.tokenizer, card.text(content, result), out / "model")
    write_json(out / "result.json", result)
    page.write(out)


def _file(bench: Bench, recipe: Recipe) -> dict[str, Any]:
    return recipe_file(bench.sources, bench.config.models, bench.heads, recipe, bench.statistics)


def header(bench: Bench) -> dict[str, Any]:
    """The first line of the journal: what must be the same for a run to go on."""
    config, sources = bench.config, bench.sources
    dev = bench.objective("dev")
    kind = needed(bench.space.decode(default_genotype(bench.space.dims)))
    checkpoints = {"base": sources.base, **{f"expert {name}": c for name, c in sources.experts.items()}}
    return {
        "searchmerge": __version__,
        "strategy": config.strategy.model_dump(),
        "space": config.space.model_dump(),
        "seed": config.seed,
        "dims": names(bench.space.dims),
        **({"means": means} if (means := meanings(bench.space.dims)) else {}),
        "sources": {name: c.fingerprint for name, c in checkpoints.items() if c is not None},
        **({"labels": sources.alignment.record} if sources.alignment else {}),
        **({"stages": bench.stages} if config.before else {}),
        "objective": dev.fingerprint,
        **_fitness(config.objective),
        **({"statistics": bench.statistics.record(kind)} if kind else {}),
        "device": str(bench.device),
        "config": config.model_dump(mode="json", exclude_none=True),
    }


def _fitness(objective: Objective) -> dict[str, Any]:
    """What a score depends on besides the objective, where anything."""
    penalty, subset = objective.penalty.model_dump(), objective.subset
    found = {"penalty": penalty} if any(penalty.values()) else {}
    return found | ({"subset": subset.model_dump()} if subset else {})


def versions() -> dict[str, str]:
    """Of this program, Python and the libraries that scores depend on."""
    found = {name: version(name) for name in LIBRARIES}
    return {"searchmerge": __version__, "python": platform.python_version(), **found}
