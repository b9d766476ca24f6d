"""The population space: whole models that are crossed with each other, parameter by parameter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from searchmerge.layout import Layout
from searchmerge.lineage import Lineage
from searchmerge.merging import find
from searchmerge.merging.crossover import UNITS
from searchmerge.merging.magnitudes import kept_count, largest
from searchmerge.merging.models import merge, models_known
from searchmerge.pedigree import ancestry, founders
from searchmerge.spaces._options import STORAGES, known, one_of
from searchmerge.spaces.coefficients import CoefficientSpace
from searchmerge.types import Cross, Founders, Genotype, Individual, Recipe, UserError
from searchmerge.workshop import Workshop

_PIECE = 2**20
"""Parameters of all members that are gathered at once for a merge."""


class PopulationSpace:
    """The experts as a population: a child takes parameters of a mutant, the others of its parent.

    G. Du et al.: Knowledge Fusion by Evolving Weights of Language Models (Evolver), arXiv:2406.12208. A
    genotype names the population with a :class:`Cross` in the place of one member; the recipe is the lineage
    that leads there from the experts, and what is made of it: the child alone, or the population merged.

    Args:
        options: the config's ``space`` section.

            - ``unit``: what is crossed as a whole: ``parameter`` (default), ``row``, ``tensor`` or ``layer``.
            - ``storage``: ``float32`` (default), ``bfloat16`` or ``float16``.
            - ``variants``: further founders: ``pairs: true`` (the mean of every two experts), ``scaled: [s,
            …]``
              (``base + s (expert - base)``), ``jitter: {copies: n, size: x}`` (each parameter of an expert
              moved by ``x`` times the root mean square of its tensor's task vector, up or down at random).
            - ``merge``: a merge method's name, or a mapping of ``method`` and its fixed knobs.
            - ``fitness``: what a score is of, where there is a ``merge``: ``merged`` (default), the whole
              population merged; or ``individual``, and the last evaluation is the population's merged.
        experts: their names.
        layout: places of the merged tensors; none of them is touched.
        has_base: whether there is a base model.
        seed: of jitter and of a merge's random masks.

    Raises:
        UserError: an unknown option or a bad value; fewer than two founders.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        experts: Sequence[str],
        layout: Layout,
        has_base: bool = True,
        seed: int = 0,
    ) -> None:
        options = {"unit": "parameter", "storage": "float32", "variants": {}, "merge": None, **options}
        options.setdefault("fitness", "individual" if options["merge"] is None else "merged")
        known(options, ("unit", "storage", "variants", "merge", "fitness"), "population")
        self._layout = layout
        self._unit = one_of("unit", options["unit"], UNITS)
        self._storage = one_of("storage", options["storage"], STORAGES)
        self._founders = {
            entry["id"]: entry for entry in founders(experts, options["variants"], has_base, seed)
        }
        if len(self._founders) < 2:
            raise UserError(
                expected="two founders or more",
                got=f"{len(self._founders)}: {', '.join(self._founders)}",
                cure="give more experts, or space.variants",
            )
        self._merge = _merge_recipe(options["merge"], tuple(self._founders), layout, has_base, seed)
        if self._merge and CoefficientSpace.needs(self._merge) and len(self._founders) > len(experts):
            raise UserError(
                expected=f"the experts alone as founders: {self._merge['method']} knows the data of each",
                got="space.variants, which have no data of their own",
                cure="leave out space.variants, or take another method in space.merge",
            )
        fitness = one_of("fitness", options["fitness"], ("individual", "merged"))
        if fitness == "merged" and self._merge is None:
            raise UserError(
                expected="space.merge, the method that makes one model of the population",
                got="fitness: merged without it",
                cure="name a method, or set space.fitness to individual",
            )
        self.dims = Founders(
            tuple(self._founders),
            together=fitness == "merged",
            finale=self._merge is not None and fitness != "merged",
        )

    @property
    def models(self) -> float:
        """Copies of the merged parameters in memory: the individuals, the live one, a merge's base.

        That is for a sequential update; by generation there may be twice as many individuals at a time.
        """
        stored = len(self._founders) * STORAGES[self._storage].itemsize / 4
        known = 0.0
        if self._merge is not None:
            method = find(self._merge["method"], self._merge["reading"])
            known = models_known(method, len(self._founders), self._layout, lasting=False)
        return stored + 1 + (1 if _needs_base(self._merge) else 0) + known

    def decode(self, genotype: Genotype, past: Sequence[Recipe] = ()) -> Recipe:
        """Give the lineage of the child, or of the population where it is scored as a whole.

        Args:
            genotype: members, one of which may be a cross: that child is trial ``len(past)``.
            past: the recipes of all trials before.
        """
        born: list[Individual] = [len(past) if isinstance(gene, Cross) else gene for gene in genotype]
        crosses = [gene for gene in genotype if isinstance(gene, Cross)]
        living = [gene.parent if isinstance(gene, Cross) else gene for gene in genotype]
        alone = len(genotype) == 1 or (crosses and not self.dims.together)
        if len(genotype) == 1:
            living = list(self._founders)  # the first turn: they will all be needed
        lineage = self._lineage([*living, *(k for cross in crosses for k, _ in cross.mutant)], past)
        lineage += [_entry(len(past), cross) for cross in crosses]
        members = [len(past)] if alone and crosses else born
        return {
            "space": "population",
            "unit": self._unit,
            "storage": self._storage,
            "merge": None if alone else self._merge,
            "members": members,
            "living": living,
            "lineage": ancestry(lineage, [*members, *living]),
        }

    @staticmethod
    def pruned(recipe: Recipe) -> Recipe:
        """The recipe without the members that only live beside those that its weights are made of."""
        return {**recipe, "living": [], "lineage": ancestry(recipe["lineage"], recipe["members"])}

    @staticmethod
    def realise(recipe: Recipe, workshop: Workshop) -> Mapping[str, nn.Module]:
        """Write the child, or the population merged, into the live models; needs nothing but the recipe."""
        lineage = Lineage(recipe["lineage"], recipe["unit"], STORAGES[recipe["storage"]])
        members = recipe["members"]
        # Of a newly born child only its parents are stored; it is made again if it lives on.
        unborn = [k for k in members if recipe["living"] and k not in recipe["living"]]
        lineage.settle(workshop, recipe["living"] or members)
        for individual in unborn or (members if recipe["merge"] is None else []):
            lineage.write(workshop, individual, workshop.live)
        if recipe["merge"] is not None:
            merge(recipe["merge"], _Team(recipe, lineage, workshop), workshop.layout, workshop.live)
        return workshop.models

    @staticmethod
    def needs(recipe: Recipe) -> str | None:
        """What has to be known of the experts' data to realise the recipe."""
        return recipe["merge"] and CoefficientSpace.needs(recipe["merge"])

    def _lineage(self, individuals: Sequence[Individual], past: Sequence[Recipe]) -> list[dict[str, Any]]:
        found: dict[Individual, dict[str, Any]] = {}
        for individual in individuals:
            known = (
                [self._founders[individual]] if isinstance(individual, str) else past[individual]["lineage"]
            )
            found.update({entry["id"]: entry for entry in known})
        founders = [entry for key, entry in self._founders.items() if key in found]
        return founders + [found[key] for key in sorted(key for key in found if isinstance(key, int))]


class _Team:
    """The members of a population as what a method merges; the unborn one is read from the live model.

    What is known of the experts' data is taken for the members in their places.
    """

    lasting = False

    def __init__(self, recipe: Recipe, lineage: Lineage, workshop: Workshop) -> None:
        self.names = recipe["merge"]["experts"]
        self._members = [lineage.digest(individual) for individual in recipe["members"]]
        self._workshop, self._nursery, self.known = workshop, workshop.nursery, workshop.known
        self._base = workshop.base if _needs_base(recipe["merge"]) else None
        self._cutoffs: dict[tuple[int, int, int], float] = {}

    def pieces(self, run: slice) -> Iterable[slice]:
        return (slice(k, min(k + _PIECE, run.stop)) for k in range(run.start, run.stop, _PIECE))

    def base(self, where: slice) -> Tensor | None:
        return None if self._base is None else self._base[where]

    def deltas(self, where: slice) -> Tensor:
        rows = torch.empty(len(self._members), where.stop - where.start, device=self._workshop.device)
        for k, row in enumerate(rows):
            self._delta(k, where, row)
        return rows

    def _delta(self, k: int, where: slice, out: Tensor) -> Tensor:
        stored = self._nursery.row(self._members[k])
        out.copy_((self._workshop.live if stored is None else stored)[where])
        return out if self._base is None else out.sub_(self._base[where])

    def cutoff(self, model: int, scope: slice, density: float) -> float:
        """Selected anew for each individual; nothing is sorted, since a child is seen only once."""
        count = kept_count(density, scope.stop - scope.start)
        name = self._members[model]
        known = self._cutoffs if self._nursery.row(name) is None else self._nursery.known.setdefault(name, {})
        place = (scope.start, scope.stop, count)
        if place not in known:
            room = torch.empty(scope.stop - scope.start, device=self._workshop.device)
            known[place] = float(largest(self._delta(model, scope, room).abs_(), [count])[0])
        return known[place]

    def memo(self, method: str, run: slice) -> dict[str, Any]:
        return {}


def _entry(trial: int, cross: Cross) -> dict[str, Any]:
    mutant = [[individual, coefficient] for individual, coefficient in cross.mutant]
    return {"id": trial, "parent": cross.parent, "mutant": mutant, "cr": cross.cr, "seed": cross.seed}


def _merge_recipe(
    option: Any, members: tuple[str, ...], layout: Layout, has_base: bool, seed: int
) -> dict[str, Any] | None:
    if option is None:
        return None
    options = {"method": option} if isinstance(option, str) else option
    if not isinstance(options, Mapping):
        raise UserError(
            expected="space.merge: a method's name, or a mapping of method and its knobs",
            got=repr(option),
            cure="for example merge: {method: ties, density: 0.2}",
        )
    if "storage" in options:
        raise UserError(
            expected="in space.merge a method and its knobs",
            got="storage, which is that of the individuals",
            cure="set space.storage in its place",
        )
    space = CoefficientSpace(options, experts=members, layout=layout, has_base=has_base, seed=seed)
    if space.dims:
        raise UserError(
            expected="fixed knobs in space.merge",
            got=f"a range for {space.dims[0].name}",
            cure="give a number; knobs are searched in the space coefficients",
        )
    return {**space.decode(()), "experts": list(members)}


def _needs_base(recipe: Mapping[str, Any] | None) -> bool:
    return recipe is not None and find(recipe["method"], recipe["reading"]).needs_base
