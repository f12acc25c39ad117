"""Tables: coloured and cut to the width on a terminal, plain and whole in a pipe."""

# ruff: noqa: PLC0415  What is costly to import is imported where it is used: piesctl must be quick.

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supervisor.cli.terminal import Screen, clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.table import Table as RichTable

_LEAST = 12
"""The columns that the last column of a table keeps on a narrow terminal."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A text and how it looks (a name of `supervisor.cli.terminal.paint`)."""

    text: str
    style: str = ""


Row = list[Cell]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. `right` aligns numbers."""

    title: str
    right: bool = False


def show(screen: Screen, columns: Sequence[Column], rows: Iterable[Row]) -> None:
    """Write a table. A terminal's width cuts the last column; a pipe gets everything."""
    listed = list(rows)
    if not screen.terminal:
        _show_plain(columns, listed)
        return
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False, no_color=not screen.colour)
    if console.width < sum(len(column.title) + 2 for column in columns[:-1]) + _LEAST:
        # Columns of no width say nothing: let the terminal break the lines.
        _show_plain(columns, listed)
        return
    console.print(rich_table(columns, listed, console.width))


def _show_plain(columns: Sequence[Column], rows: Sequence[Row]) -> None:
    for line in plain(columns, rows):
        sys.stdout.write(line + "\n")


def plain(columns: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    """Return the lines of a table aligned by spaces; `-` stands for what is empty."""
    table = [[column.title for column in columns]]
    table += [[clean(cell.text) or "-" for cell in row] for row in rows]
    widths = [max(len(cells[index]) for cells in table) for index in range(len(columns))]
    return ["  ".join(_aligned(cells, columns, widths)).rstrip() for cells in table]


def _aligned(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> list[str]:
    return [
        cell.rjust(width) if column.right else cell.ljust(width)
        for cell, column, width in zip(cells, columns, widths, strict=True)
    ]


def rich_table(columns: Sequence[Column], rows: Sequence[Row], width: int) -> RichTable:
    """Return a table for a terminal of that width."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    texts = [[Text(clean(cell.text), style=cell.style) for cell in row] for row in rows]
    last = len(columns) - 1
    widths = [
        max([len(column.title), *(row[index].cell_len for row in texts)]) + 2
        for index, column in enumerate(columns[:last])
    ]
    widest = max(range(last), key=widths.__getitem__, default=None)
    # The widest breaks its lines before any other does: sentences bear that, addresses do not.
    room = width - _LEAST - sum(widths) + (0 if widest is None else widths[widest]) - 2
    for index, column in enumerate(columns):
        cut = index == last
        limit = max(_LEAST, width - sum(widths)) if cut else None
        if index == widest and room >= _LEAST:
            limit = room
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=cut,
            overflow="ellipsis" if cut else "fold",
            max_width=limit,
        )
    for row in texts:
        table.add_row(*row)
    return table
