"""Functions with known optima as spaces: what a search finds can be compared with what there is to find."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from searchmerge.types import Dim, Evaluation, Genotype, Recipe

Array = npt.NDArray[np.float64]

CHOICES = 5
"""Categories of each coordinate of the mixed function that has them."""


def sphere(z: Array) -> float:
    """Give the squared distance from the optimum, z = 0."""
    return float(z @ z)


def ellipsoid(z: Array) -> float:
    """Give a sphere with axes of condition 10^6 (f2 of COCO; Hansen et al. 2009, RR-6829)."""
    return float(10 ** np.linspace(0, 6, len(z)) @ z**2)


def rastrigin(z: Array) -> float:
    """Give a sphere with a local optimum at each whole number (f3 of COCO, without its distortions)."""
    return float(10 * (len(z) - np.cos(2 * np.pi * z).sum()) + z @ z)


class Known:
    """One function, an instance a seed: default and optimum are drawn, and the rotation of the ellipsoid.

    A point ``[n]`` is what the function sees: real coordinates in ``[0, 1]``, which it stretches to a width
    of 10, then the numbers of the categories. Of ``mixed`` the second half are categories without an order,
    each wrong one as bad as a real coordinate a quarter of the range from its optimum.

    Args:
        name: of :data:`FUNCTIONS`.
        n: coordinates.
        seed: of the instance.
    """

    models = 1.0

    def __init__(self, name: str, n: int, seed: int) -> None:
        rng = np.random.default_rng([seed, n])
        self.name, self.reals = name, n // 2 if name == "mixed" else n
        self.start, self.optimum = rng.uniform(0.1, 0.9, (2, n))
        of_categories = np.array([rng.choice(CHOICES, 2, replace=False) for _ in range(n - self.reals)])
        self.start[self.reals :], self.optimum[self.reals :] = of_categories.reshape(-1, 2).T
        self._rotation = np.linalg.qr(rng.standard_normal((n, n)))[0] if name == "ellipsoid" else np.eye(n)
        self.dims = tuple(
            Dim(f"x{i:02}", float(x)) if i < self.reals else Dim(f"x{i:02}", (x + 0.5) / CHOICES, CHOICES)
            for i, x in enumerate(self.start)
        )

    def loss(self, point: Sequence[float] | Array) -> float:
        """Give the value at a point ``[n]``: 0 at the optimum, more everywhere else."""
        z = np.asarray(point, np.float64) - self.optimum
        wrong = np.count_nonzero(z[self.reals :])
        return FUNCTIONS[self.name](10 * (self._rotation @ z)[: self.reals]) + 2.5**2 * wrong

    def evaluate(self, recipe: Recipe, floor: float, share: float) -> Evaluation:
        """Score a recipe: minus the loss."""
        return Evaluation(-self.loss(recipe["point"]), {})

    def decode(self, genotype: Genotype, past: Sequence[Recipe] = ()) -> Recipe:
        """Turn a genotype into the point it stands for."""
        point = [
            x if dim.choices is None else min(int(x * dim.choices), dim.choices - 1)
            for x, dim in zip(genotype, self.dims, strict=True)
        ]
        return {"space": self.name, "point": point}

    def realise(self, recipe: Recipe, workshop: Any) -> Mapping[str, Any]:
        """Refuse: the value of a function needs no model."""
        raise TypeError("a function has no model to realise")

    def pruned(self, recipe: Recipe) -> Recipe:
        """Give the whole recipe."""
        return recipe


FUNCTIONS: Mapping[str, Callable[[Array], float]] = {
    "sphere": sphere,
    "ellipsoid": ellipsoid,
    "rastrigin": rastrigin,
    "mixed": sphere,
}
"""What a function does with the real coordinates, by its name."""
