"""A table as CSV, as Markdown, as LaTeX and for a terminal."""

from __future__ import annotations

import csv
import re
from io import StringIO
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from searchmerge.report.comparison.tables import Part, Table
from searchmerge.report.table import plain

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # behind a line's end a plain one begins its length
    "]": "{]}",
    "–": "--",
    "±": r"$\pm$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
"""What LaTeX would not print as it stands."""

_PAGE = 40
"""Rows beyond which a table must break over pages."""


def as_csv(table: Table) -> str:
    """Every part in a column of its own, figures with all their digits; empty where one is not known."""
    out = StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow([f"{each.head} {part}".strip() for each in table.columns for part in each.parts])
    rows.writerows([[_digits(part) for cell in row for part in cell] for row in table.rows])
    return out.getvalue()


def as_markdown(table: Table) -> str:
    """A Markdown table."""
    rule = ["---" if column.words else "---:" for column in table.told]
    lines = [[plain(column.head) for column in table.told], rule]
    lines += [[plain(text) for text in line] for line in table.lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def as_latex(table: Table) -> str:
    """A ``tabular``, or a ``longtable`` where there are many rows."""
    long = len(table.rows) > _PAGE
    kind = "longtable" if long else "tabular"
    heads = " & ".join(escaped(column.head) for column in table.told)
    lines = [
        "% needs \\usepackage{booktabs}" + " and \\usepackage{longtable}" * long,
        f"\\begin{{{kind}}}{{{''.join('l' if column.words else 'r' for column in table.told)}}}",
        "\\toprule",
        f"{heads} \\\\",
        "\\midrule",
        *(["\\endhead"] if long else []),
        *(f"{' & '.join(map(escaped, line))} \\\\" for line in table.lines),
        "\\bottomrule",
        f"\\end{{{kind}}}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text that LaTeX takes for nothing but text."""
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))


def terminal(table: Table) -> RichTable:
    """The table for a terminal; in a narrow one the intervals go under their scores."""
    shown = RichTable(
        box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="dim", border_style="dim"
    )
    lines = [line for _, lines in table.groups for line in lines]
    for place, column in enumerate(table.heads):
        # Neither a word of the head, a score with its deviation nor an interval may be broken; names may.
        parts = [
            *column.head.split(),
            *(part for line in lines for part in re.split(r" (?=\[)", line[place])),
        ]
        least = 8 if column.words else max(map(len, parts))
        justify: Literal["left", "right"] = "left" if column.words else "right"
        shown.add_column(Text(column.head), justify=justify, overflow="fold", min_width=least)
    for space, group in table.groups:
        if space is not None:
            shown.add_row(Text(space, style="dim"))
        for line in group:
            shown.add_row(*map(_dimmed, line))
        shown.add_section()
    return shown


def _dimmed(text: str) -> Text:
    """The text with its intervals dim; a space within them does not break."""
    found = Text(re.sub(r"(?<=,) (?=[^\[]*\])", "\u00a0", text))
    found.highlight_regex(r"\[[^\[\]]*\]$", "dim")
    return found


def _digits(part: Part) -> str | int:
    if part is None:
        return ""
    return repr(float(part)) if isinstance(part, float) else part
