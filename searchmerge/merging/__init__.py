"""Tensor arithmetic of the merge methods, one a file; it knows nothing of search."""

from __future__ import annotations

from collections.abc import Mapping

from searchmerge.merging.dare import (
    DARE_LINEAR_MERGEKIT,
    DARE_LINEAR_PAPER,
    DARE_TIES_MERGEKIT,
    DARE_TIES_PAPER,
)
from searchmerge.merging.fisher import FISHER
from searchmerge.merging.linear import LINEAR
from searchmerge.merging.method import Method
from searchmerge.merging.regmean import REGMEAN
from searchmerge.merging.slerp import SLERP
from searchmerge.merging.task_arithmetic import TASK_ARITHMETIC
from searchmerge.merging.ties import TIES_MERGEKIT, TIES_PAPER
from searchmerge.types import UserError

METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        LINEAR,
        TASK_ARITHMETIC,
        TIES_PAPER,
        DARE_LINEAR_PAPER,
        DARE_TIES_PAPER,
        SLERP,
        FISHER,
        REGMEAN,
    )
}
"""Every method by its name, as published."""

READINGS: Mapping[str, Mapping[str, Method]] = {
    "paper": METHODS,
    "mergekit": {
        **METHODS,
        **{method.name: method for method in (TIES_MERGEKIT, DARE_LINEAR_MERGEKIT, DARE_TIES_MERGEKIT)},
    },
}
"""The methods by whose definition counts; the two differ in sparsification and sign election only."""


def find(name: str, reading: str) -> Method:
    """Look a method up.

    Raises:
        UserError: there is none of that name or reading; the message lists the valid ones.
    """
    if reading not in READINGS:
        raise UserError(
            expected=f"one of the readings {', '.join(READINGS)}", got=reading, cure="correct space.reading"
        )
    if name not in METHODS:
        raise UserError(
            expected=f"one of the methods {', '.join(METHODS)}", got=name, cure="correct space.method"
        )
    return READINGS[reading][name]
