"""Recipe files: one JSON file from which, with the sources, a merged model can be made again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from searchmerge import __version__, plugins
from searchmerge.bench import device_of
from searchmerge.config import Models
from searchmerge.config import Statistics as StatisticsSection
from searchmerge.files import read_json
from searchmerge.sources import Sources
from searchmerge.sources.checkpoint import Checkpoint
from searchmerge.statistics import Kind, Statistics
from searchmerge.statistics.files import digest
from searchmerge.types import MERGED, Recipe, UserError
from searchmerge.workshop import Workshop, layout_of

FORMAT = 1


def needed(recipe: Recipe) -> Kind | None:
    """What has to be known of the experts' data to realise a recipe, whichever space wrote it."""
    space = plugins.load("spaces", recipe["space"])
    kinds: list[Kind | None] = [space.needs(recipe)] if hasattr(space, "needs") else []
    kinds += [needed(stage) for stage in recipe.get("stages", {}).values() if stage]
    return next((kind for kind in kinds if kind), None)


def recipe_file(
    sources: Sources, models: Models, heads: Mapping[str, str], recipe: Recipe, statistics: Statistics
) -> dict[str, Any]:
    """The content of ``recipe.json``.

    Args:
        sources: the opened checkpoints, named with their fingerprints.
        models: the config's section, for the patterns of kept tensors.
        heads: the live model's name (an expert, or ``merged``) of each task.
        recipe: the merge; what its weights do not depend on is left out.
        statistics: of the experts' data; the files that the recipe needs are named with their digests.
    """
    kind = needed(recipe)
    return {
        "format": FORMAT,
        "searchmerge": __version__,
        "models": {
            "base": sources.base and _source(sources.base),
            "experts": {name: _source(expert) for name, expert in sources.experts.items()},
            "heads": list(models.heads),
            **({"labels": sources.alignment.record} if sources.alignment else {}),
        },
        "heads": dict(heads),
        "statistics": statistics.named(kind) if kind else {},
        "recipe": plugins.load("spaces", recipe["space"]).pruned(recipe),
    }


def read(path: Path) -> dict[str, Any]:
    """Read a recipe file.

    Raises:
        UserError: it is none, or of another format.
    """
    content = read_json(path, "a recipe file, as a search leaves it")
    if content.get("format") != FORMAT or "recipe" not in content:
        raise UserError(
            expected=f"a recipe file of format {FORMAT}",
            got=f"{path} with the keys {', '.join(content)}",
            cure="give the recipe.json of a run",
        )
    return content


def reopen(content: Mapping[str, Any], *, trust_remote_code: bool, allow_pickle: bool) -> Workshop:
    """Open the sources that a recipe file names, in a workshop in which its recipe can be realised.

    Raises:
        UserError: a source is missing or has other weights than the recipe was found with.
    """
    named = content["models"]
    models = Models(
        base=named["base"] and named["base"]["ref"],
        experts={name: expert["ref"] for name, expert in named["experts"].items()},
        heads=tuple(named["heads"]),
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    )
    heads: dict[str, str] = content["heads"]
    sources = Sources.open(models, MERGED not in heads.values())
    if sources.base is not None:
        _same(sources.base, named["base"])
    for name, expert in sources.experts.items():
        _same(expert, named["experts"][name])
    _same_labels(sources, named.get("labels"))
    device = device_of("auto")
    return Workshop(
        sources,
        dict.fromkeys(heads.values()),
        device,
        trust_remote_code=trust_remote_code,
        statistics=named_statistics(content.get("statistics", {}), sources, device),
    )


def named_statistics(named: Mapping[str, Any], sources: Sources, device: torch.device) -> Statistics:
    """The statistics that a recipe file names.

    Raises:
        UserError: a file is missing or has changed.
    """
    given = {}
    for name, file in named.get("files", {}).items():
        path = Path(file["path"])
        if not path.exists() or digest(path) != file["sha256"]:
            kind = named["kind"]
            raise UserError(
                expected=f"the {kind} statistics of {name} that the recipe was found with, in {path}",
                got="another file" if path.exists() else "no such file",
                cure=f"measure them on the same texts: searchmerge stats {kind} MODEL DATA --out {path}",
            )
        given[name] = str(path)
    settings = {named["kind"]: given, "normalise": named["normalise"]} if named else {}
    section = StatisticsSection.model_validate(settings)
    return Statistics(section, sources, layout_of(sources), device)


def _source(checkpoint: Checkpoint) -> dict[str, Any]:
    return {"ref": checkpoint.ref, "fingerprint": checkpoint.fingerprint, "license": checkpoint.license}


def _same(checkpoint: Checkpoint, named: Mapping[str, Any]) -> None:
    if checkpoint.fingerprint != named["fingerprint"]:
        raise UserError(
            expected=f"the weights that the recipe was found with in {checkpoint.ref}",
            got="other weights (their fingerprints differ)",
            cure="restore that checkpoint, or search again",
        )


def _same_labels(sources: Sources, recorded: Mapping[str, Any] | None) -> None:
    """Fingerprints are those of weights; what an aligned head's rows stand for is in the configs."""
    found = sources.alignment.record if sources.alignment else None
    if found != recorded:
        raise UserError(
            expected=f"the labels that the recipe was found with: {recorded or 'the same in every expert'}",
            got=str(found or "the same in every expert"),
            cure="restore label2id and id2label in config.json of the sources, or search again",
        )
