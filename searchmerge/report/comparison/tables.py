"""A comparison's figures as tables: what stands in them, not how they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from searchmerge.compare.field import Block, FloatArray
from searchmerge.compare.resampling import LEVEL, estimate
from searchmerge.report.comparison.content import Compared
from searchmerge.report.comparison.table import Cell, Column, Part, Table
from searchmerge.report.table import LABELS, interval, number

ALL = "all spaces"
ALL_STRATEGIES = "all strategies"


def tables(compared: Compared) -> list[Table]:
    """All that can be made of what has been computed; the runs alone where nothing has."""
    return [*_computed(compared), *unsearched(compared), runs(compared)]


def _computed(compared: Compared) -> Iterator[Table]:
    statistics = compared.statistics
    if statistics is None:
        return
    yield final(compared, statistics)
    for split in _splits(statistics):
        if statistics[split]["pairs"]:
            yield pairs(statistics[split])
    if statistics["selection"]:
        yield left(statistics["selection"])


_SCORE = ("mean", "deviation", "low", "high")
_ESTIMATE = ("", "low", "high")
_ENDS = ("score", "low", "high")


def final(compared: Compared, statistics: Mapping[str, Any]) -> Table:
    """The end of the budget: a row a strategy in each space, and over all of them where there are several."""
    spaces, splits = statistics["spaces"], _splits(statistics)
    several = len(spaces) > 1
    columns = [
        Column("space", words=True, told=several),
        Column("strategy", words=True),
        Column("seeds", told=False),
        *(Column(split, _score, _SCORE) for split in splits),
        Column("evaluations to the median target", _count),
        Column("area", lambda mean, _: number(mean), ("mean", "deviation")),
        *(Column(f"mean rank on {split}", "{:.2f}".format) for split in splits),
    ]
    groups = {space: [space] for space in spaces} | ({ALL: spaces} if several else {})
    rows = [row for name, of in groups.items() for row in _group(compared, statistics, name, of)]
    return Table("final", "Final scores", _final_note(), tuple(columns), tuple(rows))


def _final_note() -> str:
    return (
        "Winners' scores: mean over seeds ± standard deviation, in brackets the 95% bootstrap interval of "
        "the mean over seeds, which takes five. The median target is the 26th of 51: 91% of the way from the "
        "default merge to the best score that any run reached; the median over runs of the evaluations to "
        "it. The area is the normalised one under the best dev score so far: 0 is the default merge, 1 the "
        "best score from the first evaluation on. Rank 1 is the best; rows are in the order of ranks on dev."
    )


def _group(
    compared: Compared, statistics: Mapping[str, Any], name: str, spaces: Sequence[str]
) -> Iterator[tuple[Cell, ...]]:
    """Rows of some spaces together, the best mean rank on dev first."""
    blocks = compared.blocks
    own = [place for place, block in enumerate(blocks) if block[0] in spaces]
    seeds = [blocks[place][1] for place in own]
    splits = _splits(statistics)
    scores = {
        split: {who: np.array(of, float)[own] for who, of in statistics[split]["scores"].items()}
        for split in splits
    }
    ranks = {split: _mean_ranks(scores[split]) for split in splits}
    for who in sorted(statistics["strategies"], key=lambda who: ranks["dev"][who]):
        yield (
            (name,),
            (who,),
            (len(set(seeds)),),
            *(_summed(by_seed(scores[split][who], seeds)) for split in splits),
            (_evaluations(statistics, blocks, spaces, who),),
            _summed(_areas(statistics, spaces, who, seeds))[:2],
            *((ranks[split][who],) for split in splits),
        )


def by_seed(values: FloatArray, seeds: Sequence[int]) -> FloatArray:
    """The mean over the blocks of each seed, ``[seeds]``."""
    return np.array([values[np.equal(seeds, seed)].mean() for seed in sorted(set(seeds))])


def _mean_ranks(scores: Mapping[str, FloatArray]) -> dict[str, float]:
    ranked = stats.rankdata(-np.stack(list(scores.values()), 1), axis=1).mean(0)
    return dict(zip(scores, map(float, ranked), strict=True))


def _summed(values: FloatArray | None) -> Cell:
    """Mean, deviation and the mean's interval of ``[seeds]``."""
    if values is None:
        return (None,) * len(_SCORE)
    found = estimate(values)
    deviation = float(values.std(ddof=1)) if len(values) > 1 else None
    return found.value, deviation, _known(found.low), _known(found.high)


def _evaluations(
    statistics: Mapping[str, Any], blocks: Sequence[Block], spaces: Sequence[str], who: str
) -> float | None:
    """The median over runs of the evaluations to the median target; infinity where half never reach it."""
    targets = statistics["targets"] or {"scores": {}}
    timed = [space for space, _ in blocks if space in targets["scores"]]
    own = [place for place, space in enumerate(timed) if space in spaces]
    if not own:
        return None
    hits = np.array(targets["hits"][who], float)[own]  # None is NaN
    return float(np.median(np.nan_to_num(hits[:, hits.shape[1] // 2], nan=np.inf)))


def _areas(
    statistics: Mapping[str, Any], spaces: Sequence[str], who: str, seeds: Sequence[int]
) -> FloatArray | None:
    """The mean area of each seed; None where some space has none."""
    found = [
        curve["areas"]
        for curve in statistics["curves"]
        if curve["strategy"] == who and curve["space"] in spaces
    ]
    if any(areas is None for areas in found):
        return None
    return by_seed(np.concatenate([np.array(areas, float) for areas in found]), seeds)


def unsearched(compared: Compared) -> Iterator[Table]:
    """What needs no search: the usual merges and the experts; none before they have been judged."""
    baselines = compared.content.get("baselines") or {}
    if not baselines:
        return
    splits = [split for split in ("dev", "test") if all(each[split] for each in baselines.values())]
    columns = (Column("merge or model", words=True), *(Column(split, _single, _ESTIMATE) for split in splits))
    rows = tuple(
        ((LABELS.get(name, name),), *(tuple(each[split][end] for end in _ENDS) for split in splits))
        for name, each in baselines.items()
    )
    note = "In brackets 95% bootstrap intervals over the examples, which are wider than those over seeds."
    yield Table("without-a-search", "Without a search", note, columns, rows)


def pairs(standing: Mapping[str, Any]) -> Table:
    """Each strategy against each other one, on one split."""
    columns = (
        Column("one", words=True),
        Column("other", words=True),
        Column("probability", _probability, (*_ESTIMATE, "exact low", "exact high")),
        Column("difference", _difference, _ESTIMATE),
        Column("p", "{:.2g}".format, told=False),
        Column("corrected p", "{:.2g}".format),
        Column("told apart", words=True),
    )
    rows = tuple(
        (
            (pair["one"],),
            (pair["other"],),
            (*_estimate(pair["probability"]), *pair["exact"]),
            _estimate(pair["difference"]),
            (pair["p"],),
            (pair["corrected"],),
            ("yes" if pair["corrected"] <= LEVEL else "no",),
        )
        for pair in standing["pairs"]
    )
    split = standing["split"]
    note = (
        "The probability that one ends above the other with the same seed, a tie counting half, in brackets "
        "its exact 95% interval; the mean difference with its bootstrap interval over seeds; p by exchanging "
        "both within seeds, corrected for all pairs (Holm)."
    )
    return Table(f"pairs-{split}", f"Pairs on {split}", note, columns, rows)


def left(selection: Mapping[str, Any]) -> Table:
    """What is left on test of the gain on dev."""
    columns = (
        Column("strategy", words=True),
        Column("gain on dev", _difference, _ESTIMATE),
        Column("gain on test", _difference, _ESTIMATE),
        Column("share left", _share, _ESTIMATE),
    )
    survivals = {**selection["strategies"], ALL_STRATEGIES: selection["field"]}
    rows = tuple(
        ((name,), *(_estimate(survival[part]) for part in ("dev", "test", "share")))
        for name, survival in survivals.items()
    )
    note = (
        f"Mean gains of the winners over {selection['reference']}, in brackets the 95% bootstrap interval "
        "over seeds. No share is given where the gain on dev is not told from 0, or of fewer than five seeds."
    )
    return Table("left-on-test", "What is left on test", note, columns, rows)


def runs(compared: Compared) -> Table:
    """Every run that has ended."""
    columns = (
        Column("space", words=True, told=len(compared.content["spaces"]) > 1),
        Column("strategy", words=True),
        Column("seed"),
        Column("dev", number),
        Column("test", number),
        Column("best trial"),
        Column("evaluations"),
        Column("repeats"),
        Column("stopped early"),
        Column("failures"),
        Column("ended", words=True, told=False),
        Column("folder", words=True),
    )
    rows = tuple(
        tuple((part,) for part in _run(run))
        for run in sorted(compared.runs, key=lambda run: _place(compared, run))
    )
    return Table("runs", "Runs", "The scores are those of each run's winner.", columns, rows)


def _run(run: Mapping[str, Any]) -> list[Part]:
    best = run["best"]
    counts = [run[name] for name in ("evaluations", "repeats", "rejected", "failures")]
    test = best["test"] and best["test"]["score"]
    named = [run["space"], run["strategy"], run["seed"]]
    return [*named, best["dev"]["score"], test, best["trial"], *counts, run["stopped"], run["folder"]]


def _place(compared: Compared, run: Mapping[str, Any]) -> tuple[int, int, int]:
    spaces = list(compared.content["spaces"])
    return spaces.index(run["space"]), compared.strategies.index(run["strategy"]), run["seed"]


def _splits(statistics: Mapping[str, Any]) -> list[str]:
    return [split for split in ("dev", "test") if statistics[split]]


def _estimate(found: Mapping[str, float | None] | None) -> Cell:
    return (found["value"], found["low"], found["high"]) if found else (None, None, None)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _score(mean: float, deviation: float | None, low: float | None, high: float | None) -> str:
    said = number(mean) if deviation is None else f"{number(mean)} ± {number(deviation)}"
    return said + _ends(low, high)


def _single(value: float, low: float, high: float) -> str:
    return f"{number(value)} {interval(low, high)}"


def _ends(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" {interval(low, high)}"


def _count(value: float) -> str:
    return f"{value:g}" if np.isfinite(value) else "not reached"


def _probability(value: float, _low: float | None, _high: float | None, low: float, high: float) -> str:
    return f"{value:.0%} [{low:.0%}, {high:.0%}]"


def _difference(value: float, low: float | None, high: float | None) -> str:
    return f"{value:+.3f}{_ends(low, high)}"


def _share(value: float, low: float, high: float) -> str:
    return f"{value:.0%} [{low:.0%}, {high:.0%}]"
