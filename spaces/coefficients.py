"""The coefficient space: one of the merge methods, its knobs fixed or searched at some granularity."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from searchmerge.layout import GRANULARITIES, Granularity, Layout
from searchmerge.merging import find
from searchmerge.merging.magnitudes import DENSITY_STEPS
from searchmerge.merging.method import Knob, Method
from searchmerge.merging.models import Setting, merge, models_known
from searchmerge.spaces._beginnings import of_knobs
from searchmerge.spaces._options import STORAGES, one_of
from searchmerge.types import Dim, Genotype, Recipe, UserError
from searchmerge.workshop import TaskVectors, Workshop


@dataclass(frozen=True)
class _Axis:
    """What the config says of one knob (of one expert): a number, a range, or a list of choices."""

    values: tuple[float, ...]
    searched: bool
    discrete: bool = False

    def dim(self, name: str, default: float) -> Dim:
        if self.discrete:
            nearest = min(range(len(self.values)), key=lambda i: abs(self.values[i] - default))
            return Dim(name, (nearest + 0.5) / len(self.values), len(self.values), self.values)
        low, high = self.values
        return Dim(name, min(max((default - low) / (high - low), 0.0), 1.0), means=self.values)

    def value(self, coordinate: float) -> float:
        if self.discrete:
            return self.values[min(int(coordinate * len(self.values)), len(self.values) - 1)]
        low, high = self.values
        return low + coordinate * (high - low)


class CoefficientSpace:
    """Merges of the experts by one method, with a coefficient a model, layer, block or tensor.

    Args:
        options: the config's ``space`` section: ``method``; ``reading`` (``paper`` or ``mergekit``);
            ``granularity``, one word or a mapping from knob to word; ``storage``, the type that task vectors
            are kept in (``float32``, ``bfloat16`` or ``float16``); and the method's knobs, each a number, a
            pair ``[low, high]``, ``{choices: […]}``, or a mapping from expert to one of these.
        experts: their names.
        layout: places of the merged tensors; none of them is touched.
        has_base: whether there is a base model.
        seed: of the random masks (DARE).

    Raises:
        UserError: an unknown method, knob, expert, granularity or storage; a bad value or range; a method
            that needs a base, or another number of experts.
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
        options = dict(options)
        self._experts = tuple(experts)
        self._reading = str(options.pop("reading", "paper"))
        self._method = find(str(options.pop("method", "task_arithmetic")), self._reading)
        self._storage = one_of("storage", options.pop("storage", "float32"), STORAGES)
        self._seed = _whole(options.pop("seed", seed))
        _fits(self._method, self._experts, has_base)
        self._granularity = _granularity(options.pop("granularity", "model"), self._method)
        _known(options, self._method)
        self._axes = {
            knob.name: _axes(knob, options.get(knob.name), self._experts) for knob in self._method.knobs
        }
        self._layout = layout
        self.dims, self._fillers = self._lay_out(layout)

    @property
    def models(self) -> float:
        """Copies of the merged parameters that realising keeps in memory: base, experts, and the live one.

        And what a method remembers of the experts, and has to know of their data.
        """
        count, searched = len(self._experts), bool(self._searched().get("searched"))
        known = models_known(self._method, count, self._layout, searched=searched)
        stored = STORAGES[self._storage].itemsize / 4
        return count * (stored + self._method.remembers) + 2 + known

    def decode(self, genotype: Genotype, past: Sequence[Recipe] = ()) -> Recipe:
        """Put the coordinates into the knobs; densities are rounded to steps that are looked up exactly."""
        knobs = {name: self._fillers[name](genotype) for name in self._axes}
        return {
            "space": "coefficients",
            "method": self._method.name,
            "reading": self._reading,
            **({"seed": self._seed} if self._method.random else {}),
            **({"storage": self._storage} if self._storage != "float32" else {}),
            "granularity": self._granularity,
            "knobs": knobs,
            **self._searched(),
        }

    def _searched(self) -> dict[str, list[str]]:
        prepares = sorted(self._method.prepares)
        searched = [name for name in prepares if any(axis.searched for axis in self._axes[name].values())]
        return {"searched": searched} if prepares else {}

    @staticmethod
    def realise(recipe: Recipe, workshop: Workshop) -> Mapping[str, nn.Module]:
        """Write the merge that the recipe describes into the live models; needs nothing but the recipe.

        Runs of parameters that stand there already are not written again.
        """
        vectors, written = workshop.stored(STORAGES[recipe.get("storage", "float32")]), workshop.written
        sources = [vectors.deltas, *([] if workshop.base is None else [workshop.base])]
        what = json.dumps({key: value for key, value in recipe.items() if key != "knobs"}, sort_keys=True)
        with written.by(what, sources) as known:
            merge(recipe, _Experts(workshop, vectors), workshop.layout, written.weights, known)
        return workshop.models

    @staticmethod
    def pruned(recipe: Recipe) -> Recipe:
        """The recipe as it is: all of it counts."""
        return recipe

    @staticmethod
    def beginnings(recipe: Recipe, layout: Layout, stack: str, later: Collection[str]) -> Sequence[str]:
        """For each layer of a stack, a digest of what its output depends on, the inputs apart."""
        return of_knobs(recipe, layout, stack, later)

    @staticmethod
    def needs(recipe: Recipe) -> str | None:
        """What has to be known of the experts' data to realise the recipe."""
        return find(recipe["method"], recipe["reading"]).statistics

    def _lay_out(self, layout: Layout) -> tuple[tuple[Dim, ...], dict[str, Callable[[Genotype], Setting]]]:
        dims: list[Dim] = []
        fillers = {}
        for knob in self._method.knobs:
            groups = list(layout.groups(self._granularity[knob.name]))
            parts: dict[str, Callable[[Genotype], Setting]] = {}
            for expert, axis in self._axes[knob.name].items():
                path = f"{knob.name}/{expert}" if expert else knob.name
                parts[expert] = _filler(axis, knob, path, groups, len(self._experts), dims)
            fillers[knob.name] = parts[""] if "" in parts else _by_expert(parts)
        return tuple(dims), fillers


class _Experts:
    """A workshop's experts, as their task vectors are stored."""

    lasting = True

    def __init__(self, workshop: Workshop, vectors: TaskVectors) -> None:
        self._base, self._vectors = workshop.base, vectors
        self.names, self.memo, self.known = workshop.experts, vectors.memo, workshop.known

    def pieces(self, run: slice) -> Iterable[slice]:
        return (run,)

    def base(self, where: slice) -> Tensor | None:
        return None if self._base is None else self._base[where]

    def deltas(self, where: slice) -> Tensor:
        return self._vectors.deltas[:, where]

    def cutoff(self, model: int, scope: slice, density: float) -> float:
        return self._vectors.magnitudes.cutoff(model, scope, density)


def _filler(
    axis: _Axis, knob: Knob, path: str, groups: list[str], experts: int, dims: list[Dim]
) -> Callable[[Genotype], Setting]:
    """Add the axis's coordinates to ``dims``; return what reads its setting from a genotype."""
    if not axis.searched:
        return lambda _: axis.values[0]

    def value(coordinate: float) -> float:
        found = axis.value(coordinate)
        return _snapped(found) if knob.name == "density" and not axis.discrete else found

    first = len(dims)
    default = knob.default(experts)
    if groups == ["model"]:
        dims.append(axis.dim(path, default))
        return lambda genotype: value(genotype[first])
    dims.extend(axis.dim(f"{path}/{group}", default) for group in groups)
    return lambda genotype: {group: value(genotype[first + i]) for i, group in enumerate(groups)}


def _by_expert(parts: Mapping[str, Callable[[Genotype], Setting]]) -> Callable[[Genotype], Setting]:
    return lambda genotype: {expert: part(genotype) for expert, part in parts.items()}


def _snapped(density: float) -> float:
    return max(round(density * DENSITY_STEPS), 1) / DENSITY_STEPS


def _whole(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UserError(expected="space.seed: a whole number", got=repr(seed), cure="correct space.seed")
    return seed


def _fits(method: Method, experts: Sequence[str], has_base: bool) -> None:
    least, most = method.experts
    if len(experts) < least or (most is not None and len(experts) > most):
        wanted = str(least) if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        raise UserError(
            expected=f"{wanted} experts for {method.name}",
            got=f"{len(experts)}: {', '.join(experts)}",
            cure="change models.experts or space.method",
        )
    if method.needs_base and not has_base:
        raise UserError(
            expected=f"a base model: {method.name} is defined by differences from it",
            got="no models.base",
            cure="name the model that all experts were fine-tuned from, "
            "or take method linear, slerp or multislerp",
        )


def _granularity(option: Any, method: Method) -> dict[str, Granularity]:
    words = dict(option) if isinstance(option, Mapping) else {knob.name: option for knob in method.knobs}
    _known(words, method)
    for word in words.values():
        if word not in GRANULARITIES:
            raise UserError(
                expected=f"a granularity: {', '.join(GRANULARITIES)}",
                got=repr(word),
                cure="correct space.granularity",
            )
    return {knob.name: words.get(knob.name, "model") for knob in method.knobs}


def _known(options: Mapping[str, Any], method: Method) -> None:
    valid = [knob.name for knob in method.knobs]
    for name in options:
        if name not in valid:
            raise UserError(
                expected=f"a knob of {method.name}: {', '.join(valid)} "
                "(or method, reading, granularity, storage)",
                got=f"unknown key space.{name}",
                cure="correct or remove that key",
            )


def _axes(knob: Knob, option: Any, experts: Sequence[str]) -> dict[str, _Axis]:
    """The axis of each expert; under the empty name where the knob is one number for all of them."""
    default = knob.default(len(experts))
    if not knob.per_expert:
        return {"": _axis(knob, default if option is None else option, f"space.{knob.name}")}
    if isinstance(option, Mapping) and set(option) != {"choices"}:
        for name in option:
            if name not in experts:
                raise UserError(
                    expected=f"an expert: {', '.join(experts)}",
                    got=f"space.{knob.name}.{name}",
                    cure="correct the name, or add it to models.experts",
                )
        return {name: _axis(knob, option.get(name, default), f"space.{knob.name}.{name}") for name in experts}
    axis = _axis(knob, default if option is None else option, f"space.{knob.name}")
    return dict.fromkeys(experts, axis) if axis.searched else {"": axis}


def _axis(knob: Knob, option: Any, where: str) -> _Axis:
    if isinstance(option, Mapping) and set(option) == {"choices"}:
        values, searched, discrete = option["choices"], True, True
    elif isinstance(option, list | tuple):
        values, searched, discrete = option, True, False
    else:
        values, searched, discrete = [option], False, False
    numbers = isinstance(values, list | tuple) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )
    legal = numbers and len(values) > 0 and all(knob.low <= value <= knob.high for value in values)
    if not legal or (searched and not discrete and (len(values) != 2 or values[0] >= values[1])):
        raise UserError(
            expected=f"{where}: a number, a pair [low, high] with low < high, or choices, "
            f"all from {knob.low:g} to {knob.high:g}",
            got=repr(option),
            cure=f"correct {where}",
        )
    return _Axis(tuple(float(value) for value in values), searched, discrete)
