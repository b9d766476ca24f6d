"""The objectives of one config: on a split or on a part of dev, in batches for speed or by difficulty."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from torch import nn

from searchmerge.objective import Objective, Split
from searchmerge.objective.subset import part


class Objectives:
    """Makes each, and reads its texts, when it is first asked for.

    Args:
        make: gives the objective on a split, by the options of :func:`searchmerge.objective.making.build`.
        average: writes the plain average of the experts into the live models, and gives these.
        relative: whether scores are relative to those of experts, which have to be evaluated first.
        say: told what takes long.
    """

    def __init__(
        self,
        make: Callable[..., Objective],
        average: Callable[[], Mapping[str, nn.Module]],
        *,
        relative: bool,
        say: Callable[[str], None],
    ) -> None:
        self._make, self._average, self._relative, self._say = make, average, relative, say
        self._whole: dict[tuple[Split, bool], Objective] = {}
        self._parts: dict[tuple[int, float, bool], Objective] = {}

    def on(self, split: Split, *, by_difficulty: bool = False) -> Objective:
        """The objective on a split; by difficulty, and where scores are relative, weights are read for it."""
        place = split, by_difficulty
        if place not in self._whole:
            self._whole[place] = self._make(split, groups=self._groups if by_difficulty else {})
        return self._whole[place]

    def part_of_dev(self, share: float, seed: int, *, by_difficulty: bool) -> Objective:
        """The objective on a share of dev, drawn alike from every label; the larger holds the smaller."""
        whole = self.on("dev", by_difficulty=by_difficulty)
        if share >= 1:
            return whole
        place = seed, share, by_difficulty
        if place not in self._parts:
            chosen = {task.name: part(task, share, seed) for task in whole.tasks}
            groups = self._groups if by_difficulty else {}
            taken = {name: [each[position] for position in chosen[name]] for name, each in groups.items()}
            self._parts[place] = self._make("dev", chosen=chosen, groups=taken)
        return self._parts[place]

    def unrelated(self, split: Split) -> Objective:
        """The objective on a split, of means and in batches made for speed: no weight is read for it."""
        return self._make(split, owners=None) if self._relative else self.on(split)

    @cached_property
    def _groups(self) -> Mapping[str, Sequence[int]]:
        """How hard dev's examples are for the plain average of the experts; leaves it in the live models."""
        self._say("finding out how hard dev's texts are")
        return self.unrelated("dev").difficulties(self._average())
