"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

P = ParamSpec("P")
R = TypeVar("R")

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


def trust(allow_pickle: bool, trust_remote_code: bool) -> list[str]:
    """The values of the config that these options replace."""
    allowed = {"allow_pickle": allow_pickle, "trust_remote_code": trust_remote_code}
    return [f"models.{name}=true" for name, given in allowed.items() if given]
