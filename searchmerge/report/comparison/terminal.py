"""A comparison on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from searchmerge.report.comparison.content import Compared
from searchmerge.report.comparison.tables import final, runs, unsearched
from searchmerge.report.comparison.words import sentences, warnings
from searchmerge.report.comparison.writers import terminal
from searchmerge.report.table import console


def show(content: Mapping[str, Any]) -> None:
    """Print the table of final scores, or of the runs so far, what needs no search, and what can be said.

    Args:
        content: of ``comparison.json``.
    """
    compared = Compared(content)
    statistics = compared.statistics
    first = runs(compared) if statistics is None else final(compared, statistics)
    out = console()
    for table in (first, *unsearched(compared)):
        for each in terminal(table, out.width) if table.rows else ():
            out.print(each, "")
    for said in [*warnings(compared), *sentences(compared)]:
        out.print(Text(said), soft_wrap=not out.is_terminal)
