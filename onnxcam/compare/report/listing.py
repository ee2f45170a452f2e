"""Validation → the rows of a report's table: one walk over all pairs, which keeps no map."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.pairs import METRICS, Pair
from onnxcam.compare.report import worst
from onnxcam.compare.report.printed import Names, digits
from onnxcam.text import visible

ROWS = 20_000
"""Pictures that the table lists; a browser sorts so many in a tenth of a second, and the file stays at some MB."""

_FIXED = (
    {"kind": "number", "title": "#", "hint": "place among the worst"},
    {"kind": "name", "title": "picture", "hint": "its path"},
    {"kind": "class", "title": "reference", "hint": "the reference's top class"},
    {"kind": "number", "title": "p", "hint": "the reference's probability of it", "digits": 3},
    {"kind": "class", "title": "candidate", "hint": "the candidate's top class"},
    {"kind": "number", "title": "p", "hint": "the candidate's probability of it", "digits": 3},
)


@dataclass(frozen=True)
class Line:
    """What a row says besides its metrics."""

    picture: str
    tops: tuple[int, int]
    confidence: tuple[float | None, float | None]


@dataclass(frozen=True)
class Listing:
    """All pairs without their maps: a line and a value of each metric a pair, how many say which note.

    *order* has the pairs' indices, the worst first; *folder* is where all pictures lie, "" where there is no such one.
    """

    lines: list[Line]
    table: dict[str, NDArray[np.float64]]
    notes: Counter[str]
    order: list[int]
    folder: str

    def short(self, picture: str) -> str:
        """Return the path of *picture* from the folder on."""
        return picture.removeprefix(self.folder) if self.folder else picture

    @property
    def columns(self) -> list[dict[str, Any]]:
        """The table's columns: title, hint, kind, and how many decimals a number has."""
        of = ({"kind": "number", "title": id, "hint": METRICS[id].title, "digits": digits(id)} for id in self.table)
        return [*_FIXED, *of]

    def data(self, names: Names, cards: int) -> dict[str, Any]:
        """Return the table as the page's script reads it: the worst first, classes by number and their names once."""
        rows = [self._row(rank, at) for rank, at in enumerate(self.order[:ROWS], 1)]
        shown = [{key: each[key] for key in ("kind", "digits") if key in each} for each in self.columns]
        classes = {top: names[top] for row in rows for top in (row[2], row[4])}
        return {"columns": shown, "classes": classes, "rows": rows, "cards": cards}

    def _row(self, rank: int, at: int) -> list[Any]:
        line = self.lines[at]
        (first, second), (sure, unsure) = line.tops, line.confidence
        values = (_short(float(column[at]), digits(id)) for id, column in self.table.items())
        return [rank, visible(self.short(line.picture)), first, _short(sure, 3), second, _short(unsure, 3), *values]


def listing(pairs: Iterable[Pair], by: str | None = None) -> Listing:
    """Return the *pairs* without their maps, in the order of the metric *by* or of all of them."""
    lines, values, notes = [], [], Counter[str]()
    for pair in pairs:
        lines.append(Line(pair.picture, pair.tops, pair.confidence))
        values.append(pair.values)
        notes.update(pair.notes)
    table = worst.columns(values)
    order = worst.order(table, by).tolist() if lines else []
    return Listing(lines, table, notes, order, _common([line.picture for line in lines]))


def _common(pictures: Sequence[str]) -> str:
    """Return the folder, with its last separator, that all *pictures* begin with."""
    ends = zip(min(pictures, default=""), max(pictures, default=""), strict=False)
    shared = "".join(one for one, _ in takewhile(lambda both: both[0] == both[1], ends))
    return shared[: max(shared.rfind("/"), shared.rfind("\\")) + 1]


def _short(value: float | None, places: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, places)
