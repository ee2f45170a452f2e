"""Tables at a terminal: text folds between words; a path or a name is never broken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["TableLayout", "print_table"]

_GAP = 2
"""Spaces between two columns."""


@dataclass(frozen=True)
class TableLayout:
    """Where the columns of a table go.

    Attributes:
        widths: Width of each column that stands beside the others, by its number.
        beneath: Numbers of the columns that have no room there: their cells get a line of their own.
    """

    widths: dict[int, int]
    beneath: tuple[int, ...] = ()

    @classmethod
    def of(cls, columns: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> TableLayout:
        """Return the layout of a table in *room* columns of a terminal: the widest words go beneath, the rest folds."""
        cells = [[column, *(row[at] for row in rows)] for at, column in enumerate(columns)]
        least = [max((cell_len(word) for cell in own for word in cell.split()), default=0) for own in cells]
        beside = list(range(len(columns)))
        while beside and _total(least[at] for at in beside) > room:
            beside.remove(max(beside, key=least.__getitem__))
        widths = {at: max(map(cell_len, cells[at])) for at in beside}
        while (excess := _total(widths.values()) - room) > 0:
            at = max((one for one in beside if widths[one] > least[one]), key=widths.__getitem__)
            widths[at] = max(least[at], widths[at] - excess)
        return cls(widths, tuple(at for at in range(len(columns)) if at not in beside))


def _total(widths: Iterable[int]) -> int:
    found = list(widths)
    return sum(found) + _GAP * (len(found) - 1)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    """Print *rows*; a column named ``"# …"`` is right-aligned."""
    names = [column.removeprefix("# ") for column in columns]
    layout = TableLayout.of(names, rows, console.width)
    if not layout.beneath:
        console.print(_grid(columns, rows, layout))
        return
    if layout.widths:
        console.print(_grid(columns, [], layout))
    for row, after in zip_longest(rows, rows[1:]):
        if layout.widths:
            console.print(_grid(columns, [row], layout, header=False))
        if after is not None and all(row[at] == after[at] for at in layout.beneath):
            continue  # they are of several rows
        for at in layout.beneath:
            if row[at]:
                label = f"{names[at]}: " if names[at] else ""
                console.print(f"  {label}{row[at]}", markup=False, soft_wrap=True)


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]], layout: TableLayout, *, header: bool = True) -> Table:
    grid = Table(box=None, pad_edge=False, header_style="bold", show_header=header)
    for at, width in layout.widths.items():
        grid.add_column(
            Text(columns[at].removeprefix("# ")),
            justify="right" if columns[at].startswith("# ") else "left",
            width=width,
            overflow="fold",
        )
    for row in rows:
        grid.add_row(*(Text(row[at]) for at in layout.widths))
    return grid
