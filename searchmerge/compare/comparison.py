"""Everything that is computed of a comparison, in one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from searchmerge.compare.curves import Curve, curves
from searchmerge.compare.field import Run, arrange
from searchmerge.compare.selection import Reference, Selection, selection
from searchmerge.compare.sentences import sentences
from searchmerge.compare.standing import Standing, standing
from searchmerge.compare.targets import Targets, targets


@dataclass(frozen=True, eq=False)
class Comparison:
    """Strategies compared.

    Args:
        strategies: their names, in the order given.
        spaces: where they searched.
        seeds: the seeds that every strategy has in some space.
        budget: evaluations of the longest run.
        curves: best so far, a curve a space and strategy.
        targets: evaluations that each target took; None where no run did better than the default merge.
        dev: who ended where on dev.
        test: the same winners on test; None where some run has no test score.
        selection: what is left on test of the gain on dev; None without references or test scores.
        sentences: what can be said and what cannot.
    """

    strategies: tuple[str, ...]
    spaces: tuple[str, ...]
    seeds: tuple[int, ...]
    budget: int
    curves: tuple[Curve, ...]
    targets: Targets | None
    dev: Standing
    test: Standing | None
    selection: Selection | None
    sentences: tuple[str, ...]

    @property
    def record(self) -> dict[str, Any]:
        """All of it as JSON; None stands for what is infinite or no number."""
        plain: dict[str, Any] = _plain(self)
        return plain


def compare(runs: Sequence[Run], references: Mapping[str, Reference] | None = None) -> Comparison:
    """Compare strategies by their runs.

    Args:
        runs: of every strategy with every seed, in any order.
        references: what gains are counted from, by the space's name (``""`` where runs name none).

    Raises:
        UserError: no seed is there for every strategy, a run is there twice, or a space has no reference.
    """
    field = arrange(runs)
    dev, test = standing(field, "dev"), standing(field, "test")
    assert dev  # every run has dev scores
    reached = targets(field)
    left = selection(field, references) if references is not None else None
    return Comparison(
        field.strategies,
        field.spaces,
        field.seeds,
        field.budget,
        curves(field),
        reached,
        dev,
        test,
        left,
        tuple(sentences(field, dev, test, left)),
    )


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list | np.ndarray):
        return [_plain(each) for each in value]
    if isinstance(value, float):  # numpy's too
        return float(value) if np.isfinite(value) else None
    return value
