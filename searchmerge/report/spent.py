"""Where a search's wall time went, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from searchmerge.profiling import PARTS
from searchmerge.report.table import console, duration


def show(result: Mapping[str, Any]) -> None:
    """Print the profile of every search of a result on standard output, in their order.

    Args:
        result: content of ``result.json`` of a run that was profiled.
    """
    for name, search in {**result.get("before", {}), "": result}.items():
        profile = search["profile"]
        console().print(
            f"\n{f'search {name}' if name else 'search'}: {duration(profile['seconds'])}, "
            f"{profile['candidates']} candidates, {profile['candidates_a_second']:.3g} a second"
        )
        console().print(_table(profile["parts"]))


def _table(parts: Mapping[str, Mapping[str, float]]) -> Table:
    shown = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for part, spent in parts.items():
        seconds, share = f"{spent['seconds']:.3f} s", f"{spent['share']:.1%}"
        shown.add_row(part, *(Text(text, justify="right") for text in (seconds, share)), PARTS[part])
    return shown
