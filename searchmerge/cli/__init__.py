"""The commands; the only room that knows all the others.

The rooms are imported inside the commands: torch and transformers take seconds, ``--help`` should not.
"""

from __future__ import annotations

import os
import sys

import click

from searchmerge import __version__
from searchmerge.cli import looking, models, searching
from searchmerge.types import UserError

USER_AT_FAULT = 2


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
        sys.exit(searching.INTERRUPTED)


def _complain(expected: str, got: str, cure: str) -> None:
    click.echo(f"error\n  expected  {expected}\n  got       {got}\n  do        {cure}", err=True)
    sys.exit(USER_AT_FAULT)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="searchmerge")
def cli() -> None:
    """Find the best merge of fine-tuned models by search."""


for command in (
    searching.optimize,
    searching.compare,
    looking.check,
    models.merge,
    models.evaluate,
    models.baselines,
    models.stats,
    looking.report,
    looking.dashboard,
    looking.list_,
    searching.demo,
):
    cli.add_command(command)
