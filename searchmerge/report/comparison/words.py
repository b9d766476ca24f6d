"""What a comparison's page says before and after its figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from searchmerge.report.comparison.content import Compared
from searchmerge.report.table import duration, number
from searchmerge.report.template import leaks


@dataclass(frozen=True)
class Source:
    """Where a computation comes from."""

    what: str
    authors: str
    year: int
    title: str
    place: str
    link: str


SOURCES = (
    Source(
        "critical differences of mean ranks",
        "Demšar, J.",
        2006,
        "Statistical comparisons of classifiers over multiple data sets",
        "Journal of Machine Learning Research 7, 1–30",
        "https://jmlr.org/papers/v7/demsar06a.html",
    ),
    Source(
        "targets",
        "Hansen, N., Auger, A., Brockhoff, D., Tušar, D., Tušar, T.",
        2016,
        "COCO: performance assessment",
        "arXiv:1605.03560",
        "https://arxiv.org/abs/1605.03560",
    ),
    Source(
        "expanded bootstrap intervals",
        "Hesterberg, T. C.",
        2015,
        "What teachers should know about the bootstrap: resampling in the undergraduate statistics "
        "curriculum",
        "The American Statistician 69(4), 371–386",
        "https://doi.org/10.1080/00031305.2015.1089789",
    ),
    Source(
        "correction for all pairs",
        "Holm, S.",
        1979,
        "A simple sequentially rejective multiple test procedure",
        "Scandinavian Journal of Statistics 6(2), 65–70",
        "https://www.jstor.org/stable/4615733",
    ),
    Source(
        "exact intervals of probabilities",
        "Clopper, C. J., Pearson, E. S.",
        1934,
        "The use of confidence or fiducial limits illustrated in the case of the binomial",
        "Biometrika 26(4), 404–413",
        "https://doi.org/10.1093/biomet/26.4.404",
    ),
    Source(
        "p values from drawn exchanges",
        "Phipson, B., Smyth, G. K.",
        2010,
        "Permutation p-values should never be zero",
        "Statistical Applications in Genetics and Molecular Biology 9(1), article 39",
        "https://doi.org/10.2202/1544-6115.1585",
    ),
)


def sentences(compared: Compared) -> list[str]:
    """What can be said, the most important first."""
    if compared.statistics is not None:
        return list(compared.statistics["sentences"])
    ended, wanted = len(compared.runs), compared.wanted
    return [
        f"Nothing can be compared yet: {ended} of {wanted} runs {_have(ended)} ended, and there is no seed "
        "that every strategy has run."
    ]


def warnings(compared: Compared) -> Iterator[str]:
    """What to be wary of."""
    ended, wanted = len(compared.runs), compared.wanted
    if compared.statistics is not None and ended < wanted:
        yield f"The comparison has not ended: {ended} of {wanted} runs are there. What follows may change."
    if said := leaks(compared.content):
        yield said


def references(compared: Compared) -> list[str]:
    """What gains are counted from, a sentence a space."""
    several = len(compared.content["spaces"]) > 1
    said = []
    for space, found in (compared.content.get("references") or {}).items():
        where = f" in {space}" if several else ""
        test = f" and {number(found['test']['score'])} on test" if found["test"] else ""
        name = found["name"][:1].upper() + found["name"][1:]
        said.append(f"{name}{where} scores {number(found['dev']['score'])} on dev{test}.")
    return said


def facts(compared: Compared) -> dict[str, str]:
    """What was run, in pairs of a word and a figure."""
    content, runs = compared.content, compared.runs
    budget = content.get("budget") or {}
    found = {
        "strategies": ", ".join(compared.strategies),
        "spaces": ", ".join(content["spaces"]),
        "seeds": str(content["seeds"]),
        "budget of a run": ", ".join(f"{value} {key}" for key, value in budget.items() if value) or "none",
        "runs": f"{len(runs)} of {compared.wanted}",
        "evaluations": str(sum(run["evaluations"] for run in runs)),
        "failures": str(sum(run["failures"] for run in runs)),
        "experts": ", ".join(content.get("experts", ())),
        "tasks": ", ".join(content.get("tasks", ())),
    }
    if content.get("seconds") is not None:
        found["time"] = duration(content["seconds"])
    return {word: figure for word, figure in found.items() if figure}


def method(compared: Compared, statistics: Mapping[str, object]) -> str:
    """What was computed, as a paragraph for a paper."""
    version = (compared.content.get("versions") or {}).get("searchmerge")
    names, spaces, seeds = (statistics[part] for part in ("strategies", "spaces", "seeds"))
    assert isinstance(names, list)
    assert isinstance(spaces, list)
    assert isinstance(seeds, list)
    tested = (
        " Test scores are those of the winners on dev; the test split chose nothing."
        if statistics["test"]
        else ""
    )
    return (
        f"{_counted(len(names), 'strategy', 'strategies')} ({', '.join(names)}) searched "
        f"{_counted(len(spaces), 'space', 'spaces')} ({', '.join(spaces)}) with "
        f"{_counted(len(seeds), 'seed', 'seeds')} each and at most {statistics['budget']} distinct "
        f"evaluations a run, in searchmerge{f' {version}' if version else ''}.{tested} "
        "The seed is the unit of chance: figures of a seed are means over its spaces. Intervals are 95% "
        "expanded percentile bootstraps over the seeds (Hesterberg 2015). Two strategies are compared by "
        "Fisher's randomisation test of their paired differences, by sign changes within seeds, corrected "
        "for all pairs by Holm's method (1979), and by the probability that one ends above the other with "
        "its exact interval (after Clopper & Pearson 1934). Mean ranks are compared by a Friedman test that "
        "exchanges strategies within seeds, and by Nemenyi's critical difference where it holds (Demšar "
        "2006). Targets are spaced as in COCO (Hansen et al. 2016), without simulated restarts."
    )


def _counted(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"
