"""A table, whoever writes it: cells of figures, and columns that know how people read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

Part: TypeAlias = str | int | float | None
"""A word or a figure; None for what is not known, infinity for what was never reached."""

Cell: TypeAlias = tuple[Part, ...]


@dataclass(frozen=True)
class Column:
    """One column for people, which may be several for programs.

    Args:
        head: its name.
        write: its cells for people; takes a cell's parts, of which the first is known.
        parts: what the figures of a cell are.
        words: whether it is text, which stands on the left.
        told: whether people see it, or programs only.
    """

    head: str
    write: Callable[..., str] = str
    parts: tuple[str, ...] = ("",)
    words: bool = False
    told: bool = True


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Args:
        name: of its files.
        title: in a word or two.
        note: how to read it.
        columns: of each row.
        rows: cells, with as many parts as their columns name.
    """

    name: str
    title: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def told(self) -> tuple[Column, ...]:
        """The columns for people."""
        return tuple(column for column in self.columns if column.told)

    @property
    def heads(self) -> tuple[Column, ...]:
        """The columns of :attr:`groups`."""
        return tuple(column for column in self.told if column.head != "space")

    @property
    def lines(self) -> list[list[str]]:
        """The rows for people."""
        return [
            [
                "–" if cell[0] is None else column.write(*cell)
                for column, cell in zip(self.columns, row, strict=True)
                if column.told
            ]
            for row in self.rows
        ]

    @property
    def groups(self) -> list[tuple[str | None, list[list[str]]]]:
        """The rows for people, space by space where these have a column; else all of them."""
        if self.told[0].head != "space":
            return [(None, self.lines)]
        return [
            (space, [line[1:] for line in lines])
            for space, lines in groupby(self.lines, key=lambda line: line[0])
        ]
