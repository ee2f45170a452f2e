"""Read tables of numbers: .csv and .tsv files with one column for each channel, and perhaps lines above them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxcam import paths
from onnxcam.errors import ImageError
from onnxcam.media.table_cells import CellTable, is_number, read_cells
from onnxcam.text import in_message, plain

__all__ = ["SUFFIXES", "NumberTable", "read"]

SUFFIXES = (".csv", ".tsv")
_TIME = re.compile(
    r"^(time|t|seconds|secs?|timestamp|date|datetime|elapsed)\b|^time_?(s|sec|seconds|ms)?$", re.IGNORECASE
)
"""The names of a column of times."""
_MILLI = re.compile(r"ms\b|milli", re.IGNORECASE)
_EVEN = 0.05  # the share by which the steps of an even clock may differ


@dataclass(frozen=True)
class NumberTable:
    """The columns of a table: their values, float32 [C, T], names, and what was read otherwise than as a channel."""

    values: NDArray[np.float32]
    names: tuple[str, ...] = ()
    rate: float | None = None
    notes: tuple[str, ...] = ()


def read(path: Path) -> NumberTable:
    """Return the table in the file *path*; ImageError where it is empty or holds anything but numbers."""
    name = in_message(path)
    text = paths.read_text(path, ImageError, "table").removeprefix("\ufeff")
    table = read_cells(text.splitlines(), name)
    if not table.rows:
        count = len(table.above)
        what = f"has {count} rows of words and none of numbers" if count > 1 else "has a header and no rows"
        what = what if count else "is empty"
        raise ImageError(f"{name}: the table {what}; give one with a row for each sample")
    rows, width = table.rows, len(table.rows[0][1])
    header, units, notes = _header(table, width)
    for at, row in rows:
        if len(row) != width:
            raise ImageError(f"{name}: row {at} has {len(row)} columns, and the others {width}; mend that row")
    gap = next((after - 1 for (at, _), (after, _) in pairwise(rows) if after - at > 1), None)
    if width == 1 and gap is not None:
        raise ImageError(f"{name}: row {gap} is empty, and the samples behind it would move; mend the table first")
    clock = next((at for at, title in enumerate(header) if _TIME.search(title)), None)
    kept = [at for at in range(width) if at != clock]
    if not kept:
        raise ImageError(f"{name}: its only column {header[0]!r} is the time; give one with a column for each channel")
    values = _numbers(rows, kept, name)
    names = tuple(header[at] for at in kept) if header else ()
    if clock is None:
        return NumberTable(values, names, notes=notes)
    _require_order([(at, row[clock]) for at, row in rows], header[clock], name)
    rate = _rate([row[clock] for _, row in rows], 1e-3 if _MILLI.search(units[clock]) else 1.0)
    known = f"{rate:g} samples in a second" if rate else "its steps are not even, so each row counts as one sample"
    note = f"column {plain(header[clock], 60)!r} is the time and no channel: {known}"
    return NumberTable(values, names, rate, (*notes, note))


def _header(table: CellTable, width: int) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Return the names of the columns, all words above each, and what was read otherwise than as it stands.

    The names are empty where there are none. Of several lines they are those of a time, else of the line with the most
    different words, else of the last.
    """
    rows = [
        (at, [cell.strip().removeprefix("#").strip() for cell in row]) for at, row in table.above if len(row) == width
    ]
    ranked = sorted(rows, key=lambda row: (any(map(_TIME.search, row[1])), len(set(row[1])), row[0]))
    units = [" ".join(cells) for cells in zip(*(row for _, row in rows), strict=True)]
    if len(table.above) == len(rows) < 2:
        return (ranked[-1][1] if ranked else []), units, table.notes
    first, last = table.above[0][0], table.above[-1][0]
    named = f", with the names in row {ranked[-1][0]}" if ranked else ""
    which = f"row {first} stands" if first == last else f"rows {first} to {last} stand"
    note = f"{which} above the numbers{named}"
    return (ranked[-1][1] if ranked else []), units, (note, *table.notes)


def _numbers(rows: Sequence[tuple[int, list[str]]], kept: Sequence[int], name: str) -> NDArray[np.float32]:
    """Return the columns *kept*, float32 [C, T]; ImageError for the first cell that is no finite number."""
    try:
        values = np.array([[row[at] for at in kept] for _, row in rows], np.float64)
        if np.isfinite(values).all():
            return np.ascontiguousarray(values.T, np.float32)
    except ValueError:
        pass
    for at, row in rows:
        for column in kept:
            cell = row[column].strip()
            if not is_number(cell) or not np.isfinite(float(cell)):
                what = repr(plain(cell, 40)) if cell else "empty"
                raise ImageError(
                    f"{name}: row {at}, column {column + 1} is {what}, no finite number; mend that cell, or leave its "
                    "row or column out"
                )
    raise ImageError(f"{name}: is no table of numbers")


def _require_order(cells: Sequence[tuple[int, str]], title: str, name: str) -> None:
    """Raise ImageError where a column of times falls: its samples are not in their order."""
    for (_, before), (at, after) in pairwise(cells):
        if is_number(before) and is_number(after) and float(after) < float(before):
            raise ImageError(
                f"{name}: the time, column {plain(title, 60)!r}, falls in row {at}, from {before.strip()} to "
                f"{after.strip()}; sort the rows by time, or rename the column if it is none"
            )


def _rate(cells: Sequence[str], second: float) -> float | None:
    """Return the samples in a second by a column of times, whose unit is *second*; None where they are not even."""
    if len(cells) < 3 or not all(map(is_number, cells)):
        return None
    steps = np.diff(np.array(cells, np.float64)) * second
    step = float(np.median(steps))
    if not step > 0 or np.abs(steps - step).max() > _EVEN * step:
        return None
    rate = (len(cells) - 1) / float(steps.sum())
    return round(rate) if abs(rate - round(rate)) < 1e-3 * rate else rate
