"""The commands that search: optimize, compare, demo."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from searchmerge.cli._options import config_argument, out_option, set_option, trust, trusting

INTERRUPTED = 130
"""The exit code of what the user has stopped."""


@click.command()
@config_argument
@click.option("--strategy", help="As in de, nevergrad:TwoPointsDE, de:population=16; other options default.")
@click.option("--budget", type=int, help="Evaluations.")
@click.option("--seed", type=int)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Output folder; runs/NAME-STRATEGY-SEED by default."
)
@click.option("--resume", is_flag=True, help="Go on with the run in the output folder.")
@click.option("--profile", is_flag=True, help="Measure and print where the search's time goes.")
@set_option
@trusting
def optimize(
    config: Path,
    strategy: str | None,
    budget: int | None,
    seed: int | None,
    out: Path | None,
    resume: bool,
    profile: bool,
    overrides: tuple[str, ...],
    allow_pickle: bool,
    trust_remote_code: bool,
) -> None:
    """Search for the best merge that CONFIG describes."""
    from searchmerge import optimize as job
    from searchmerge.config import inline, load
    from searchmerge.report import spent
    from searchmerge.report.progress import Progress
    from searchmerge.report.table import show

    settings = [*overrides, *trust(allow_pickle, trust_remote_code)]
    settings += [f"budget.evaluations={budget}"] if budget is not None else []
    settings += [f"seed={seed}"] if seed is not None else []
    loaded = load(config, settings)
    if strategy and strategy != loaded.strategy.kind:
        loaded = loaded.model_copy(update={"strategy": inline(strategy)})
    folder = out or Path("runs") / f"{config.stem}-{loaded.strategy.kind}-{loaded.seed}".replace(":", "-")
    with _resumable(folder), Progress(loaded.budget) as progress:
        show_all: Any = {"watch": progress.update, "say": progress.say, "begin": progress.begin}
        result = job.optimize(loaded, folder, resume=resume, profile=profile, **show_all)
    show(result)
    if profile:
        spent.show(result)
    click.echo(f"{folder}/report.html, {folder}/model, {folder}/recipe.json")


@click.command()
@config_argument
@click.option(
    "--strategies", help="Separated by commas: names from the config's section compare, or as --strategy."
)
@click.option("--seeds", type=int, help="Runs of each strategy over each space; 5 by default.")
@click.option("--budget", type=int, help="Evaluations of each run.")
@out_option
@click.option("--resume", is_flag=True, help="Go on with the comparison in the output folder.")
@set_option
@trusting
def compare(
    config: Path,
    strategies: str | None,
    seeds: int | None,
    budget: int | None,
    out: Path,
    resume: bool,
    overrides: tuple[str, ...],
    allow_pickle: bool,
    trust_remote_code: bool,
) -> None:
    """Put strategies side by side on what CONFIG describes, several seeds each."""
    from searchmerge.compare.contest import Contest
    from searchmerge.compare.job import head_to_head
    from searchmerge.config import load
    from searchmerge.report import comparison
    from searchmerge.report.filling import Filling

    settings = [*overrides, *trust(allow_pickle, trust_remote_code)]
    settings += [f"budget.evaluations={budget}"] if budget is not None else []
    loaded = load(config, settings)
    contest = Contest.of(loaded, strategies.split(",") if strategies else (), seeds)
    with _resumable(out), Filling(contest.entries, loaded.budget) as filling:
        shown: Any = {"watch": filling.update, "say": filling.say}
        content = head_to_head(loaded, contest, out, name=config.stem, resume=resume, **shown)
    comparison.show(content)
    click.echo(f"{out}/report.html, {out}/figures, {out}/tables, {out}/comparison.json")


@click.command()
@click.option(
    "--case",
    type=click.Choice(["tasks", "domains", "tagging", "writing", "answers"]),
    default="tasks",
    show_default=True,
    help="Which models and texts; docs/demo.md tells them apart.",
)
@click.option("--domains", "case", flag_value="domains", hidden=True)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("searchmerge-demo"),
    show_default=True,
    help="Where the experts, the texts and the run go.",
)
@click.option("--seed", type=int, default=0, show_default=True)
def demo(case: Any, folder: Path, seed: int) -> None:
    """Fine-tune experts on real text, search their best merge, and show what it is worth."""
    from searchmerge.demo import prepare
    from searchmerge.optimize import optimize as job
    from searchmerge.report.progress import Progress
    from searchmerge.report.table import show

    config = prepare(case, folder, click.echo)
    config = config.model_copy(update={"seed": seed})
    out = folder / "runs" / f"{case}-{seed}"
    with _resumable(out, flag=""), Progress(config.budget) as progress:
        result = job(config, out, resume=out.exists(), watch=progress.update, say=progress.say)
    show(result)
    click.echo(f"{out}/report.html, {out}/model, {out}/recipe.json")


@contextmanager
def _resumable(folder: Path, flag: str = "--resume") -> Iterator[None]:
    """On Ctrl-C, say how the run goes on; ``flag`` is what the command needs for that."""
    try:
        yield
    except KeyboardInterrupt:
        given = [argument for argument in sys.argv[1:] if argument != flag]
        command = shlex.join(["searchmerge", *given, *([flag] if flag else [])])
        click.echo(f"\ninterrupted; every finished trial is kept in {folder}; go on with", err=True)
        click.echo(f"  {command}", err=True)
        sys.exit(INTERRUPTED)
