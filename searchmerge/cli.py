"""The commands; the only room that knows all the others."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from searchmerge import __version__
from searchmerge.types import UserError

if TYPE_CHECKING:
    from searchmerge.bench import Bench

# The rooms are imported inside the commands: torch and transformers take seconds, `--help` should not.

P = ParamSpec("P")
R = TypeVar("R")

USER_AT_FAULT = 2
INTERRUPTED = 130


def main() -> None:
    """Run the command line; exit code 2 on the user's mistake, 130 on Ctrl-C."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        cli.main(standalone_mode=False)
    except UserError as error:
        _complain(error.expected, error.got, error.cure)
    except click.ClickException as error:
        error.show()
        sys.exit(USER_AT_FAULT)
    except (KeyboardInterrupt, click.Abort):
        click.echo("\ninterrupted", err=True)
        sys.exit(INTERRUPTED)


def _complain(expected: str, got: str, cure: str) -> None:
    click.echo(f"error\n  expected  {expected}\n  got       {got}\n  do        {cure}", err=True)
    sys.exit(USER_AT_FAULT)


config_argument = click.argument("config", type=click.Path(path_type=Path))
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="PATH.TO.KEY=VALUE", help="Replace a value of the config."
)
out_option = click.option("--out", type=click.Path(path_type=Path), required=True, help="Output folder.")
trust_options = (
    click.option("--allow-pickle", is_flag=True, help="Read checkpoints that have no safetensors."),
    click.option("--trust-remote-code", is_flag=True, help="Run code that came with a checkpoint."),
)


def trusting(command: Callable[P, R]) -> Callable[P, R]:
    """Add the options that let a checkpoint do more than hold safetensors."""
    for option in trust_options:
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="searchmerge")
def cli() -> None:
    """Find the best merge of fine-tuned models by search."""


@cli.command()
@config_argument
@click.option("--strategy", help="As in de, nevergrad:TwoPointsDE, de:population=16; other options default.")
@click.option("--budget", type=int, help="Evaluations.")
@click.option("--seed", type=int)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Output folder; runs/NAME-STRATEGY-SEED by default."
)
@click.option("--resume", is_flag=True, help="Go on with the run in the output folder.")
@set_option
@trusting
def optimize(
    config: Path,
    strategy: str | None,
    budget: int | None,
    seed: int | None,
    out: Path | None,
    resume: bool,
    overrides: tuple[str, ...],
    allow_pickle: bool,
    trust_remote_code: bool,
) -> None:
    """Search for the best merge that CONFIG describes."""
    from searchmerge import optimize as job
    from searchmerge.config import inline, load
    from searchmerge.report.progress import Progress
    from searchmerge.report.table import show

    settings = [*overrides, *_trust(allow_pickle, trust_remote_code)]
    settings += [f"budget.evaluations={budget}"] if budget is not None else []
    settings += [f"seed={seed}"] if seed is not None else []
    loaded = load(config, settings)
    if strategy and strategy != loaded.strategy.kind:
        loaded = loaded.model_copy(update={"strategy": inline(strategy)})
    folder = out or Path("runs") / f"{config.stem}-{loaded.strategy.kind}-{loaded.seed}".replace(":", "-")
    with _resumable(folder), Progress(loaded.budget) as progress:
        show_all: Any = {"watch": progress.update, "say": progress.say, "begin": progress.begin}
        result = job.optimize(loaded, folder, resume=resume, **show_all)
    show(result)
    click.echo(f"{folder}/report.html, {folder}/model, {folder}/recipe.json")


@cli.command()
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

    settings = [*overrides, *_trust(allow_pickle, trust_remote_code)]
    settings += [f"budget.evaluations={budget}"] if budget is not None else []
    loaded = load(config, settings)
    contest = Contest.of(loaded, strategies.split(",") if strategies else (), seeds)
    with _resumable(out), Filling(contest.entries, loaded.budget) as filling:
        shown: Any = {"watch": filling.update, "say": filling.say}
        content = head_to_head(loaded, contest, out, name=config.stem, resume=resume, **shown)
    comparison.show(content)
    click.echo(f"{out}/report.html, {out}/figures, {out}/tables, {out}/comparison.json")


@cli.command()
@config_argument
@click.option("--deep", is_flag=True, help="Read the weights too: should these experts be merged at all?")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where --deep leaves its figures; runs/NAME-check by default.",
)
@set_option
@trusting
def check(
    config: Path,
    deep: bool,
    out: Path | None,
    overrides: tuple[str, ...],
    allow_pickle: bool,
    trust_remote_code: bool,
) -> None:
    """Say whether CONFIG can run, what it needs and how long it takes; reads weights with --deep alone."""
    from searchmerge.bench import Bench
    from searchmerge.check import check as facts
    from searchmerge.config import load

    if out and not deep:
        raise click.UsageError("--out goes with --deep: a plain check leaves no files")
    loaded = load(config, [*overrides, *_trust(allow_pickle, trust_remote_code)])
    bench = Bench(loaded, strangers=deep)
    for topic, text in facts(bench):
        click.echo(f"{topic:<22} {text}")
    if deep:
        _examine(bench, out or Path("runs") / f"{config.stem}-check")
    else:
        click.echo("nothing speaks against this run")


def _examine(bench: Bench, folder: Path) -> None:
    from searchmerge.compatibility import examine, refusal
    from searchmerge.files import output_folder
    from searchmerge.report.compatibility import show, write

    output_folder(folder)
    click.echo()
    findings = examine(bench, lambda line: click.echo(line, err=True))
    show(findings)
    picture, figures = write(findings, folder)
    click.echo(f"{picture}, {figures}")
    if reason := refusal(findings):
        raise reason


@cli.command()
@click.argument("source", metavar="RECIPE|CONFIG", type=click.Path(path_type=Path))
@out_option
@set_option
@trusting
def merge(
    source: Path, out: Path, overrides: tuple[str, ...], allow_pickle: bool, trust_remote_code: bool
) -> None:
    """Make one merged model: a recipe.json again, or the default merge of a config's space."""
    from searchmerge.merge import from_config, from_recipe

    if out.exists() and any(out.iterdir()):
        raise UserError(
            expected="a new or empty output folder", got=f"{out} holds files", cure="choose another --out"
        )
    if source.suffix == ".json":
        from_recipe(source, out, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    else:
        from searchmerge.config import load

        from_config(load(source, [*overrides, *_trust(allow_pickle, trust_remote_code)]), out)
    click.echo(f"{out}")


@cli.command()
@click.argument("model")
@config_argument
@click.option("--split", type=click.Choice(["dev", "test", "ood"]), default="test", show_default=True)
@set_option
@trusting
def evaluate(
    model: str,
    config: Path,
    split: Any,
    overrides: tuple[str, ...],
    allow_pickle: bool,
    trust_remote_code: bool,
) -> None:
    """Score MODEL, a folder or hub id, on the tasks of CONFIG."""
    from searchmerge.config import load
    from searchmerge.evaluate import evaluate as job
    from searchmerge.report.table import show_standing

    loaded = load(config, [*overrides, *_trust(allow_pickle, trust_remote_code)])
    show_standing(job(model, loaded, split))


@cli.command()
@config_argument
@set_option
@trusting
def baselines(config: Path, overrides: tuple[str, ...], allow_pickle: bool, trust_remote_code: bool) -> None:
    """Score the experts and the usual merges on dev and test, without a search."""
    from searchmerge.bench import Bench
    from searchmerge.config import load
    from searchmerge.judge import judge
    from searchmerge.report.table import show

    loaded = load(config, [*overrides, *_trust(allow_pickle, trust_remote_code)])
    show(judge(Bench(loaded, say=lambda line: click.echo(line, err=True))))


@cli.command()
@click.argument("kind", type=click.Choice(["gram", "fisher"]))
@click.argument("model")
@click.argument("data")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write.")
@click.option("--split", help="DATA is a data set of the hub, and this its split.")
@click.option("--text", default="text", show_default=True, help="The column that holds the text.")
@click.option("--label", default="label", show_default=True, help="The column that holds the label.")
@click.option("--limit", type=int, default=1000, show_default=True, help="Take only the first so many texts.")
@click.option("--max-length", type=int, help="Cut longer texts to so many tokens.")
@click.option("--labels", type=click.Choice(["expected", "true"]), default="expected", show_default=True)
@click.option(
    "--precision", type=click.Choice(["auto", "float32", "bfloat16"]), default="float32", show_default=True
)
@trusting
def stats(
    kind: Any,
    model: str,
    data: str,
    out: Path,
    split: str | None,
    allow_pickle: bool,
    trust_remote_code: bool,
    **settings: Any,
) -> None:
    """Measure what RegMean (gram) or Fisher merging has to know of MODEL's DATA, as a file to share."""
    from rich.console import Console
    from rich.progress import track

    from searchmerge.bench import device_of
    from searchmerge.config import Source, Statistics, checked
    from searchmerge.sources.checkpoint import Checkpoint
    from searchmerge.statistics import files, of_model

    section = checked(Statistics, settings, "options")
    source = Source(dataset=data, split=split) if split else Source(path=data)
    checkpoint = Checkpoint.open(model, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    made = of_model(
        kind,
        checkpoint,
        source,
        section,
        device_of("auto"),
        trust_remote_code=trust_remote_code,
        track=lambda batches: track(batches, f"{kind} statistics", console=Console(stderr=True)),
    )
    files.write(made, out)
    click.echo(f"{out}: {made.about.examples} texts, {made.about.tokens} tokens")


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Write FOLDER/report.html anew from the files of a run or of a comparison."""
    from searchmerge.report import comparison, page

    click.echo(str((comparison if comparison.is_comparison(folder) else page).write(folder)))


@cli.command()
@click.argument("folders", metavar="FOLDER…", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=int, default=8080, show_default=True, help="0 takes a free one.")
def dashboard(folders: tuple[Path, ...], host: str, port: int) -> None:
    """Show all runs in FOLDERs and below in Optuna's dashboard, also while they go on."""
    from searchmerge.dashboard import serve

    serve(folders, host, port, lambda line: click.echo(line, err=True))


@cli.command(name="list")
@click.argument("what", type=click.Choice(["strategies", "spaces", "methods", "metrics"]))
def list_(what: str) -> None:
    """List what is installed."""
    for name, text in _listed(what):
        click.echo(f"{name:<20} {text}")


@cli.command()
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


def _trust(allow_pickle: bool, trust_remote_code: bool) -> list[str]:
    allowed = {"allow_pickle": allow_pickle, "trust_remote_code": trust_remote_code}
    return [f"models.{name}=true" for name, given in allowed.items() if given]


def _listed(what: str) -> Iterator[tuple[str, str]]:
    if what == "methods":
        from searchmerge.merging import METHODS

        for method in METHODS.values():
            yield method.name, method.summary
    elif what == "metrics":
        from searchmerge.objective.metrics import METRICS

        for kind, metrics in METRICS.items():
            yield kind, ", ".join(name + " (lower is better)" * each.lower for name, each in metrics.items())
    else:
        from searchmerge.plugins import available, load

        role: Any = what
        for name in available(role):
            yield name, (load(role, name).__doc__ or "").strip().partition("\n")[0]
