"""A part of a task's examples, drawn alike from every label."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from searchmerge.objective.task import Task


def part(task: Task, share: float, seed: int) -> Sequence[int]:
    """Draw a share of a task's examples: their positions, in order.

    Examples of one label (of tasks that have labels; else all) are shuffled, and the first of each are taken:
    so of two shares the larger holds the smaller, and each label has its share, rounded up.

    Args:
        task: the whole of it.
        share: in ``(0, 1]``.
        seed: of the shuffling; tasks are shuffled apart.
    """
    name = int.from_bytes(hashlib.sha256(task.name.encode()).digest()[:4])
    rng = np.random.default_rng([seed, name])
    kinds = np.zeros(task.examples, dtype=np.int64)
    if task.gold.ndim == 1 and task.gold.dtype.kind in "iu":
        kinds = task.gold.astype(np.int64)
    taken: list[int] = []
    for kind in np.unique(kinds):
        members = rng.permutation(np.flatnonzero(kinds == kind))
        taken += members[: int(np.ceil(share * len(members)))].tolist()
    return sorted(taken)
