"""How coordinates become a path: which layers a token passes through, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from searchmerge.spaces._options import fraction, one_of, whole
from searchmerge.types import Dim, UserError


class Layer(NamedTuple):
    """One layer of a source; of a number below 0 it is what stands before the first: the embeddings."""

    source: str
    number: int

    def __str__(self) -> str:
        return f"{self.source}.{self.number}" if self.number >= 0 else "start"

    @property
    def next(self) -> Layer:
        """The layer that follows in the source itself."""
        return Layer(self.source, self.number + 1)


@dataclass(frozen=True)
class Ground:
    """What the paths through one stack are made of.

    Args:
        sources: names of the models whose layers may be taken.
        rest: the one among them whose layers, in order, are the default path.
        between: the numbers of the layers that are searched, the same in every source.
    """

    sources: tuple[str, ...]
    rest: str
    between: range

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All of them, source by source."""
        return tuple(Layer(source, index) for source in self.sources for index in self.between)


class Encoding(Protocol):
    """Paths of layers as coordinates; built from a :class:`Ground` and the options of that encoding.

    The constructor raises ``UserError`` on a bad option.
    """

    @property
    def dims(self) -> tuple[Dim, ...]:
        """The coordinates; the defaults are the path through all layers of ``rest``."""

    @property
    def length(self) -> int:
        """Layers of the longest path."""

    def path(self, point: Sequence[float]) -> list[Layer]:
        """Read the path, which may be empty."""

    def follows(self, i: Layer, j: Layer) -> bool:
        """Whether there is a path on which ``j`` comes right after ``i``."""


class Untouched:
    """The path through all layers of ``rest``, of a stack that is not searched."""

    dims: tuple[Dim, ...] = ()

    def __init__(self, ground: Ground) -> None:
        self._path = [Layer(ground.rest, index) for index in ground.between]
        self.length = len(self._path)

    def path(self, point: Sequence[float]) -> list[Layer]:
        """Give the one path that there is."""
        return self._path

    def follows(self, i: Layer, j: Layer) -> bool:
        """Whether the two are neighbours."""
        return j == i.next


class Indicators:
    """The layers of all sources laid out one source after the other, several times; each is on or off.

    T. Akiba et al.: Evolutionary Optimization of Model Merging Recipes, arXiv:2403.13187, section 3.2: the
    array of indicators I of size T = M × r.

    Args:
        ground: the layers.
        repeats: r, how often they are laid out: a layer can be passed as many times.
        threshold: a slot is on the path where its coordinate exceeds this.
        margin: where the defaults lie between the threshold (0) and the ends of the range (1): the smaller,
            the more slots change at the first steps of a search.
    """

    def __init__(self, ground: Ground, *, repeats: Any = 1, threshold: Any = 0.5, margin: Any = 0.5) -> None:
        self._repeats = whole("repeats", repeats, least=1)
        self._threshold = fraction("threshold", threshold)
        margin = fraction("margin", margin)
        on, off = self._threshold + margin * (1 - self._threshold), self._threshold * (1 - margin)
        self._slots = ground.layers * self._repeats
        self._place = {layer: place for place, layer in enumerate(ground.layers)}
        self.length = len(self._slots)
        self.dims = tuple(
            Dim(
                f"on/{place // len(self._place) + 1}/{layer}",
                on if layer.source == ground.rest and place < len(self._place) else off,
            )
            for place, layer in enumerate(self._slots)
        )

    def path(self, point: Sequence[float]) -> list[Layer]:
        """Give the layers of the slots that are on."""
        return [layer for layer, x in zip(self._slots, point, strict=True) if x > self._threshold]

    def follows(self, i: Layer, j: Layer) -> bool:
        """Any layer follows any other if they are laid out again, else as they are laid out."""
        return self._repeats > 1 or self._place[i] < self._place[j]


class Steps:
    """Each step of the path is any layer, or is skipped: the paper's (M + 1)^T paths.

    Args:
        ground: the layers.
        length: T, the number of steps; left out: the layers of ``rest`` that are searched.
        choose: ``any`` layer, or at each step the ``aligned`` ones, those that stand at the step's place in
            their sources.
    """

    def __init__(self, ground: Ground, *, length: Any = None, choose: Any = "any") -> None:
        depth = len(ground.between)
        self._aligned = one_of("choose", choose, ("any", "aligned")) == "aligned"
        if self._aligned and length is not None:
            raise UserError(
                expected="no space.length: aligned steps are as many as a source has layers",
                got=repr(length),
                cure="remove it, or set space.choose to any",
            )
        self.length = depth if length is None else whole("length", length, least=depth)
        start, stop = ground.between.start, ground.between.stop
        self._choices: list[tuple[Layer | None, ...]] = [
            (None, *(x for x in ground.layers if not self._aligned or x.number == place))
            for place in range(start, start + self.length)
        ]
        defaults = [Layer(ground.rest, k) if k < stop else None for k in range(start, start + self.length)]
        self.dims = tuple(
            Dim(
                f"step/{t}",
                centre(choices.index(default), len(choices)),
                len(choices),
                tuple("skipped" if choice is None else str(choice) for choice in choices),
            )
            for t, (choices, default) in enumerate(zip(self._choices, defaults, strict=True), 1)
        )

    def path(self, point: Sequence[float]) -> list[Layer]:
        """Give the layers of the steps that are not skipped."""
        pairs = zip(self._choices, point, strict=True)
        chosen = [choices[chosen_bin(x, len(choices))] for choices, x in pairs]
        return [layer for layer in chosen if layer is not None]

    def follows(self, i: Layer, j: Layer) -> bool:
        """Aligned layers never go back; else any follows any where there are two steps."""
        return i.number < j.number if self._aligned else self.length > 1


class Blocks:
    """Runs of neighbouring layers, each of one source, one after the other.

    Args:
        ground: the layers.
        blocks: how many; left out: two a source. One whose number of layers is 0 is left out, one that would
            run past the source's last searched layer ends there.
    """

    def __init__(self, ground: Ground, *, blocks: Any = None) -> None:
        self._ground = ground
        self._count = 2 * len(ground.sources) if blocks is None else whole("blocks", blocks, least=1)
        depth = len(ground.between)
        self.length = self._count * depth
        self._sizes = (len(ground.sources), depth, depth + 1)
        words: dict[str, tuple[str | float, ...]] = {
            "source": ground.sources,
            "first": tuple(ground.between),
            "number": tuple(range(depth + 1)),
        }
        first = ground.sources.index(ground.rest)
        # The first block is the default path; the others wait, each at the next source.
        defaults = [
            ((first + k) % len(ground.sources), 0, depth if k == 0 else 0) for k in range(self._count)
        ]
        self.dims = tuple(
            Dim(f"block/{k}/{word}", centre(chosen, len(means)), len(means), means)
            for k, default in enumerate(defaults, 1)
            for (word, means), chosen in zip(words.items(), default, strict=True)
        )

    def path(self, point: Sequence[float]) -> list[Layer]:
        """Give the layers of all blocks."""
        path: list[Layer] = []
        for k in range(self._count):
            part = point[3 * k : 3 * k + 3]
            source, first, number = (chosen_bin(x, size) for x, size in zip(part, self._sizes, strict=True))
            run = self._ground.between[first : first + number]
            path += [Layer(self._ground.sources[source], index) for index in run]
        return path

    def follows(self, i: Layer, j: Layer) -> bool:
        """Neighbours do in one block, any two where there is a second block."""
        return self._count > 1 or j == i.next


ENCODINGS: Mapping[str, Any] = {"indicators": Indicators, "steps": Steps, "blocks": Blocks}
"""The encodings by name."""


def chosen_bin(x: float, choices: int) -> int:
    """Give the number of the bin of ``[0, 1]`` that a coordinate lies in; 1 belongs to the last."""
    return min(int(x * choices), choices - 1)


def centre(number: int, choices: int) -> float:
    """Give the centre of a bin."""
    return (number + 0.5) / choices
