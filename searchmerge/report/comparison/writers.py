"""A table as CSV, as Markdown, as LaTeX and for a terminal."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from searchmerge.report.comparison.table import Part, Table
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


def terminal(table: Table, width: int) -> Iterator[RichTable]:
    """The table for a terminal, space by space; in a narrow one the intervals go under their scores.

    Args:
        table: what to show.
        width: of the terminal, in letters.
    """
    lines = [line for _, group in table.groups for line in group]
    columns = [[column.head, *(line[place] for line in lines)] for place, column in enumerate(table.heads)]
    whole = sum(2 + max(map(len, texts)) for texts in columns) <= width
    for space, group in table.groups:
        shown = RichTable(
            title=space and Text(space),
            title_justify="left",
            box=SIMPLE_HEAD,
            show_edge=False,
            padding=(0, 1, 0, 0),
            header_style="dim",
            border_style="dim",
        )
        for column, texts in zip(table.heads, columns, strict=True):
            justify: Literal["left", "right"] = "left" if column.words else "right"
            fixed = None if whole or column.words else _least(texts)
            shown.add_column(Text(column.head), justify=justify, overflow="fold", min_width=8, width=fixed)
        for line in group:
            shown.add_row(*map(_dimmed, line))
        yield shown


def _least(texts: Sequence[str]) -> int:
    """How wide a column of figures must be: a word of its head, a score or an interval is not broken."""
    head, *figures = texts
    return max(map(len, [*head.split(), *(part for text in figures for part in re.split(r" (?=\[)", text))]))


def _dimmed(text: str) -> Text:
    """The text with its intervals dim; a space within them does not break."""
    found = Text(re.sub(r"(?<=,) (?=[^\[]*\])", "\u00a0", text))
    found.highlight_regex(r"\[[^\[\]]*\]$", "dim")
    return found


def _digits(part: Part) -> str | int:
    if part is None:
        return ""
    return repr(float(part)) if isinstance(part, float) else part
