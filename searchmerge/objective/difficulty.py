"""Examples by how hard they are: so that hopeless candidates are found out by few batches."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from searchmerge.objective.metrics import Array

GROUPS = 4
"""Of a task's examples. More would cost more padding than they save."""

SMALLER = 4
"""How many times fewer tokens a batch has than one that is made for speed alone."""


def groups(difficulty: Array) -> npt.NDArray[np.int64]:
    """Cut examples into equal groups by how hard each is, ``[examples]``: the hardest are group 0."""
    rank = np.empty(len(difficulty), dtype=np.int64)
    rank[np.argsort(-difficulty, kind="stable")] = np.arange(len(difficulty))
    return rank * GROUPS // max(1, len(difficulty))
