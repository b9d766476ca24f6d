"""How much of what a search gains on dev is left on test.

A winner is the best of many by its dev score, so that score is partly luck, which test does not share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from searchmerge.compare.field import Field, FloatArray
from searchmerge.compare.resampling import Estimate, estimate, expanded, resampled
from searchmerge.types import UserError


@dataclass(frozen=True)
class Reference:
    """What gains are counted from.

    Args:
        name: e.g. ``the plain average``.
        dev: its dev score.
        test: its test score.
    """

    name: str
    dev: float
    test: float


@dataclass(frozen=True)
class Survival:
    """The mean gains of some runs.

    Args:
        dev: of the winners on dev.
        test: of the same on test.
        share: mean test gain over mean dev gain; None where the dev gain is not beyond 0: a ratio to nothing.
    """

    dev: Estimate
    test: Estimate
    share: Estimate | None


@dataclass(frozen=True, eq=False)
class Selection:
    """What is left on test.

    Args:
        reference: the name of what gains are counted from.
        gains: ``[blocks, 2]`` by the strategy's name: each run's gain on dev and on test.
        strategies: by the strategy's name.
        field: of all runs.
    """

    reference: str
    gains: Mapping[str, FloatArray]
    strategies: Mapping[str, Survival]
    field: Survival


def selection(field: Field, references: Mapping[str, Reference]) -> Selection | None:
    """Set test gains beside dev gains; None where some run has no test score.

    Args:
        field: the runs.
        references: by the space's name.

    Raises:
        UserError: a space has no reference.
    """
    if missing := set(field.spaces) - set(references):
        raise UserError(
            expected="the reference's scores for each space",
            got=f"none for {', '.join(repr(name) for name in sorted(missing))}",
            cure="give them, or no reference at all",
        )
    dev, test = field.table("dev"), field.table("test")
    if dev is None or test is None:
        return None
    base = np.array([[references[space].dev, references[space].test] for space, _ in field.blocks])
    gains = np.stack([dev, test], axis=2) - base[:, None]  # [blocks, strategies, 2]
    by_strategy = {name: gains[:, place] for place, name in enumerate(field.strategies)}
    name = " / ".join(dict.fromkeys(references[space].name for space in field.spaces))
    survivals = {name: survival(field.by_seed(each)) for name, each in by_strategy.items()}
    return Selection(name, by_strategy, survivals, survival(field.by_seed(gains.mean(1))))


def survival(gains: FloatArray) -> Survival:
    """Sum up gains on dev and test, ``[seeds, 2]``."""
    dev, test = (estimate(each) for each in gains.T)
    share = None
    if dev.low > 0:  # few seeds have no interval, and no share
        drawn = resampled(gains)
        with np.errstate(divide="ignore"):  # a resample may have no gain on dev
            ratios = drawn[:, 1] / drawn[:, 0]
        share = Estimate(test.value / dev.value, *expanded(ratios, len(gains)))
    return Survival(dev, test, share)
