"""The data-flow space: paths through the layers of several models, whose weights stay as they are."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from torch import nn

from searchmerge.layers import folding
from searchmerge.layout import Layout
from searchmerge.sources.checkpoint import Checkpoint
from searchmerge.spaces._beginnings import of_path
from searchmerge.spaces._encodings import ENCODINGS, Encoding, Ground, Layer, Untouched
from searchmerge.spaces._options import known, number, one_of, some_of, whole
from searchmerge.spaces._scales import Limits, Network, Pairs, Scales, pairs_of
from searchmerge.types import Dim, Genotype, Recipe, UserError
from searchmerge.walker import named_stacks
from searchmerge.workshop import Workshop

BASE = "base"
"""The base model's name among the sources."""

SCALES = ("pairs", "matrix", "jumps", "network")
"""What factors may hang on, the default first."""


class PathsSpace:
    """Paths through layers: a token passes through layers of several models, in an order that is searched.

    T. Akiba et al.: Evolutionary Optimization of Model Merging Recipes, arXiv:2403.13187, section 3.2. What
    is not a layer (embeddings, final norm, head) is of one model, ``rest``. The default is that model
    untouched.

    Args:
        options: the config's ``space`` section.

            - ``sources``: names of the models whose layers may be taken: stages, experts, ``base``; left out:
              the stages, then the experts.
            - ``rest``: one of them; left out: the first.
            - ``stacks``: the stacks of layers that are searched, e.g. ``[decoder.block]``; left out: all. The
              others are those of ``rest``.
            - ``ends``: ``{first: n, last: m}``: that many layers at either end of a path are those of
              ``rest``, and none of a source's own are searched.
            - ``encoding``: ``indicators`` (default), ``steps`` or ``blocks``, with its options: see
              :mod:`searchmerge.spaces._encodings`.
            - ``scale``: a pair ``[low, high]`` with ``low <= 1 <= high``, the range of the factors of the
              layers' inputs; left out, null or false: all are 1.
            - ``scales``: what the factors hang on: ``pairs`` of layers that can follow each other (default),
              the whole ``matrix``, ``jumps`` alone, or a ``network``.
        experts: their names.
        layout: places of the merged tensors; none of them is touched.
        has_base: whether there is a base model.
        seed: not used.
        stages: recipes of earlier searches by name, whose models are sources too.

    Raises:
        UserError: an unknown option, source or stack; a bad value; a model without layers to search.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        experts: Sequence[str],
        layout: Layout,
        has_base: bool = True,
        seed: int = 0,
        stages: Mapping[str, Recipe] | None = None,
    ) -> None:
        options = {key: value for key, value in options.items() if value is not None}
        self._stages = dict(stages or {})
        named = (*self._stages, *experts)
        self._sources = _sources(options.pop("sources", named), (*named, *((BASE,) if has_base else ())))
        self._rest = one_of("rest", options.pop("rest", self._sources[0]), self._sources)
        searched = _searched(options.pop("stacks", None), layout.stacks)
        ends = _ends(options.pop("ends", {}))
        limits, scales = _scale(options.pop("scale", False), options.pop("scales", None))
        self._scaled = limits is not None
        make = _encoding(options)
        self._stacks: dict[str, _Stack] = {}
        dims: list[Dim] = []
        for stack, depth in layout.stacks.items():
            first, last = ends if stack in searched else (0, 0)
            _room(stack, depth, first, last)
            ground = Ground(self._sources, self._rest, range(first, depth - last))
            encoding = make(ground) if stack in searched else Untouched(ground)
            after = tuple(Layer(self._rest, index) for index in range(depth - last, depth))
            ways = _scales(encoding, ground, after[:1], limits if stack in searched else None, scales)
            self._stacks[stack] = _Stack(self._rest, first, encoding, ways, after, len(dims))
            prefix = f"{stack}/" if len(searched) > 1 else ""
            dims += [replace(dim, name=prefix + dim.name) for dim in encoding.dims + ways.dims]
        self.dims = tuple(dims)

    @property
    def models(self) -> float:
        """Copies of the merged parameters that realising keeps in memory: the sources and the live one."""
        return len(self._sources) + 1

    def decode(self, genotype: Genotype, past: Sequence[Recipe] = ()) -> Recipe:
        """Give the path through every stack, and the recipes of the stages on it.

        A step is ``[source, index]`` with, unless it is 1, the factor of its input. What is not on the path
        does not show, so that genotypes of one path have one recipe.
        """
        paths = {name: stack.steps(genotype) for name, stack in self._stacks.items()}
        used = {self._rest, *(step[0] for path in paths.values() for step in path)}
        return {
            "space": "paths",
            "rest": self._rest,
            "stacks": paths,
            "stages": {name: recipe for name, recipe in self._stages.items() if name in used},
        }

    def fits(self, checkpoint: Checkpoint) -> None:
        """Make sure that the class of the models can be given other layers, and be written as a plain model.

        Raises:
            UserError: it cannot, or only without factors.
        """
        model = checkpoint.model.model
        stacks = named_stacks(checkpoint, model)
        for name in self._stacks:
            if name not in stacks:
                raise UserError(
                    expected=f"a number in config.json that says how many layers {name} has",
                    got=f"none that does for {checkpoint.architecture}",
                    cure="leave that stack out of space.stacks, or take another space, such as coefficients",
                )
            folding(model, stacks[name], scaled=self._scaled)

    @staticmethod
    def realise(recipe: Recipe, workshop: Workshop) -> Mapping[str, nn.Module]:
        """Give live models that take the recipe's path; needs nothing but the recipe."""
        return workshop.walker(recipe["stages"]).walk(recipe)

    @staticmethod
    def plain(recipe: Recipe, workshop: Workshop, head: str) -> nn.Module:
        """Give one of these models as a plain one of its class, with the factors in its weights."""
        return workshop.walker(recipe["stages"]).plain(recipe, head)

    @staticmethod
    def beginnings(recipe: Recipe, _: Layout, stack: str, later: Collection[str]) -> Sequence[str]:
        """For each layer of a stack, a digest of what its output depends on, the inputs apart."""
        return of_path(recipe, stack, later)

    @staticmethod
    def pruned(recipe: Recipe) -> Recipe:
        """The recipe as it is: all of it counts."""
        return recipe


@dataclass(frozen=True)
class _Stack:
    """One stack and where its coordinates begin: ``first`` layers of ``rest``, the path, those ``after``."""

    rest: str
    first: int
    encoding: Encoding
    scales: Scales
    after: tuple[Layer, ...]
    start: int

    def steps(self, genotype: Genotype) -> list[list[Any]]:
        middle = self.start + len(self.encoding.dims)
        path = self.encoding.path(genotype[self.start : middle])
        if not (self.first or path or self.after):
            path = [Layer(self.rest, 0)]  # a model has a layer or more
        before = [Layer(self.rest, index) for index in range(-1, self.first)]  # the embeddings come first
        factors = self.scales.factors(
            [before[-1], *path, *self.after[:1]], genotype[middle : middle + len(self.scales.dims)]
        )
        factors = [1.0] * self.first + factors + [1.0] * len(self.after[1:])
        layers = [*before[1:], *path, *self.after]
        return [
            [*layer] if factor == 1 else [*layer, factor]
            for layer, factor in zip(layers, factors, strict=True)
        ]


def _scales(
    encoding: Encoding, ground: Ground, last: tuple[Layer, ...], limits: Limits | None, word: str
) -> Scales:
    start = Layer(ground.rest, ground.between.start - 1)
    if limits is None:
        return Pairs((), Limits(1, 1))
    if word == "network":
        return Network(ground, encoding.length + len(last), limits)
    return Pairs(pairs_of(encoding, ground, (start, last), word), limits)


def _sources(value: Any, valid: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(valid)) < len(valid):
        raise UserError(
            expected="stages, experts and the base with a name each; the base is called base",
            got=", ".join(valid),
            cure="rename the stage or expert whose name is there twice",
        )
    return some_of("sources", value, valid)


def _searched(value: Any, stacks: Mapping[str, int]) -> tuple[str, ...]:
    if not stacks:
        raise UserError(
            expected="models with numbered layers that can stand in each other's places",
            got="none: no such list in the module tree",
            cure="take another space, such as coefficients",
        )
    return tuple(stacks) if value is None else some_of("stacks", value, tuple(stacks))


def _ends(value: Any) -> tuple[int, int]:
    if not isinstance(value, Mapping) or not set(value) <= {"first", "last"}:
        raise UserError(
            expected="space.ends: a mapping of first and last, numbers of layers",
            got=repr(value),
            cure="for example ends: {first: 1, last: 1}",
        )
    first, last = (whole(f"ends.{word}", value.get(word, 0), least=0) for word in ("first", "last"))
    return first, last


def _room(stack: str, depth: int, first: int, last: int) -> None:
    if first + last >= depth:
        raise UserError(
            expected=f"a layer or more between the ends of {stack}, which has {depth}",
            got=f"space.ends with first: {first}, last: {last}",
            cure="make space.ends smaller, or leave the stack out of space.stacks",
        )


def _scale(scale: Any, scales: Any) -> tuple[Limits | None, str]:
    word = one_of("scales", SCALES[0] if scales is None else scales, SCALES)
    if scale is False:
        if scales is not None:
            raise UserError(
                expected="space.scale, the range of the factors, beside space.scales",
                got=f"scales: {word} without it",
                cure="add for example scale: [0.5, 1.5], or remove space.scales",
            )
        return None, word
    pair = scale if isinstance(scale, list | tuple) and all(map(number, scale)) else ()
    if len(pair) != 2 or not (0 < pair[0] <= 1 <= pair[1] < inf and pair[0] < pair[1]):
        raise UserError(
            expected="space.scale: false, or a pair [low, high] with 0 < low <= 1 <= high and low < high",
            got=repr(scale),
            cure="for example scale: [0.5, 1.5]",
        )
    return Limits(float(pair[0]), float(pair[1])), word


def _encoding(options: dict[str, Any]) -> Any:
    """Give what builds the encoding from the ground, out of the options that are left."""
    word = one_of("encoding", options.pop("encoding", "indicators"), ENCODINGS)
    own = [name for name in inspect.signature(ENCODINGS[word]).parameters if name != "ground"]
    common = ("sources", "rest", "stacks", "ends", "encoding", "scale", "scales")
    known(options, (*common, *own), f"paths with the encoding {word}")
    return lambda ground: ENCODINGS[word](ground, **options)
