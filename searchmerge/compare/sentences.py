"""What can be said of a comparison, and what cannot, in plain words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from searchmerge.compare.field import Field
from searchmerge.compare.resampling import LEVEL, Estimate, seeds_needed, smallest
from searchmerge.compare.selection import Selection, Survival
from searchmerge.compare.standing import Standing


def sentences(
    field: Field, dev: Standing, test: Standing | None, selection: Selection | None
) -> Iterator[str]:
    """Say it, the most important first.

    Args:
        field: the runs.
        dev: the end of the budget on dev.
        test: the same on test, if known.
        selection: what is left of gains, if known.
    """
    if len(field.strategies) > 1:
        yield from _power(len(field.strategies), len(field.seeds))
        for each in (dev, test):
            if each:
                yield from _standing(each)
    if test is None:
        yield "Not every run has a test score, so nothing is said of test."
    if selection:
        yield from _selection(selection)
    yield from _spaces(field)
    yield from _runs(field)
    yield (
        "All runs share the same dev and test examples: what other examples would say is in none of these "
        "intervals and p values."
    )


def _power(strategies: int, seeds: int) -> Iterator[str]:
    least = smallest(strategies, seeds)
    if least > LEVEL:
        why = f"no corrected p value could be below {least:.2g}" if least < 1 else "whatever their scores are"
        yield (
            f"{_count(seeds, 'seed')} cannot show a difference between any two of {strategies} strategies at "
            f"the {LEVEL:.0%} level: {why}. It takes at least {seeds_needed(strategies)} seeds."
        )


def _standing(standing: Standing) -> Iterator[str]:
    split, apart = standing.split, [pair for pair in standing.pairs if pair.told_apart]
    # The better one, the other one, and by how much.
    gains = [
        (pair.one, pair.other, pair.difference.value)
        if pair.difference.value > 0
        else (pair.other, pair.one, -pair.difference.value)
        for pair in apart
    ]
    for winner in dict.fromkeys(better for better, _, _ in gains):
        losers = [f"{worse} by {gain:.4g}" for better, worse, gain in gains if better == winner]
        yield f"On {split} {winner} ends above {', '.join(losers)} (the mean over seeds), beyond chance."
    if not apart:
        yield f"No two strategies are told apart on {split}; that does not show that they are alike."
    if np.isfinite(standing.ranks.p):
        sees = "a" if standing.ranks.p <= LEVEL else "no"
        yield (
            f"Over all strategies the Friedman test sees {sees} difference on {split} "
            f"(p = {standing.ranks.p:.2g})."
        )


def _selection(selection: Selection) -> Iterator[str]:
    whole = selection.field
    if whole.share:
        yield (
            f"Of the dev gain over {selection.reference}, {_range(whole.share)} is left on test, "
            "all strategies together."
        )
    else:
        yield (
            f"What share of the dev gain over {selection.reference} is left on test cannot be said: "
            f"{_why(whole)}."
        )
    if not whole.test.low > 0:
        yield f"A gain over {selection.reference} on test is not shown, all strategies together."


def _why(survival: Survival) -> str:
    if np.isnan(survival.dev.low):
        return "the seeds are too few"
    return f"that gain, {survival.dev.value:.4g}, is not told from 0"


def _spaces(field: Field) -> Iterator[str]:
    for space in field.spaces:
        where = f" in {space}" if space else ""
        runs = [run for name in field.strategies for run in field.of(name, space)]
        default, top = field.ends(space)
        if not top > default:
            yield f"No run found anything better than the default merge{where}."
        spread = float(np.ptp([run.scores[0] for run in runs]))
        if spread > 0:
            yield (
                f"The default merge{where} does not score the same in all runs (they are up to {spread:.2g} "
                "apart): smaller differences than that mean nothing."
            )


def _runs(field: Field) -> Iterator[str]:
    if field.left_out:
        seeds = ", ".join(f"{seed} ({space})" if space else str(seed) for space, seed in field.left_out)
        yield f"Left out, since some strategy lacks them: seeds {seeds}."
    for place, name in enumerate(field.strategies):
        short = [row[place].scores.size for row in field.runs if row[place].scores.size < field.budget]
        if short:
            yield (
                f"{_count(len(short), 'run')} of {name} ended before {field.budget} evaluations (the first "
                f"after {min(short)}); the last value is held from there."
            )


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _range(share: Estimate) -> str:
    return f"{share.value:.0%} ({share.low:.0%} to {share.high:.0%})"
