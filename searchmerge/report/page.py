"""The page of a run: one HTML file that needs nothing else, for a screen, a phone and paper."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from searchmerge.files import write_text
from searchmerge.report import figures, heatmap
from searchmerge.report.heatmap import Grid
from searchmerge.report.run import Run, read
from searchmerge.report.table import duration, headline, interval, number, tabulate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write(folder: Path) -> Path:
    """Write ``report.html`` into a run folder from its journal and, if the run has ended, its result.

    Returns:
        The page's path.

    Raises:
        UserError: no run lies there, a file of it is damaged, or the page cannot be written.
    """
    path = folder / "report.html"
    write_text(path, page(read(folder)))
    return path


def page(run: Run) -> str:
    """The page as text; of a run without result it shows what there is."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=number, interval=interval, light=_light)
    template = environment.from_string(files("searchmerge.report").joinpath("page.html").read_text("utf-8"))
    result = run.result
    return template.render(
        run=run,
        result=result,
        headline=headline(result) if result else _so_far(run),
        light=figures.LIGHT,
        dark=figures.DARK,
        curve=_both(partial(figures.curve, run), "Dev score of every trial"),
        legend=list(_legend(run)),
        table=tabulate(result) if result else None,
        dev_table=tabulate(result, "dev") if result and _tested(result) else None,
        maps=list(_maps(run)),
        single=heatmap.knobs(run.best.recipe, run.experts)[0] if run.best else {},
        facts=_facts(run),
        config=_yaml(run.config),
        versions=result["versions"] if result else {"searchmerge": run.header.get("searchmerge", "unknown")},
        recipe=json.dumps(run.best.recipe, indent=1, ensure_ascii=False) if run.best else None,
    )


def _so_far(run: Run) -> str:
    """The headline of a run that has no result."""
    if not run.trials:
        return "The run has begun; no trial has ended yet."
    if run.best is None:
        return f"All {len(run.trials)} trials so far have failed: there is no merge to show."
    return (
        f"The run has not ended. The best of {len(run.evaluated)} evaluations so far scores "
        f"{number(run.best.score)} on dev (trial {run.best.number}); there is no test score yet."
    )


def _facts(run: Run) -> dict[str, str]:
    """What was run, in pairs of a word and a figure."""
    result = run.result or {}
    evaluations = result.get("evaluations", len(run.evaluated))
    spent = sum(trial.seconds for trial in run.evaluated)
    facts = {
        "evaluations": str(evaluations),
        "repeats": str(result.get("repeats", len(run.trials) - len(run.evaluated))),
        "failures": str(result.get("failures", len(run.failed))),
        "an evaluation": duration(spent / len(run.evaluated)) if run.evaluated else "unknown",
        "time": duration(result.get("seconds", spent)),
    }
    if run.best:
        facts["best trial"] = str(run.best.number)
    budget = result.get("budget") or run.config.get("budget") or {}
    facts["budget"] = ", ".join(f"{value} {key}" for key, value in budget.items() if value) or "none"
    facts["ended"] = result.get("stopped", "not yet")
    return facts


def _legend(run: Run) -> Iterator[str]:
    """How to read the curve, naming only what is there to be seen."""
    yield "A dot is a trial on the dev split, the line is the best so far."
    if any(trial.repeats is not None and trial.evaluation for trial in run.trials):
        yield "A ring is a repeat: a recipe that was known already and cost nothing."
    if run.failed:
        yield "A cross is a failed trial."
    if figures.below(run):
        yield "A triangle is a trial below the axis."


def _maps(run: Run) -> Iterator[tuple[Grid, Markup]]:
    if run.best:
        for grid in heatmap.knobs(run.best.recipe, run.experts)[1]:
            yield (
                grid,
                _both(lambda width, grid=grid: heatmap.draw(grid, width=width), f"{grid.name} by group"),
            )


def _both(draw: Callable[..., Figure], label: str) -> Markup:
    """A figure for a desk and the same for a phone, of which the page shows one."""
    return Markup("").join(
        Markup(f'<div class="{name}">{figures.svg(draw(width=width), label)}</div>')
        for name, width in (("wide", figures.WIDE), ("narrow", figures.NARROW))
    )


def _tested(result: Mapping[str, Any]) -> bool:
    return tabulate(result).split == "test"


def _yaml(config: Mapping[str, Any]) -> str:
    return yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False, allow_unicode=True, width=100)


def _light(text: str) -> Markup:
    """The text with its intervals set in a lighter weight and never broken."""
    return Markup(re.sub(r"(\[[^\]]*\])", r'<span class="ci">\1</span>', str(escape(text))))
