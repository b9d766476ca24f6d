"""What a user would have done without a search: the merges and models that every winner is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from searchmerge.bench import Bench
from searchmerge.config import Baseline
from searchmerge.objective import Split
from searchmerge.sources.checkpoint import Checkpoint
from searchmerge.standalone import labels_of, standalone
from searchmerge.statistics import Kind
from searchmerge.types import Evaluation, Recipe, UserError

COARSE = tuple(step / 10 for step in range(1, 11))
"""The coefficients that ``tuned task arithmetic`` tries first; then 0.05 to either side of the best."""

FINE = 0.05

MEAN_OF_EXPERTS = "mean of the experts"


@dataclass(frozen=True)
class Rival:
    """A model, or several whose scores are averaged.

    Args:
        name: what it is called in the result.
        on: its evaluations on a split.
    """

    name: str
    on: Callable[[Split], Sequence[Evaluation]]


def baselines(bench: Bench) -> Iterator[Rival]:
    """Every baseline that the config asks for; what is chosen is chosen by dev.

    - ``expert NAME``: each expert alone, under every task's head;
    - ``mean of the experts``: the mean of their scores;
    - ``best expert``: the one of them with the best dev score;
    - ``own experts``: each task by the expert whose head it names, or that has its name: no one model;
    - ``average``: the plain mean of the experts (model soup, Wortsman et al. 2022);
    - ``greedy soup``: the mean of those that do not lower the dev score, the best first (same paper);
    - ``tuned task arithmetic``: one coefficient for all experts (Ilharco et al. 2023), the best on dev;
    - ``ties``, ``dare_linear``: with the papers' defaults (Yadav et al. 2023; Yu et al. 2024);
    - ``fisher``, ``regmean``: with the papers' defaults, where statistics of the experts' data are at hand;
    - ``ensemble``: the mean of the experts' logits, where tasks have them: no one model, and as many passes;
    - ``search NAME``: the winner of each earlier search;
    - the checkpoints that the config names as ``references``, as they stand.

    Those of task vectors need a base and are left out without one.
    """
    scores = _Scores(bench)
    if "experts" in bench.config.baselines:
        yield from _experts(bench, scores)
    yield from _merges(bench, scores)
    if "ensemble" in bench.config.baselines and bench.objective("dev").averages:
        members = [bench.alone(name) for name in bench.sources.experts]
        yield Rival("ensemble", lambda split: [bench.ensemble(members, split)])
    for name, recipe in bench.stages.items():
        yield scores.rival(f"search {name}", recipe)
    for name, ref in bench.config.references.items():
        yield _reference(bench, name, ref)


def require(bench: Bench) -> None:
    """Make sure, before a search, that what its baselines need is there.

    Raises:
        UserError: a reference that cannot be opened or has other labels; statistics without file or texts.
    """
    for name, ref in bench.config.references.items():
        _opened(bench, name, ref)
    kinds: dict[Baseline, Kind] = {"fisher": "fisher", "regmean": "gram"}
    for baseline, kind in kinds.items():
        if baseline in bench.config.baselines and bench.statistics.there(kind):
            bench.statistics.require(kind)


class _Scores:
    """Evaluations of merges, each done once."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._known: dict[tuple[str, Split], Evaluation] = {}

    def of(self, recipe: Recipe, split: Split = "dev") -> Evaluation:
        place = (str(recipe), split)
        if place not in self._known:
            self._known[place] = self._bench.evaluate(recipe, split)
        return self._known[place]

    def rival(self, name: str, recipe: Recipe) -> Rival:
        return Rival(name, lambda split: [self.of(recipe, split)])


def _experts(bench: Bench, scores: _Scores) -> Iterator[Rival]:
    alone = {name: bench.alone(name) for name in bench.sources.experts}
    for name, recipe in alone.items():
        yield scores.rival(f"expert {name}", recipe)
    yield Rival(MEAN_OF_EXPERTS, lambda split: [scores.of(recipe, split) for recipe in alone.values()])
    yield scores.rival("best expert", max(alone.values(), key=lambda recipe: scores.of(recipe).score))
    owners = bench.owners
    if all(owners.values()):

        def own(split: Split) -> list[Evaluation]:
            objective = bench.objective(split)
            outcomes = {
                task.name: scores.of(alone[str(owners[task.name])], split).outcomes[task.name]
                for task in objective.tasks
            }
            return [objective.score_of(outcomes)]

        yield Rival("own experts", own)


def _merges(bench: Bench, scores: _Scores) -> Iterator[Rival]:
    has_base, known = bench.sources.base is not None, bench.statistics
    possible: dict[Baseline, tuple[str, bool, Callable[[], Recipe]]] = {
        "average": ("average", True, lambda: bench.merge(method="linear")),
        "soup": ("greedy soup", True, lambda: _greedy_soup(bench, scores)),
        "tuned": ("tuned task arithmetic", has_base, lambda: _tuned(bench, scores)),
        "ties": ("ties", has_base, lambda: bench.merge(method="ties")),
        "dare": ("dare_linear", has_base, lambda: bench.merge(method="dare_linear")),
        "fisher": ("fisher", known.there("fisher"), lambda: bench.merge(method="fisher")),
        "regmean": ("regmean", known.there("gram"), lambda: bench.merge(method="regmean")),
    }
    for wanted, (name, can_be, recipe) in possible.items():
        if wanted in bench.config.baselines and can_be:
            yield scores.rival(name, recipe())


def _greedy_soup(bench: Bench, scores: _Scores) -> Recipe:
    """Wortsman et al. 2022, recipe 1: add the experts one by one, keep each that does not lower the score."""

    def mean(names: Sequence[str]) -> Recipe:
        weights = {name: float(name in names) for name in bench.sources.experts}
        return bench.merge(method="linear", weight=weights)

    first, *others = sorted(
        bench.sources.experts, key=lambda name: scores.of(bench.alone(name)).score, reverse=True
    )
    soup = [first]
    for name in others:
        if scores.of(mean([*soup, name])).score >= scores.of(mean(soup)).score:
            soup.append(name)
    return mean(soup)


def _tuned(bench: Bench, scores: _Scores) -> Recipe:
    weight = tuned(lambda weight: scores.of(bench.merge(method="task_arithmetic", weight=weight)).score)
    return bench.merge(method="task_arithmetic", weight=weight)


def tuned(score: Callable[[float], float]) -> float:
    """The best of a coarse line of coefficients and its two finer neighbours; the smaller one on a tie."""
    tried = {weight: score(weight) for weight in COARSE}

    def best() -> float:
        return max(sorted(tried), key=lambda weight: tried[weight])

    centre = best()
    for weight in (round(centre - FINE, 2), round(centre + FINE, 2)):
        tried[weight] = score(weight)
    return best()


def _reference(bench: Bench, name: str, ref: str) -> Rival:
    trust = bench.config.models.trust_remote_code
    checkpoint, tasks = _opened(bench, name, ref), bench.config.objective.tasks
    models, _ = standalone(checkpoint, tasks, bench.device, trust_remote_code=trust)
    return Rival(name, lambda split: [bench.objective(split)(models)])


def _opened(bench: Bench, name: str, ref: str) -> Checkpoint:
    models = bench.config.models
    checkpoint = Checkpoint.open(
        ref, allow_pickle=models.allow_pickle, trust_remote_code=models.trust_remote_code
    )
    for head, labels in labels_of(checkpoint, bench.config.objective.tasks).items():
        if dict(labels) != dict(bench.labels[head] or {}):
            known = ", ".join(bench.labels[head] or ["no labels"])
            raise UserError(
                expected=f"the labels {known} of the head {head}, so numbered, in {ref}",
                got=", ".join(f"{label} ({number})" for label, number in labels.items()) or "none",
                cure=f"leave out references.{name}, or score it by: searchmerge evaluate {ref} CONFIG",
            )
    return checkpoint
