"""Relations and findings as an examination would find them, with planted figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from searchmerge.compatibility import Findings, Relation
from searchmerge.compatibility.examination import BASE
from searchmerge.compatibility.line import Line
from searchmerge.compatibility.units import Match
from searchmerge.compatibility.vectors import Measure

LAYERS = ("embeddings", "layer.0", "layer.1")
FLAT = Line((0.5,) * 5, 0.0, 0.0)


def measure(value: float) -> Measure:
    return Measure(value, dict.fromkeys(LAYERS, value))


def relation(
    one: str = "a",
    other: str = "b",
    *,
    shares: Sequence[float] = (1.0, 1.0),
    matched: float = 1.0,
    weights: float = 0.99,
    cosine: float | None = 0.1,
    line: Line | None = FLAT,
) -> Relation:
    """Two models whose figures speak for a merge, but for those given."""
    matches = tuple(Match(f"layer.{i}", 64, 64, share, matched) for i, share in enumerate(shares))
    vectors, conflict = (None, None) if cosine is None else (measure(cosine), measure(0.5))
    return Relation(one, other, weights, matches, vectors, conflict, line)


def findings(
    experts: Sequence[str], apart: Mapping[tuple[str, str], Any] | None = None, *, base: bool = True
) -> Findings:
    """Experts that belong together, but for the pairs with options of their own."""
    apart = apart or {}
    names = [BASE, *experts] if base else list(experts)
    relations = [
        relation(
            one,
            other,
            **{**({"cosine": None, "line": None} if one == BASE else {}), **apart.get((one, other), {})},
        )
        for i, one in enumerate(names)
        for other in names[i + 1 :]
    ]
    distances = {name: measure(0.03) for name in experts} if base else {}
    origins = tuple(r for r in relations if r.one == BASE)
    pairs = tuple(r for r in relations if r.one != BASE)
    return Findings(tuple(experts), LAYERS, distances, origins, pairs, 1.0)
