"""The line: merges of two neighbours at a time, along a path of straight lines through the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from searchmerge.layout import Layout
from searchmerge.types import Dim, Genotype, Recipe, UserError
from searchmerge.workshop import Workshop

BASE, AVERAGE = "base", "average"


class LineSpace:
    """One coordinate: how far along the straight lines that join some models, one after the other.

    Two models that were fine-tuned from one base are often joined by a line without bad models on it
    (J. Frankle et al.: Linear Mode Connectivity and the Lottery Ticket Hypothesis. ICML 2020).

    Args:
        options: the config's ``space`` section: ``through``, the names of two models or more; besides the
            experts there are ``base`` and ``average``. Left out: all experts in their order.
        experts: their names.
        layout: not used.
        has_base: whether there is a base model.
        seed: not used.

    Raises:
        UserError: an unknown option or model, or fewer than two.
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
        for option in options:
            if option != "through":
                raise UserError(
                    expected="a key of the space line: through",
                    got=f"unknown key space.{option}",
                    cure="correct or remove that key",
                )
        self._experts = tuple(experts)
        through = options.get("through", list(experts))
        valid = (*experts, AVERAGE, *([BASE] if has_base else []))
        if not isinstance(through, list) or len(through) < 2 or any(name not in valid for name in through):
            raise UserError(
                expected=f"space.through: a list of two or more of {', '.join(valid)}",
                got=repr(through),
                cure="correct space.through",
            )
        self._corners = [self._weights(name) for name in through]
        # Trial 0, the default merge, is half way. What `means` says is for people: 1.25 is a quarter of the
        # way from the second model to the third.
        self.dims = (Dim("place", 0.5, means=(0.0, len(through) - 1.0)),)

    @property
    def models(self) -> float:
        """Copies of the merged parameters in memory: the base, the experts' task vectors, the live one."""
        return len(self._experts) + 2

    def decode(self, genotype: Genotype, past: Sequence[Recipe] = ()) -> Recipe:
        """Give the experts' weights at that place."""
        place = genotype[0] * (len(self._corners) - 1)
        k = min(int(place), len(self._corners) - 2)
        part = place - k
        weights = [
            (1 - part) * a + part * b for a, b in zip(self._corners[k], self._corners[k + 1], strict=True)
        ]
        return {"space": "line", "weights": dict(zip(self._experts, weights, strict=True))}

    @staticmethod
    def realise(recipe: Recipe, workshop: Workshop) -> Mapping[str, nn.Module]:
        """Write base + Σ weight × (expert - base), or without a base Σ weight × expert."""
        weights = torch.tensor([recipe["weights"][name] for name in workshop.experts], device=workshop.device)
        torch.mv(workshop.task_vectors.deltas.T, weights, out=workshop.live)
        if workshop.base is not None:
            workshop.live.add_(workshop.base)
        return workshop.models

    @staticmethod
    def pruned(recipe: Recipe) -> Recipe:
        """The recipe as it is: all of it counts."""
        return recipe

    def _weights(self, name: str) -> list[float]:
        count = len(self._experts)
        return [1 / count if name == AVERAGE else float(name == expert) for expert in self._experts]
