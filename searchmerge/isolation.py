"""Global random generators lent to a library that cannot do without them."""

from __future__ import annotations

import random
from types import TracebackType

import numpy as np


class PrivateGlobals:
    """Give the code of a ``with`` block global generators of its own.

    Inside the block, numpy's and Python's global generators go on from where the last block of the same
    object left them; outside they are as if the block had never run. So the code inside depends on nothing
    that others draw, and others do not depend on it.

    Args:
        seed: where the private generators start.
    """

    def __init__(self, seed: int) -> None:
        self._numpy = np.random.RandomState(seed).get_state()
        self._python = random.Random(seed).getstate()

    def __enter__(self) -> None:
        """Put the private states in."""
        self._swap()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the states from outside back."""
        self._swap()

    def _swap(self) -> None:
        # The legacy calls are meant: it is the global generators that must be exchanged.
        numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
        np.random.set_state(self._numpy)  # noqa: NPY002
        random.setstate(self._python)
        self._numpy, self._python = numpy_state, python_state
