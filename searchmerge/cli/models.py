"""The commands that make or score models without a search: merge, evaluate, baselines, stats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from searchmerge.cli._options import config_argument, out_option, set_option, trust, trusting
from searchmerge.types import UserError


@click.command()
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

        from_config(load(source, [*overrides, *trust(allow_pickle, trust_remote_code)]), out)
    click.echo(f"{out}")


@click.command()
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

    loaded = load(config, [*overrides, *trust(allow_pickle, trust_remote_code)])
    show_standing(job(model, loaded, split))


@click.command()
@config_argument
@set_option
@trusting
def baselines(config: Path, overrides: tuple[str, ...], allow_pickle: bool, trust_remote_code: bool) -> None:
    """Score the experts and the usual merges on dev and test, without a search."""
    from searchmerge.bench import Bench
    from searchmerge.config import load
    from searchmerge.judge import judge
    from searchmerge.report.table import show

    loaded = load(config, [*overrides, *trust(allow_pickle, trust_remote_code)])
    show(judge(Bench(loaded, say=lambda line: click.echo(line, err=True))))


@click.command()
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
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "int8"]),
    default="float32",
    show_default=True,
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
