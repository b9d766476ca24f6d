"""What there is to say of a path through the layers of several models: its jumps, repeats, omissions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Literal, TypeAlias

from searchmerge.report.run import bred
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
    """Of which layers a model of a path is made, in two or three sentences; needs only the recipe."""
    said = []
    for name, path in recipe["stacks"].items():
        counts = Counter(step[0] for step in path)
        whose = ", ".join(f"{count} of {source}" for source, count in counts.items())
        said.append(f"{_layers(len(path))} in {name} ({whose})")
    scaled = sum(len(step) > 2 for path in recipe["stacks"].values() for step in path)
    factors = (
        f"The inputs of {_layers(scaled)} are scaled; the factors are folded into the weights."
        if scaled
        else "No input is scaled."
    )
    return (
        f"It has {' and '.join(said)}. Embeddings, head and all else that is no layer are of "
        f"{recipe['rest']}. {factors}"
    )


def method_of(recipe: Recipe) -> str:
    """How the winner of an earlier search came about."""
    if bred(recipe):
        merge = recipe["merge"]
        return "crossed from whole models" + (f", then merged by {merge['method']}" if merge else "")
    return f"merged by {recipe['method']}" if "method" in recipe else f"from the space {recipe['space']}"


def legend(found: Sequence[Path]) -> Iterator[str]:
    """How to read drawings of paths, naming only what is there to be seen."""
    links = {link for path in found for link in path.links}
    rest = found[0].rest
    yield "A lane is a model, a box a layer with its number, in the order in which a token passes them."
    yield f"Grey is {rest}, with what comes before (ring) and after the layers (dot)."
    if any(step.source != rest for path in found for step in path.steps):
        yield "Blue are the layers of others."
    if any(any(path.again) for path in found):
        yield "An empty box is a layer that was passed before."
    if "next" in links:
        yield "A thick line leads to the next layer of the same model."
    if "across" in links:
        yield "A thin one leads to the next layer of another."
    if "jump" in links:
        yield "A dashed one is a jump in depth: it skips layers, or goes back."
    if any(path.scaled for path in found):
        yield "A factor scales the input of its layer; where there is none it is 1."


def _layers(count: int) -> str:
    return f"{count} layer" if count == 1 else f"{count} layers"


def _link(one: Step, other: Step) -> Link:
    if other.index != one.index + 1:
        return "jump"
    return "next" if one.source == other.source else "across"


def _run(run: Sequence[Step]) -> str:
    first, last = run[0], run[-1]
    layers = f"{first.index}–{last.index}" if len(run) > 1 else str(first.index)
    factor = f"(× {first.factor:.8g}) " if first.factor != 1 else ""
    return f"{factor}{first.source} {layers}"


def _spans(numbers: Iterable[int]) -> str:
    """Ascending numbers with their runs written as one: ``3, 5–8``."""
    runs = [
        [number for _, number in run]
        for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    ]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)
