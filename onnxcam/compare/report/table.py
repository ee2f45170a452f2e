"""Table of all images in a report, collected in one pass over the journal without keeping maps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.agreement import AGREEMENT_METRICS
from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.report import ranking
from onnxcam.compare.report.formatting import digits
from onnxcam.text import visible

__all__ = ["ROWS", "ResultTable", "TableRow", "result_table"]

ROWS = 20_000
"""Maximum rows: a browser sorts them in a tenth of a second, and the file stays at a few MB."""

_FIXED = (
    {"kind": "number", "title": "#", "hint": "rank, worst first"},
    {"kind": "name", "title": "image", "hint": "its path"},
    {"kind": "class", "title": "reference", "hint": "what the reference says"},
    {"kind": "number", "title": "p", "hint": "the reference's probability of it, or of its best", "digits": 3},
    {"kind": "class", "title": "candidate", "hint": "what the candidate says"},
    {"kind": "number", "title": "p", "hint": "the candidate's probability of it, or of its best", "digits": 3},
)


@dataclass(frozen=True)
class TableRow:
    """Row of the table without its metrics."""

    picture: str
    answers: tuple[str, str]
    confidence: tuple[float | None, float | None]


@dataclass(frozen=True)
class ResultTable:
    """All image comparisons without maps: rows, metric values [N], and the count of each note.

    *order* holds the indices of the rows, worst first; *folder* is the common folder of all images, or "".
    """

    lines: list[TableRow]
    table: dict[str, NDArray[np.float64]]
    notes: Counter[str]
    order: list[int]
    folder: str

    def short(self, picture: str) -> str:
        """Return the path of *picture* relative to the common folder."""
        return picture.removeprefix(self.folder) if self.folder else picture

    @property
    def columns(self) -> list[dict[str, Any]]:
        """Columns of the table: title, hint, kind, and number of decimals."""
        of = (
            {"kind": "number", "title": id, "hint": AGREEMENT_METRICS[id].title, "digits": digits(id)}
            for id in self.table
        )
        return [*_FIXED, *of]

    def data(self, cards: int) -> dict[str, Any]:
        """Return the table for the script of the page: worst row first, answers by number, and a list of them."""
        places: dict[str, int] = {}
        rows = [self._row(rank, at, places) for rank, at in enumerate(self.order[:ROWS], 1)]
        shown = [{key: each[key] for key in ("kind", "digits") if key in each} for each in self.columns]
        answers = [visible(words, 80) for words in places]
        return {"columns": shown, "answers": answers, "rows": rows, "cards": cards}

    def _row(self, rank: int, at: int, places: dict[str, int]) -> list[Any]:
        line = self.lines[at]
        first, second = (places.setdefault(words, len(places)) for words in line.answers)
        sure, unsure = line.confidence
        values = (_short(float(column[at]), digits(id)) for id, column in self.table.items())
        return [rank, visible(self.short(line.picture)), first, _short(sure, 3), second, _short(unsure, 3), *values]


def result_table(pairs: Iterable[ImageComparison], by: str | None = None) -> ResultTable:
    """Return the table of *pairs*, ranked by the metric *by* or by all metrics."""
    lines, values, notes = [], [], Counter[str]()
    for pair in pairs:
        first, second = pair.answers
        lines.append(TableRow(pair.picture, (first.words, second.words), pair.confidence))
        values.append(pair.values)
        notes.update(pair.notes)
    table = ranking.columns(values)
    order = ranking.order(table, by).tolist() if lines else []
    return ResultTable(lines, table, notes, order, _common([line.picture for line in lines]))


def _common(pictures: Sequence[str]) -> str:
    """Return the longest common folder of *pictures*, with its last separator."""
    ends = zip(min(pictures, default=""), max(pictures, default=""), strict=False)
    shared = "".join(one for one, _ in takewhile(lambda both: both[0] == both[1], ends))
    return shared[: max(shared.rfind("/"), shared.rfind("\\")) + 1]


def _short(value: float | None, places: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, places)
