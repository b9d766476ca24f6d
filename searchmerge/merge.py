"""One merged model without a search: from a recipe file, or a config's default merge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers

from searchmerge.bench import Bench
from searchmerge.config import Config
from searchmerge.export import export
from searchmerge.recipes import read, recipe_file, reopen
from searchmerge.report import card
from searchmerge.types import UserError, default_genotype


def from_recipe(path: Path, out: Path, *, allow_pickle: bool, trust_remote_code: bool) -> None:
    """Make the model of a recipe file again, bit for bit on the same kind of device.

    Raises:
        UserError: no recipe file, or sources that are missing or have changed.
    """
    content = read(path)
    workshop = reopen(content, allow_pickle=allow_pickle, trust_remote_code=trust_remote_code)
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
        workshop.sources.tokenizer_folder, trust_remote_code=trust_remote_code, local_files_only=True
    )
    export(content["recipe"], workshop, content["heads"], tokenizer, card.text(content, None), out)


def from_config(config: Config, out: Path) -> None:
    """Make the default merge of a config's space: with fixed knobs, a plain merge.

    Raises:
        UserError: the config's sources or space are at fault, or its space needs earlier searches.
    """
    if config.before:
        raise UserError(
            expected="a config whose merge needs no search",
            got="one with earlier searches under before",
            cure="remove before, or run that config with searchmerge optimize",
        )
    bench = Bench(config)
    recipe = bench.space.decode(default_genotype(bench.space.dims))
    content = recipe_file(bench.sources, config.models, bench.heads, recipe, bench.statistics)
    export(recipe, bench.workshop, bench.heads, bench.tokenizer, card.text(content, None), out)
