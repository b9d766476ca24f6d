"""The model card of an exported merge: Hugging Face metadata, scores, and how to make the model again."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

from huggingface_hub import ModelCardData

from searchmerge.pedigree import ancestry
from searchmerge.report.path import described, method_of
from searchmerge.report.run import as_json, bred, laid
from searchmerge.report.table import Result, headline, markdown, number, plain
from searchmerge.types import MERGED, Recipe

SOURCES = {
    "linear": "[Model soups](https://arxiv.org/abs/2203.05482) (Wortsman et al., 2022)",
    "task_arithmetic": "[Editing models with task arithmetic](https://arxiv.org/abs/2212.04089)"
    " (Ilharco et al., 2023)",
    "ties": "[TIES-Merging](https://arxiv.org/abs/2306.01708) (Yadav et al., 2023)",
    "dare_linear": "[DARE](https://arxiv.org/abs/2311.03099) (Yu et al., 2024)",
    "dare_ties": "[DARE](https://arxiv.org/abs/2311.03099) (Yu et al., 2024) with the signs of"
    " [TIES-Merging](https://arxiv.org/abs/2306.01708) (Yadav et al., 2023)",
    "della_linear": "[DELLA](https://arxiv.org/abs/2406.11617) (Deep et al., 2024)",
    "della": "[DELLA](https://arxiv.org/abs/2406.11617) (Deep et al., 2024)",
    "breadcrumbs": "[Model Breadcrumbs](https://arxiv.org/abs/2312.06795) (Davari & Belilovsky, 2023)",
    "breadcrumbs_ties": "[Model Breadcrumbs](https://arxiv.org/abs/2312.06795) (Davari & Belilovsky, 2023)"
    " with the signs of [TIES-Merging](https://arxiv.org/abs/2306.01708) (Yadav et al., 2023)",
    "model_stock": "[Model Stock](https://arxiv.org/abs/2403.19522) (Jang et al., 2024)",
    "sce": "SCE, [FuseChat](https://arxiv.org/abs/2408.07990) (Wan et al., 2024)",
    "multislerp": "Spherical averages (Buss & Fillmore, 2001)",
    "fisher": "[Fisher-weighted averaging](https://arxiv.org/abs/2111.09832) (Matena & Raffel, 2022)",
    "regmean": "[RegMean](https://arxiv.org/abs/2212.09849) (Jin et al., 2023)",
    "population": "[Evolver](https://arxiv.org/abs/2406.12208) (Du et al., 2024)",
    "slerp": "Spherical interpolation (Shoemake, 1985)",
    "paths": "[Evolutionary optimization of model merging recipes](https://arxiv.org/abs/2403.13187)"
    " (Akiba et al., 2024)",
}
"""Where each merge method, the crossing of whole models, and paths through layers come from, in Markdown."""


_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)


def text(
    recipe_file: Mapping[str, Any],
    result: Result | None = None,
    *,
    pipeline_tag: str = "text-classification",
) -> str:
    """The content of the model's ``README.md``.

    Local folders are named by their last part only: a card is made to be shared.

    Args:
        recipe_file: content of ``recipe.json``.
        result: content of ``result.json``; None for a merge that nobody scored.
        pipeline_tag: what the model does, in the hub's words.
    """
    models = recipe_file["models"]
    sources = {"base": models["base"]} if models["base"] else {}
    sources |= models["experts"]
    parts = [
        f"---\n{_front_matter(list(sources.values()), pipeline_tag)}\n---",
        f"# Merge of {', '.join(plain(name) for name in models['experts'])}",
        _summary(recipe_file, result),
        "## Sources",
        _sources(sources),
        *_heads(recipe_file["heads"], models["experts"]),
        *_labels(models.get("labels")),
        *_scores(result),
        "## How to make it again",
        "Save this as `recipe.json`, put in where the local sources are, and run "
        "`searchmerge merge recipe.json --out DIR`. Sources with other fingerprints are refused.",
        f"```json\n{_json(_shareable(recipe_file))}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(sources: list[Mapping[str, Any]], pipeline_tag: str) -> str:
    licenses = {source["license"] for source in sources if source["license"]}
    data = ModelCardData(
        base_model=[source["ref"] for source in sources if _on_hub(source["ref"])] or None,
        library_name="transformers",
        license=licenses.pop() if len(licenses) == 1 else None,
        pipeline_tag=pipeline_tag,
        tags=["merge", "searchmerge"],
    )
    return data.to_yaml()


def _summary(recipe_file: Mapping[str, Any], result: Result | None) -> str:
    recipe = recipe_file["recipe"]
    merge = (recipe["merge"] or {}) if bred(recipe) else recipe
    method = merge.get("method")
    how = f" by `{method}`" if method else ""
    reading = f", as {merge['reading']} reads it" if merge.get("reading") == "mergekit" else ""
    said = [f"A merge of fine-tuned models{how}{reading}, made by searchmerge {recipe_file['searchmerge']}."]
    if bred(recipe):
        said.append(_bred(recipe, method))
    if laid(recipe):
        said += _laid(recipe)
    if method in SOURCES:
        said.append(f"Method: {SOURCES[method]}.")
    if result:
        what = "It was" if bred(recipe) else "The path was" if laid(recipe) else "The coefficients were"
        said.append(
            f"{what} found on dev by the strategy `{result['strategy']}` "
            f"in {result['evaluations']} evaluations (seed {result['seed']})."
        )
        said.append(headline(result))
    said += _point(recipe_file.get("point"), result or {})
    return " ".join(said)


def _point(point: Mapping[str, Any] | None, result: Result) -> Iterator[str]:
    """Which point of a front it is, where the search kept the tasks apart."""
    kept = (
        "The search kept the tasks apart: no other merge that it tried is as good as this one at every task"
    )
    if point:
        values = ", ".join(f"{plain(task)} {number(value)}" for task, value in point["dev"].items())
        yield f"{kept} of dev and better at one. It is trial {point['trial']}, one of {point['of']} such:"
        yield f"{values} on dev, where it was chosen."
    elif front := result.get("front"):
        yield f"{kept} of dev and better at one. It is trial {result['best']['trial']} of the search,"
        yield f"the one of {len(front)} such with the highest weighted mean."


def _bred(recipe: Recipe, method: str | None) -> str:
    """How a model came about whose recipe is a lineage."""
    lineage = ancestry(recipe["lineage"], recipe["members"])
    children = [entry for entry in lineage if "parent" in entry]
    members = recipe["members"]
    if not children:
        names = ", ".join(plain(str(member)) for member in members)
        return f"It is made of {names} as {'they were' if method else 'it was'}."
    experts = {name for entry in lineage for name, _ in entry.get("sources", ()) if name is not None}
    what = f"Its {len(members)} members were" if method else "It was"
    merged = f", then merged by `{method}`" if method else ""
    return (
        f"{what} crossed from {len(experts)} experts, {recipe['unit']} by {recipe['unit']}, by differential "
        f"evolution over whole models{merged}: {SOURCES['population']}."
    )


def _laid(recipe: Recipe) -> Iterator[str]:
    """Of whose layers a model is made whose recipe is a path, and how those models came about."""
    yield f"It takes a path through layers of several models: {SOURCES['paths']}."
    yield plain(described(recipe))
    for name, stage in recipe["stages"].items():
        source = SOURCES.get("population" if bred(stage) else stage.get("method", ""))
        of = f": {source}" if source else ""
        yield f"{plain(name)} is the winner of an earlier search, {plain(method_of(stage))}{of}."


def _sources(sources: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["| | model | license | fingerprint |", "| --- | --- | --- | --- |"]
    for name, source in sources.items():
        ref = source["ref"]
        model = f"[{ref}](https://huggingface.co/{ref})" if _on_hub(ref) else f"{plain(_name(ref))} (local)"
        known = plain(source["license"] or "not known")
        lines.append(f"| {plain(name)} | {model} | {known} | `{source['fingerprint'][:16]}` |")
    return "\n".join(lines)


def _heads(heads: Mapping[str, str], experts: Container[str]) -> list[str]:
    """What is said of the experts' own heads; nothing where every task is scored by the merged one."""
    if not any(head in experts for head in heads.values()):
        return []
    lines = ["| task | head | file |", "| --- | --- | --- |"]
    for task, head in heads.items():
        file = f"heads/{plain(task)}.safetensors" if head in experts else "in the model"
        lines.append(f"| {plain(task)} | {plain(head)} | {file} |")
    carried = "merged" if MERGED in heads.values() else "first"
    said = f"Each task is scored by the head named here; the model carries the {carried} one."
    return ["## Heads", said, "\n".join(lines)]


def _labels(aligned: Mapping[str, Any] | None) -> list[str]:
    """What is said of a merged head whose experts have other labels; nothing where they have the same."""
    if aligned is None:
        return []
    said = "The head has the labels of all experts; each label's row is merged from those that learned it:"
    lines = [
        f"- {plain(name)}: {', '.join(plain(label) for label in labels)}"
        for name, labels in aligned["experts"].items()
    ]
    return ["## Labels", said, "\n".join(lines)]


def _scores(result: Result | None) -> list[str]:
    if result is None:
        return []
    note = (
        "Intervals are bootstrap intervals over the examples, the best of a column is bold. The merge was "
        "chosen on dev, which flatters it there."
    )
    return ["## Scores", markdown(result).rstrip(), note]


def _on_hub(ref: str) -> bool:
    return _HUB_ID.fullmatch(ref) is not None


def _name(ref: str) -> str:
    """The last part of a path, of whatever system."""
    return re.split(r"[\\/]", ref.rstrip("\\/"))[-1]


def _shareable(recipe_file: Mapping[str, Any]) -> dict[str, Any]:
    def named(source: Mapping[str, Any] | None) -> dict[str, Any] | None:
        if source is None:
            return None
        ref = source["ref"]
        return {**source, "ref": ref if _on_hub(ref) else f"path/to/{_name(ref)}"}

    models = recipe_file["models"]
    experts = {name: named(source) for name, source in models["experts"].items()}
    said = {**recipe_file, "models": {**models, "base": named(models["base"]), "experts": experts}}
    if statistics := recipe_file.get("statistics"):
        files = {
            name: {**file, "path": f"path/to/{_name(file['path'])}"}
            for name, file in statistics["files"].items()
        }
        said["statistics"] = {**statistics, "files": files}
    return said


def _json(value: Mapping[str, Any]) -> str:
    """JSON that cannot end the fence that it stands in."""
    return as_json(value).replace("`", "\\u0060")
