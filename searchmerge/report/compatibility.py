"""What an examination of experts found: tables for the terminal, and all figures as JSON."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from searchmerge.compatibility import Findings, Relation, Verdict, of_pair, overall
from searchmerge.compatibility.line import STEPS
from searchmerge.compatibility.vectors import Measure
from searchmerge.files import write_json
from searchmerge.report.compatibility_figure import draw
from searchmerge.report.figures import save_png
from searchmerge.report.table import console, number

_ALL = "all of them"
NO_BASE = (
    "without a base there are no task vectors: neither their cosines, sign conflicts nor norms are measured"
)


def show(findings: Findings) -> None:
    """Print the tables, and the verdicts in sentences."""
    out = console()
    if not findings.has_base:
        out.print(f"{NO_BASE}\n", soft_wrap=True)
    if findings.origins:
        out.print(_origins(findings), "")
    if findings.pairs:
        out.print(_pairs(findings), "", _lines(findings), "")
    wide = max(map(len, [_ALL, *map(_names, findings.pairs)]))
    for pair in findings.pairs:
        out.print(Text(f"{_names(pair):<{wide}}  {of_pair(pair)}"), soft_wrap=True)
    out.print(Text(f"{_ALL:<{wide}}  {overall(findings)}", style="bold"), soft_wrap=True)


def write(findings: Findings, folder: Path) -> tuple[Path, Path]:
    """Write ``check.png`` and ``check.json`` into a folder; give their paths."""
    picture, figures = folder / "check.png", folder / "check.json"
    save_png(draw(findings), picture)
    write_json(figures, content(findings))
    return picture, figures


def content(findings: Findings) -> dict[str, Any]:
    """All figures as a JSON value; null where something is not defined."""
    experts: dict[str, Any] = {
        name: {"distance": _measured(findings.distances.get(name))} for name in findings.experts
    }
    for origin in findings.origins:
        experts[origin.other]["to_base"] = _fit(origin)
    return {
        "verdict": _judged(overall(findings)),
        "layers": list(findings.layers),
        "experts": experts,
        "pairs": [_pair(pair) for pair in findings.pairs],
        "seconds": round(findings.seconds, 1),
    }


def _pair(pair: Relation) -> dict[str, Any]:
    line = pair.line
    return {
        "experts": [pair.one, pair.other],
        "verdict": _judged(of_pair(pair)),
        "cosine": _measured(pair.cosine),
        "sign_conflict": _measured(pair.conflict),
        **_fit(pair),
        "line": line
        and {
            "at": list(STEPS),
            "dev": [_finite(score) for score in line.scores],
            "barrier": _finite(line.barrier),
            "barrier_low": _finite(line.low),
        },
    }


def _fit(relation: Relation) -> dict[str, Any]:
    mlps = {match.layer: {**asdict(match), "cosine": _finite(match.cosine)} for match in relation.matches}
    return {"weights_cosine": _finite(relation.weights), "in_place": relation.in_place, "mlps": mlps}


def _measured(measure: Measure | None) -> dict[str, Any] | None:
    if measure is None:
        return None
    layers = {layer: _finite(value) for layer, value in measure.layers.items()}
    return {"whole": _finite(measure.whole), "layers": layers}


def _judged(verdict: Verdict) -> dict[str, Any]:
    return {"word": verdict.word, "reasons": list(verdict.reasons)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _origins(findings: Findings) -> Table:
    """How the experts stand to the base."""
    table = _table("expert", "norm of change / base", "MLP units in place", "cosine of weights")
    for origin in findings.origins:
        change = findings.distances[origin.other].whole
        table.add_row(Text(origin.other), _written(change), *_fits(origin))
    return table


def _pairs(findings: Findings) -> Table:
    """How the experts' weights stand to one another's."""
    of_vectors = ("cosine of changes", "signs in conflict") if findings.has_base else ()
    table = _table("experts", *of_vectors, "MLP units in place", "cosine of weights")
    for pair in findings.pairs:
        vectors = []
        if pair.cosine and pair.conflict:
            vectors = [_written(pair.cosine.whole), _share(pair.conflict.whole)]
        table.add_row(Text(_names(pair)), *vectors, *_fits(pair))
    return table


def _lines(findings: Findings) -> Table:
    """The dev scores between the experts."""
    table = _table("experts", f"dev at {STEPS[0]:g}", *(f"{t:g}" for t in STEPS[1:]), "barrier")
    for pair in findings.pairs:
        if pair.line:
            values = (*pair.line.scores, pair.line.barrier)
            table.add_row(Text(_names(pair)), *(_written(value) for value in values))
    return table


def _fits(relation: Relation) -> list[Text]:
    place = "none found"
    if relation.in_place is not None and (worst := relation.worst):
        place = _share(relation.in_place).plain
        if round(worst.in_place, 3) < round(relation.in_place, 3):
            place += f" ({_share(worst.in_place).plain} in {worst.layer})"
    return [Text(place), _written(relation.weights)]


def _table(*columns: str) -> Table:
    table = Table(
        box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="dim", border_style="dim"
    )
    for index, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if index else "left", overflow="fold")
    return table


def _names(pair: Relation) -> str:
    return f"{pair.one} – {pair.other}"


def _written(value: float) -> Text:
    return Text(number(value).replace("-0.000", "0.000") if math.isfinite(value) else "none")


def _share(value: float) -> Text:
    return Text(f"{value:.1%}")
