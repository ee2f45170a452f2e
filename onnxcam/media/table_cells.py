"""The cells of a table of numbers as text: what separates them, decimal commas, and the lines above the numbers."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from onnxcam.errors import ImageError
from onnxcam.text import plain

__all__ = ["CellRow", "CellTable", "is_number", "read_cells"]

CellRow = tuple[int, list[str]]
"""The number of a line, from 1, and its cells."""

_DELIMITERS = "\t;"
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")
_FRACTION = re.compile(r"0\d+")
_WORD = re.compile(r"[^\W\d_]")
_MISSING = ("n/a", "na", "null", "none", "nil", "missing")
_CONVERT = "write decimals with a point, or separate the columns by semicolons"


@dataclass(frozen=True)
class CellTable:
    """The rows of numbers, the rows above them, and what was read otherwise than as it stands."""

    rows: list[CellRow]
    above: list[CellRow]
    notes: tuple[str, ...] = ()


def read_cells(lines: Sequence[str], name: str) -> CellTable:
    """Return the cells of *lines*; numbers with decimal commas have points.

    Columns are separated by tabs or semicolons if most lines hold them, else by commas. The lines above the numbers
    are those with a word that have another width, or no number; a line that starts with # is one too. ImageError where
    a comma may be a decimal one or not, and for a file that is no table; *name* is for messages.
    """
    filled = [line for line in lines if line.strip()]
    delimiter = next((d for d in _DELIMITERS if sum(d in line for line in filled) * 2 > len(filled)), ",")
    try:
        rows = [
            (at, row) for at, row in enumerate(csv.reader(lines, delimiter=delimiter), 1) if any(map(str.strip, row))
        ]
    except csv.Error as error:
        raise ImageError(f"{name}: is no table of numbers ({error}); save it as .csv again") from None
    if not rows:
        return CellTable([], [])
    width = Counter(len(row) for _, row in rows).most_common(1)[0][0]
    start = next((at for at, (_, row) in enumerate(rows) if _is_of_numbers(row, width)), len(rows))
    above, rows = rows[:start], rows[start:]
    if not above and rows and any(map(_is_word, rows[0][1])):
        above, rows = rows[:1], rows[1:]  # a header with numbers in it
    if delimiter == ",":
        _check_commas(rows, above, name)
        return CellTable(rows, above)
    return _with_points(rows, above, name)


def is_number(cell: str) -> bool:
    """Whether *cell* is a number as Python writes one."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_of_numbers(row: Sequence[str], width: int) -> bool:
    """Whether *row* may be one of the numbers: no comment, nor one with a word that is of another width or no more."""
    cells = [cell.strip() for cell in row if cell.strip()]
    if not any(map(_is_word, cells)):
        return True
    has_number = any(is_number(cell) or _DECIMAL_COMMA.fullmatch(cell) for cell in cells)
    return len(row) == width and has_number and not cells[0].startswith("#")


def _is_word(cell: str) -> bool:
    return bool(_WORD.search(cell)) and not is_number(cell) and cell.strip().casefold() not in _MISSING


def _check_commas(rows: Sequence[CellRow], above: Sequence[CellRow], name: str) -> None:
    """Raise ImageError where the commas that separate columns are decimal ones too, or spaces separate numbers."""
    for at, row in rows[:1]:
        cells = row[0].split() if len(row) == 1 else []
        if len(cells) > 1 and all(map(is_number, cells)):
            raise ImageError(f"{name}: row {at} holds {len(cells)} numbers with spaces between them; put commas there")
    whole = all(re.fullmatch(r"\s*[+-]?\d+\s*", cell) for _, row in rows for cell in row)
    if not whole:
        return
    pairs = ((at, *pair) for at, row in rows if len(row) % 2 == 0 for pair in zip(row[::2], row[1::2], strict=True))
    found = next((pair for pair in pairs if _FRACTION.match(pair[2])), None)
    if found is None and any(2 * len(head) == len(row) for _, head in above[-1:] for _, row in rows[:1]):
        found = rows[0][0], rows[0][1][0], rows[0][1][1]
    if found is not None:
        at, first, second = found
        raise ImageError(
            f"{name}: row {at} holds '{plain(first.strip(), 20)},{plain(second.strip(), 20)}', and its comma may be a "
            f"decimal one or separate columns; {_CONVERT}"
        )


def _with_points(rows: list[CellRow], above: list[CellRow], name: str) -> CellTable:
    """Return the table with points for decimal commas; ImageError where they may separate thousands."""
    commas = [(at, cell.strip()) for at, row in rows for cell in row if _DECIMAL_COMMA.fullmatch(cell.strip())]
    if not commas:
        return CellTable(rows, above)
    if all(_THOUSANDS.fullmatch(cell) for _, cell in commas):
        at, cell = commas[0]
        number = cell.replace(",", ""), cell.replace(",", ".")
        raise ImageError(
            f"{name}: row {at} holds {cell!r}, which may be {number[0]} or {number[1]}; write numbers without commas"
        )
    pointed = [
        (at, [cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell.strip()) else cell for cell in row])
        for at, row in rows
    ]
    return CellTable(pointed, above, ("commas in its numbers are decimal points",))
