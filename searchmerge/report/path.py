"""What there is to say of a path through the layers of several models: its jumps, repeats, omissions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Literal, TypeAlias

from searchmerge.types import Recipe, Trial

Link: TypeAlias = Literal["next", "across", "jump"]
"""How one layer leads to another: to the next of its model, to the next of another one, anywhere else."""


@dataclass(frozen=True)
class Step:
    """A layer on a path: ``index`` in its source, and the factor of its input."""

    source: str
    index: int
    factor: float = 1.0


@dataclass(frozen=True)
class Path:
    """A path through one stack.

    Args:
        stack: its name.
        rest: the model whose embeddings come first and whose head comes last.
        depth: how many layers each source has.
        steps: the layers, in order.
    """

    stack: str
    rest: str
    depth: int
    steps: tuple[Step, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """Whose layers are on it, by their first one; ``rest`` before them."""
        return tuple(dict.fromkeys([self.rest, *(step.source for step in self.steps)]))

    @property
    def stops(self) -> tuple[Step, ...]:
        """The steps between what comes before the first and after the last layer of ``rest``."""
        return (Step(self.rest, -1), *self.steps, Step(self.rest, self.depth))

    @property
    def links(self) -> tuple[Link, ...]:
        """How each stop leads to the next one."""
        return tuple(_link(one, other) for one, other in pairwise(self.stops))

    @property
    def scaled(self) -> bool:
        """Whether a factor is not 1."""
        return any(step.factor != 1 for step in self.steps)

    @property
    def again(self) -> tuple[bool, ...]:
        """For each step, whether the same layer stands on the path before it."""
        layers = [(step.source, step.index) for step in self.steps]
        return tuple(layer in layers[:place] for place, layer in enumerate(layers))

    @property
    def uses(self) -> tuple[int, ...]:
        """How often each layer of ``rest`` is on it."""
        found = Counter(step.index for step in self.steps if step.source == self.rest)
        return tuple(found[index] for index in range(self.depth))

    @property
    def words(self) -> str:
        """The path in words, a run of neighbours at a time: ``a 0–2, (× 0.97) b 3, a 5–11``.

        A factor stands before the layer whose input it scales.
        """
        starts = [
            place
            for place, step in enumerate(self.steps)
            if not place or step.factor != 1 or self.links[place] != "next"
        ]
        runs = [self.steps[start:end] for start, end in pairwise([*starts, len(self.steps)])]
        return ", ".join(_run(run) for run in runs)

    @property
    def omissions(self) -> str:
        """Which layers of ``rest`` are left out and which are there more than once; empty for none."""
        out = _spans(index for index, count in enumerate(self.uses) if not count)
        said = f"Left out of {self.rest}: {out}." if out else ""
        more = ", ".join(f"{index} ({count} times)" for index, count in enumerate(self.uses) if count > 1)
        return f"{said} More than once: {more}.".strip() if more else said


def laid(recipe: Recipe) -> bool:
    """Whether the recipe is a path through layers."""
    return recipe.get("space") == "paths"


def paths(recipe: Recipe, trials: Sequence[Trial]) -> list[Path]:
    """The paths of a recipe, one a stack.

    Args:
        recipe: of the space ``paths``.
        trials: of the run; the first one, a model as it is, has all layers.
    """
    stacks = [trial.recipe["stacks"] for trial in trials] or [recipe["stacks"]]
    return [
        Path(
            name,
            recipe["rest"],
            1 + max(step[1] for found in [*stacks, recipe["stacks"]] for step in found[name]),
            tuple(Step(*step) for step in path),
        )
        for name, path in recipe["stacks"].items()
    ]


def described(recipe: Recipe) -> str:
    """Of which layers a model of a path is made, in a sentence or three; needs only the recipe."""
    said, scaled = [], False
    for name, path in recipe["stacks"].items():
        counts = Counter(step[0] for step in path)
        whose = ", ".join(f"{count} of {source}" for source, count in counts.items())
        said.append(f"{len(path)} layers in {name} ({whose})")
        scaled |= any(len(step) > 2 for step in path)
    factors = "The inputs of some layers are scaled; the factors are folded into the weights." if scaled else ""
    return (
        f"Its weights are those of its sources, as they are; it has {' and '.join(said)}. Embeddings, head and "
        f"all else that is no layer are of {recipe['rest']}. {factors or 'No input is scaled.'}"
    )


def method(stage: Mapping[str, Any]) -> str:
    """How a model came about that an earlier search found."""
    if stage.get("space") == "population":
        merge = stage["merge"]
        return "crossed from whole models" + (f", then merged by {merge['method']}" if merge else "")
    return f"merged by {stage['method']}" if "method" in stage else f"of the space {stage.get('space')}"


def _link(one: Step, other: Step) -> Link:
    if other.index != one.index + 1:
        return "jump"
    return "next" if one.source == other.source else "across"


def _run(run: Sequence[Step]) -> str:
    first, last = run[0], run[-1]
    layers = f"{first.index}–{last.index}" if len(run) > 1 else str(first.index)
    factor = f"(× {first.factor:.6g}) " if first.factor != 1 else ""
    return f"{factor}{first.source} {layers}"


def _spans(numbers: Iterable[int]) -> str:
    """Ascending numbers with their runs written as one: ``3, 5–8``."""
    runs = [
        [number for _, number in run]
        for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    ]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)
