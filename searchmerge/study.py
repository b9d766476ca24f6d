"""Runs as Optuna studies, whatever strategy made them: for Optuna's plots, importances and dashboard.

A study holds one finished trial a journal line, under its number. Its times are made up, since Optuna asks
for dates and a journal has none: see :func:`load_study`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from searchmerge.journal import Reader
from searchmerge.report.run import Run
from searchmerge.types import Cross, Genotype, Trial, UserError

JOURNAL = "journal.jsonl"

SHORT = 400
"""Characters of a recipe that is shown with its trial."""

STATES = {"complete": TrialState.COMPLETE, "rejected": TrialState.PRUNED, "failed": TrialState.FAIL}

NOTES = {
    "parameters": "what the coordinates stand for where the journal says so, else they themselves, in [0, 1]",
    "times": "made up: each trial takes its seconds, the next follows; the last ends at the file's time",
}

UNKNOWN = (0.0, 1.0)
"""The line of a real coordinate of which the journal does not say what it stands for."""

Values: TypeAlias = dict[str, Any]
Distributions: TypeAlias = Mapping[str, BaseDistribution]
Params: TypeAlias = Callable[[Genotype], tuple[Values, Distributions, Values]]
"""What gives a genotype's parameters, their distributions, and attributes that are none."""


def load_study(folder: str | Path) -> optuna.Study:
    """Give a run as an Optuna study in memory, also of a run that is still going on.

    A trial has its journal line's number and score, maximised. Its state is complete, pruned (rejected: by
    its floor or in a race) or fail; a repeat is complete, with the number it repeats as an attribute.
    Its parameters are the coordinates by name, as what they stand for where the journal says so, else in
    ``[0, 1]``; of a population's child its place, F and CR. Its times are made up from its seconds.

    Args:
        folder: an ``--out`` folder with a ``journal.jsonl``.

    Raises:
        UserError: there is no journal in it, or a damaged one.
    """
    folder = Path(folder)
    if not (folder / JOURNAL).exists() and (inside := journals(folder)):
        runs = [str(path.parent) for path in inside]
        raise UserError(
            expected=f"the folder of one run, with a {JOURNAL}",
            got=f"{folder}, which holds {len(runs)}: {', '.join(runs[:12])}{', …' * (len(runs) > 12)}",
            cure="give one of these, or look at all of them with searchmerge dashboard",
        )
    mirror = Mirror(folder / JOURNAL, InMemoryStorage(), folder.resolve().name)
    mirror.catch_up()
    if mirror.study is None:
        raise UserError(
            expected=f"a {JOURNAL} with a line or more",
            got=f"{mirror.path} is empty",
            cure="wait until the run has begun",
        )
    return mirror.study


def journals(folder: Path) -> list[Path]:
    """Every run's journal in a folder and below it, in alphabetical order."""
    return sorted(folder.rglob(JOURNAL))


class Mirror:
    """A study in a storage that grows with a journal.

    Args:
        path: the journal.
        storage: where the study is to be.
        name: of the study.

    Attributes:
        path: as given.
        study: None until the journal has its first line.
    """

    def __init__(self, path: Path, storage: BaseStorage, name: str) -> None:
        self.path = path
        self.study: optuna.Study | None = None
        self._storage, self._name = storage, name
        self._reader = Reader(path)
        self._clock: datetime | None = None
        self._params: Params | None = None

    def catch_up(self) -> None:
        """Add the trials that the journal has got since the last time.

        Raises:
            UserError: the journal is not there any more, or damaged.
        """
        trials = self._reader.more()
        if (header := self._reader.header) is None:
            return
        if self.study is None:
            self.study = _new_study(self._storage, self._name, header, self.path)
        if self._clock is None:
            written = datetime.fromtimestamp(self.path.stat().st_mtime)
            self._clock = written - timedelta(seconds=sum(trial.seconds for trial in trials))
        for trial in trials:
            if self._params is None:
                self._params = _params(header, trial)
            start, self._clock = self._clock, self._clock + timedelta(seconds=trial.seconds)
            self.study.add_trial(_frozen(trial, self._params, start, self._clock))


def _new_study(storage: BaseStorage, name: str, header: Mapping[str, Any], path: Path) -> optuna.Study:
    with _quiet():
        storage.create_new_study([StudyDirection.MAXIMIZE], name)
        study = optuna.load_study(study_name=name, storage=storage)
        study.set_metric_names(["score"])
    run = Run(header, (), None)
    about = {
        "run": run.name,
        "strategy": header.get("strategy"),
        "space": header.get("space"),
        "experts": list(run.experts),
        "budget": run.config.get("budget"),
        "folder": str(path.parent),
        **NOTES,
    }
    for key, value in about.items():
        study.set_user_attr(key, value)
    return study


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the line that Optuna logs for a new study, and that names of metrics are experimental."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _params(header: Mapping[str, Any], first: Trial) -> Params:
    point = all(isinstance(gene, float) for gene in first.genotype)
    return _Coordinates(header) if point else _Population(header)


class _Coordinates:
    """The parameters of points: coordinates as what they stand for, as far as the header says so."""

    def __init__(self, header: Mapping[str, Any]) -> None:
        self._means = {name: header.get("means", {}).get(name, {}) for name in header.get("dims", ())}
        self._distributions = {name: _distribution(means) for name, means in self._means.items()}

    def __call__(self, genotype: Genotype) -> tuple[Values, Distributions, Values]:
        named = zip(self._means.items(), genotype, strict=True)
        return {name: _value(means, x) for (name, means), x in named}, self._distributions, {}


def _distribution(means: Mapping[str, Sequence[Any]]) -> BaseDistribution:
    if "choices" in means:
        return CategoricalDistribution(means["choices"])
    line = means.get("line", UNKNOWN)
    return FloatDistribution(min(line), max(line))


def _value(means: Mapping[str, Sequence[Any]], x: float) -> Any:
    if "choices" in means:
        choices = means["choices"]
        return choices[min(int(x * len(choices)), len(choices) - 1)]
    line = means.get("line", UNKNOWN)
    pieces = len(line) - 1
    k = min(int(x * pieces), pieces - 1)
    value = line[k] + (x * pieces - k) * (line[k + 1] - line[k])
    return min(max(value, min(line)), max(line))


class _Population:
    """The parameters of individuals: whose place a child would take; F and CR if the strategy adapts them.

    What never changes is no parameter, or Optuna finds it important.
    """

    def __init__(self, header: Mapping[str, Any]) -> None:
        self._places: list[str] = header.get("dims", [])
        self._adapts = header["strategy"].get("adaptation", "fixed") != "fixed"
        self._distributions = {
            "place": CategoricalDistribution(self._places),
            "F": FloatDistribution(0, 2),
            "CR": FloatDistribution(0, 1),
        }

    def __call__(self, genotype: Genotype) -> tuple[Values, Distributions, Values]:
        params: Values
        attrs: Values
        born = next((k for k, gene in enumerate(genotype) if isinstance(gene, Cross)), None)
        if born is None and len(genotype) > 1:
            return {}, {}, {"members": list(genotype)}
        if born is None:
            params, attrs = {"place": genotype[0]}, {}
        else:
            cross = genotype[born]
            settings = {"CR": cross.cr}
            if len(cross.mutant) > 1:  # the rules' last term has the weight F, or minus that
                settings["F"] = abs(cross.mutant[-1][1])
            mutant = [list(term) for term in cross.mutant]
            params, attrs = {"place": self._places[born]}, {"parent": cross.parent, "mutant": mutant}
            (params if self._adapts else attrs).update(settings)
        return params, {name: self._distributions[name] for name in params}, attrs


def _frozen(trial: Trial, params: Params, start: datetime, stop: datetime) -> FrozenTrial:
    values, distributions, attrs = params(trial.genotype)
    if trial.evaluation:
        attrs |= {f"metric/{task}": value for task, value in trial.evaluation.metrics.items()}
    if trial.error:
        attrs["error"] = trial.error
    if trial.repeats is not None:
        attrs["repeats"] = trial.repeats
    if partly := trial.evaluation and trial.share < 1:
        attrs["share of dev"] = trial.share
    recipe = json.dumps(trial.recipe, ensure_ascii=False)
    if len(recipe) <= SHORT:
        attrs["recipe"] = recipe
    return FrozenTrial(
        number=trial.number,
        trial_id=-1,  # the storage gives it one
        state=TrialState.PRUNED if partly else STATES[trial.state],
        value=trial.evaluation.score if trial.evaluation else None,
        datetime_start=start,
        datetime_complete=stop,
        params=values,
        distributions=dict(distributions),
        user_attrs=attrs,
        system_attrs={},
        intermediate_values={1: trial.score} if partly else {},
    )
