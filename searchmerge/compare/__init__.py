"""Strategies side by side, several seeds each: what that shows, and what it does not."""

from searchmerge.compare.comparison import Comparison, compare
from searchmerge.compare.field import Run
from searchmerge.compare.selection import Reference

__all__ = ["Comparison", "Reference", "Run", "compare"]
