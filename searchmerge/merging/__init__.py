"""Tensor arithmetic of the merge methods, one a file; it knows nothing of search."""

from __future__ import annotations

from collections.abc import Mapping

from searchmerge.merging.breadcrumbs import (
    BREADCRUMBS,
    BREADCRUMBS_TIES_MERGEKIT,
    BREADCRUMBS_TIES_PAPER,
)
from searchmerge.merging.dare import (
    DARE_LINEAR_MERGEKIT,
    DARE_LINEAR_PAPER,
    DARE_TIES_MERGEKIT,
    DARE_TIES_PAPER,
)
from searchmerge.merging.della import (
    DELLA_LINEAR_MERGEKIT,
    DELLA_LINEAR_PAPER,
    DELLA_MERGEKIT,
    DELLA_PAPER,
)
from searchmerge.merging.fisher import FISHER
from searchmerge.merging.linear import LINEAR
from searchmerge.merging.method import Method
from searchmerge.merging.model_stock import MODEL_STOCK_MERGEKIT, MODEL_STOCK_PAPER
from searchmerge.merging.multislerp import MULTISLERP_MERGEKIT, MULTISLERP_PAPER
from searchmerge.merging.regmean import REGMEAN
from searchmerge.merging.sce import SCE_MERGEKIT, SCE_PAPER
from searchmerge.merging.slerp import SLERP
from searchmerge.merging.task_arithmetic import TASK_ARITHMETIC
from searchmerge.merging.ties import TIES_MERGEKIT, TIES_PAPER
from searchmerge.types import UserError


def _named(*methods: Method) -> dict[str, Method]:
    return {method.name: method for method in methods}


METHODS: Mapping[str, Method] = _named(
    LINEAR,
    TASK_ARITHMETIC,
    TIES_PAPER,
    DARE_LINEAR_PAPER,
    DARE_TIES_PAPER,
    DELLA_LINEAR_PAPER,
    DELLA_PAPER,
    BREADCRUMBS,
    BREADCRUMBS_TIES_PAPER,
    MODEL_STOCK_PAPER,
    SCE_PAPER,
    SLERP,
    MULTISLERP_PAPER,
    FISHER,
    REGMEAN,
)
"""Every method by its name, as published."""

READINGS: Mapping[str, Mapping[str, Method]] = {
    "paper": METHODS,
    "mergekit": {
        **METHODS,
        **_named(
            TIES_MERGEKIT,
            DARE_LINEAR_MERGEKIT,
            DARE_TIES_MERGEKIT,
            DELLA_LINEAR_MERGEKIT,
            DELLA_MERGEKIT,
            BREADCRUMBS_TIES_MERGEKIT,
            MODEL_STOCK_MERGEKIT,
            SCE_MERGEKIT,
            MULTISLERP_MERGEKIT,
        ),
    },
}
"""The methods by whose definition counts; what differs is told where the two are defined."""


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
