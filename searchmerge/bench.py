"""The bench: everything that a config names, opened, checked and put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from functools import cached_property
from inspect import signature
from typing import Any

import torch
import transformers
from torch import nn

from searchmerge import plugins
from searchmerge.config import Config, Part, Stage
from searchmerge.layout import Layout
from searchmerge.merging import METHODS
from searchmerge.merging.models import models_known
from searchmerge.objective import Objective, Split
from searchmerge.objective.making import LABELLED, build
from searchmerge.objective.precision import resolve
from searchmerge.objective.racing import raceable
from searchmerge.objectives import Objectives
from searchmerge.reuse import Reuse
from searchmerge.sources import Sources
from searchmerge.sources.memory import check_fits, memory_there
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.statistics import Statistics
from searchmerge.types import MERGED, Evaluation, Founders, Recipe, Space, Strategy, UserError
from searchmerge.workshop import Workshop, layout_of


class Bench:
    """What a config describes; each part is made when it is first asked for.

    Args:
        config: the checked config.
        say: told what takes long.
        strangers: whether experts whose weights are unrelated are let in, to be measured.

    Raises:
        UserError: whatever is wrong with the sources, from their headers alone; the parts raise theirs.
    """

    def __init__(
        self, config: Config, say: Callable[[str], None] = lambda _: None, *, strangers: bool = False
    ) -> None:
        self.config, self.say = config, say
        self.device = device_of(config.device)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.heads = {task.name: task.head or MERGED for task in config.objective.tasks}
        _known_experts(config)
        own_heads = all(task.head for task in config.objective.tasks)
        self.sources = Sources.open(config.models, own_heads, strangers=strangers)
        self._owners_known()
        # Looked up when they are called: a profile replaces methods, and the workshop reads weights.
        self._objectives = Objectives(
            lambda split, **options: self._build(split, **options),
            lambda: self.workshop.average(),
            relative=config.objective.aggregate == "relative",
            say=say,
        )
        self.stages: dict[str, Recipe] = {}

    def searched_by(self, strategy: Part, seed: int, space: Part | None = None) -> Bench:
        """The same sources, live models and texts, under another strategy, seed and, if given, space."""
        return self.twin(strategy=strategy, seed=seed, space=space or self.config.space)

    def before(self, stage: Stage) -> Bench:
        """The same sources, live models and texts, for an earlier search, which is for one winner."""
        objective = self.config.objective
        if objective.aggregate == "pareto":
            objective = objective.model_copy(update={"aggregate": "mean"})
        parts = {"space": stage.space, "strategy": stage.strategy, "budget": stage.budget}
        return self.twin(**parts, objective=objective, before=())

    def found(self, stage: str, recipe: Recipe) -> None:
        """Take the winner of an earlier search as a source of the main one."""
        self.stages[stage] = recipe
        self.__dict__.pop("space", None)  # it was made without that recipe

    def twin(self, **changed: Any) -> Bench:
        """The same sources, live models and texts under a config in which some sections are others."""
        twin = copy(self)
        twin.config, twin.stages = self.config.model_copy(update=changed), {}
        twin.__dict__.pop("space", None)  # it was made for the other config and seed
        return twin

    @cached_property
    def layout(self) -> Layout:
        """Places of the merged tensors."""
        return layout_of(self.sources)

    @cached_property
    def space(self) -> Space:
        """The search space."""
        space: Space = plugins.load("spaces", self.config.space.kind)(
            self.config.space.options,
            experts=tuple(self.sources.experts),
            layout=self.layout,
            has_base=self.sources.base is not None,
            seed=self.config.seed,
            **self._stages_for(self.config.space.kind),
        )
        return space

    def _stages_for(self, kind: str) -> dict[str, Any]:
        """What a space is told of earlier searches: their winners' recipes, empty before there are any."""
        stages = {stage.name: self.stages.get(stage.name, {}) for stage in self.config.before}
        if stages and "stages" not in signature(plugins.load("spaces", kind)).parameters:
            raise UserError(
                expected="a space that has models as sources, such as paths, after the searches of before",
                got=kind,
                cure="set space.kind: paths, or remove before",
            )
        return {"stages": stages} if stages else {}

    def check_space(self) -> None:
        """Make sure that the space can be searched with models of this class, by their headers.

        Raises:
            UserError: it cannot.
        """
        if hasattr(self.space, "fits"):
            self.space.fits(next(iter(self.sources.experts.values())))

    def strategy(self) -> Strategy:
        """A fresh strategy, as the config says.

        Raises:
            UserError: it is not as it can be, or races where nobody can.
        """
        strategy = plugins.make_strategy(
            self.config.strategy.kind,
            self.config.strategy.options,
            dims=self.space.dims,
            seed=self.config.seed,
            budget=self.config.budget.evaluations,
            several=self.config.objective.aggregate == "pareto",
        )
        if getattr(strategy, "races", False):
            raceable(self.config.objective)
        return strategy

    @property
    def resident_models(self) -> float:
        """Copies of the merged parameters, counted in float32, that the search or the baselines keep."""
        experts, wanted, objective = len(self.sources.experts), self.config.baselines, self.config.objective
        known = sum(
            models_known(method, experts, self.layout)
            for method in METHODS.values()
            if method.name in wanted and method.statistics and self.statistics.there(method.statistics)
        )
        apart = wanted or objective.aggregate == "relative"
        alone = self._merges(method="linear").models + known if apart else 0
        base = bool(objective.penalty.distance) and self.config.space.kind == "population"
        before = (self.before(stage).space.models for stage in self.config.before)
        half = resolve(objective.precision, self.device) != torch.float32
        # An evaluation keeps the weights as they are converted for it.
        return max(self.space.models + base, alone, *before) + (0.5 if half else 0.0)

    @cached_property
    def workshop(self) -> Workshop:
        """The resident sources and the live models: the first thing that reads weights."""
        check_fits(self.sources, self.resident_models, self.device)
        return Workshop(
            self.sources,
            dict.fromkeys(self.heads.values()),
            self.device,
            trust_remote_code=self.config.models.trust_remote_code,
            statistics=self.statistics,
        )

    @cached_property
    def reuse(self) -> Reuse:
        """What candidates that begin alike have in common; never more than a quarter of what is free."""
        limit = self.config.objective.prefix_gib * 2**30
        return Reuse(self.workshop, int(min(limit, memory_there(self.device) / 4)))

    @cached_property
    def statistics(self) -> Statistics:
        """What is known of the experts' data; nothing is read or measured before it is needed."""
        return Statistics(
            self.config.statistics,
            self.sources,
            self.layout,
            self.device,
            trust_remote_code=self.config.models.trust_remote_code,
            say=self.say,
        )

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of the base, or of the first expert where the base has none."""
        return transformers.AutoTokenizer.from_pretrained(
            self.sources.tokenizer_folder,
            trust_remote_code=self.config.models.trust_remote_code,
            local_files_only=True,
        )

    @property
    def has_test(self) -> bool:
        """Whether every task has a test split."""
        return all(task.test for task in self.config.objective.tasks if not task.ood)

    @property
    def has_ood(self) -> bool:
        """Whether there are tasks out of domain."""
        return any(task.ood for task in self.config.objective.tasks)

    def objective(self, split: Split) -> Objective:
        """The objective on a split, whose texts are read at the first call: ``dev`` alone before the end."""
        return self._objectives.on(split, by_difficulty=split == "dev" and self._by_difficulty)

    def part_of_dev(self, share: float) -> Objective:
        """The objective on a share of dev, drawn alike from every label by the config's seed."""
        return self._objectives.part_of_dev(share, self.config.seed, by_difficulty=self._by_difficulty)

    def unrelated(self, split: Split) -> Objective:
        """The objective on a split, of means and in batches made for speed: no weight is read for it."""
        return self._objectives.unrelated(split)

    @property
    def _by_difficulty(self) -> bool:
        """Whether dev texts of a batch are to be alike in how hard they are, not in length alone."""
        wanted = self.config.objective.batches
        return wanted == "difficulty" or (wanted == "auto" and isinstance(self.space.dims, Founders))

    def _build(self, split: Split, **options: Any) -> Objective:
        means = {
            "tokenizer": self.tokenizer,
            "labels": self.labels,
            "device": self.device,
            "encoder_decoder": self.sources.encoder_decoder,
            "owners": self._own_metrics,
        }
        return build(self.config.objective, split, **means | options)

    def _own_metrics(self, objective: Objective) -> dict[str, float]:
        """The metric of each task's own expert; leaves other weights in the live models."""
        own = {task.name: str(self.owners[task.name]) for task in objective.tasks}
        found = {
            expert: objective(self.realise(self.alone(expert))) for expert in dict.fromkeys(own.values())
        }
        return {task: found[expert].metrics[task] for task, expert in own.items()}

    def _owners_known(self) -> None:
        missing = [task for task, owner in self.owners.items() if owner is None]
        if missing and self.config.objective.aggregate == "relative":
            raise UserError(
                expected="an own expert for every task, to be relative to",
                got=f"none for {', '.join(missing)}",
                cure="name it as expert: in the task, or take aggregate: mean",
            )

    @property
    def owners(self) -> dict[str, str | None]:
        """Each task's own expert: the one that it names, that of its head, or the one of its name."""
        owners = {}
        for task in self.config.objective.tasks:
            owner = task.expert or task.head or task.name
            owners[task.name] = owner if owner in self.sources.experts else None
        return owners

    def merge(self, **options: Any) -> Recipe:
        """The recipe of a merge with fixed knobs; ``options`` as in the config's ``space``.

        Where that has task vectors stored in another type, this has too: otherwise both would be read.
        """
        return self._merges(**options).decode(())

    def _merges(self, **options: Any) -> CoefficientSpace:
        space = self.config.space
        if space.kind == "coefficients" and "storage" in space.options:
            options = {"storage": space.options["storage"], **options}
        return CoefficientSpace(
            options,
            experts=tuple(self.sources.experts),
            layout=self.layout,
            has_base=self.sources.base is not None,
        )

    def alone(self, expert: str) -> Recipe:
        """The recipe of one expert as it is."""
        return self.merge(
            method="linear", weight={name: float(name == expert) for name in self.sources.experts}
        )

    def evaluate(self, recipe: Recipe, split: Split = "dev") -> Evaluation:
        """Realise a recipe, whichever space wrote it, and score it."""
        objective, models = self.objective(split), self.realise(recipe)
        with self.reuse.of(recipe, models):
            return objective(models)

    def ensemble(self, recipes: Iterable[Recipe], split: Split = "dev") -> Evaluation:
        """Score the mean of several merges' answers."""
        return self.objective(split).ensemble(self.realise(recipe) for recipe in recipes)

    def realise(self, recipe: Recipe) -> Mapping[str, nn.Module]:
        """Write a recipe's weights into the live models and give these, one a head."""
        space = plugins.load("spaces", recipe["space"])
        models: Mapping[str, nn.Module] = space.realise(recipe, self.workshop)
        return models

    @cached_property
    def labels(self) -> Mapping[str, Mapping[str, int] | None]:
        """The labels of each head that a task names; None where its tasks need none.

        Raises:
            UserError: a model without labels, and a task that is scored by labels.
        """
        labels: dict[str, Mapping[str, int] | None] = {}
        for task in self.config.objective.tasks:
            head = self.heads[task.name]
            checkpoint = (
                next(iter(self.sources.experts.values())) if head == MERGED else self.sources.experts[head]
            )
            found = self.sources.label2id if head == MERGED else checkpoint.label2id
            labels[head] = found
            if not found and task.kind in LABELLED:
                raise UserError(
                    expected=f"a classification head for task {task.name}: label2id in config.json",
                    got=f"none in {checkpoint.folder}",
                    cure="name an expert that has a head for the task under objective.tasks[].head",
                )
        return labels


def device_of(word: str) -> torch.device:
    """The device that the config's word means: ``auto`` takes CUDA where torch can see it."""
    if word == "cuda" and not torch.cuda.is_available():
        raise UserError(
            expected="a CUDA device", got="none that torch can see", cure="set device: cpu or auto"
        )
    if word == "auto":
        word = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(word)


def _known_experts(config: Config) -> None:
    experts = config.models.experts
    for task in config.objective.tasks:
        for key, name, others in (("head", task.head, (None, MERGED)), ("expert", task.expert, (None,))):
            if name not in (*experts, *others):
                raise UserError(
                    expected=f"an expert: {', '.join(experts)}",
                    got=f"{key} {name} of task {task.name}",
                    cure=f"correct objective.tasks[].{key}",
                )
