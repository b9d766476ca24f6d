"""The config file: YAML checked by a typed schema, every mistake answered with what is valid there."""

from searchmerge.config.inline import inline
from searchmerge.config.loading import checked, explain, load, validate
from searchmerge.config.section import Source
from searchmerge.config.sections import (
    Baseline,
    Budget,
    Compare,
    Config,
    Models,
    Objective,
    Part,
    Penalty,
    Stage,
    Statistics,
    Subset,
)
from searchmerge.config.tasks import Task

__all__ = [
    "Baseline",
    "Budget",
    "Compare",
    "Config",
    "Models",
    "Objective",
    "Part",
    "Penalty",
    "Source",
    "Stage",
    "Statistics",
    "Subset",
    "Task",
    "checked",
    "explain",
    "inline",
    "load",
    "validate",
]
