"""Several objectives kept apart: which points no other beats, and how much volume they hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Points: TypeAlias = npt.NDArray[np.float64]
"""A point a row, a value an objective ``[points, objectives]``; higher is better."""

MOST = 3e6
"""``points^2 * 2^objectives`` up to which a hypervolume is measured; 200 points of 6 take half a minute."""


def signed(metrics: Mapping[str, float], tasks: Sequence[str], lower: Collection[str]) -> tuple[float, ...]:
    """One value a task, higher is better.

    Args:
        metrics: by the task's name.
        tasks: which of them, in this order.
        lower: those whose metric is better when lower, which count with a minus.
    """
    return tuple(-metrics[task] if task in lower else metrics[task] for task in tasks)


def front(points: Sequence[Sequence[float]]) -> list[int]:
    """Positions of the points that no other dominates, in order; of equal points the first alone.

    One dominates another where it is nowhere worse and somewhere better.
    """
    found, every = [], np.array(points, dtype=np.float64)
    for place, mine in enumerate(every):
        as_good = (every >= mine).all(axis=1)
        better = as_good & (every > mine).any(axis=1)
        if not better.any() and int(np.argmax(as_good)) == place:
            found.append(place)
    return found


def hypervolume(points: Sequence[Sequence[float]], reference: Sequence[float]) -> float | None:
    """The volume of all that is better than the reference everywhere and beaten by a point, exactly.

    None where it would take minutes, beyond :data:`MOST`.

    L. While, L. Bradstreet, L. Barone: A fast way of calculating exact hypervolumes. IEEE Transactions on
    Evolutionary Computation 16, 2012 (WFG).

    Args:
        points: ``[points, objectives]``; those that are not better than the reference everywhere add nothing.
        reference: a value an objective.
    """
    if len(points) ** 2 * 2 ** len(reference) > MOST:
        return None
    boxes = np.array(points, dtype=np.float64).reshape(-1, len(reference)) - np.array(reference)
    return _union(boxes[(boxes > 0).all(axis=1)])


def _union(boxes: Points) -> float:
    """Volume of the union of boxes that begin at 0 and end at the points."""
    boxes = boxes[front(boxes.tolist())]
    boxes = boxes[np.argsort(-boxes[:, 0], kind="stable")]
    if boxes.shape[1] <= 2:  # each is higher and less wide than the one before
        widths = boxes[:, 0] - np.append(boxes[1:, 0], 0.0)
        return float(np.sum(widths * (boxes[:, 1] if boxes.shape[1] == 2 else 1.0)))
    # What each box adds to those after it: its volume less what they cover of it.
    return sum(
        float(box.prod()) - _union(np.minimum(boxes[place + 1 :], box)) for place, box in enumerate(boxes)
    )
