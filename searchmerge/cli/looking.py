"""The commands that show what is there: check, report, dashboard, list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from searchmerge.cli._options import config_argument, set_option, trust, trusting

if TYPE_CHECKING:
    from searchmerge.bench import Bench


@click.command()
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
    loaded = load(config, [*overrides, *trust(allow_pickle, trust_remote_code)])
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


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Write FOLDER/report.html anew from the files of a run or of a comparison."""
    from searchmerge.report import comparison, page

    click.echo(str((comparison if comparison.is_comparison(folder) else page).write(folder)))


@click.command()
@click.argument("folders", metavar="FOLDER…", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=int, default=8080, show_default=True, help="0 takes a free one.")
def dashboard(folders: tuple[Path, ...], host: str, port: int) -> None:
    """Show all runs in FOLDERs and below in Optuna's dashboard, also while they go on."""
    from searchmerge.dashboard import serve

    serve(folders, host, port, lambda line: click.echo(line, err=True))


@click.command(name="list")
@click.argument("what", type=click.Choice(["strategies", "spaces", "methods", "metrics"]))
def list_(what: str) -> None:
    """List what is installed."""
    for name, text in _listed(what):
        click.echo(f"{name:<20} {text}")


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
