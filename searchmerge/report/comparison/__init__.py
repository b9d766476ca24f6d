"""What people see of a comparison: a page, figures and tables as files, and a table on the terminal."""

from searchmerge.report.comparison.content import is_comparison
from searchmerge.report.comparison.page import write
from searchmerge.report.comparison.terminal import show

__all__ = ["is_comparison", "show", "write"]
