"""Slices by the columns of a manifest: where the network errs more often than elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from onnxcam.auditing.finding import Finding
from onnxcam.auditing.scan import excess
from onnxcam.auditing.shortcuts import ALPHA
from onnxcam.auditing.table import AuditTable

__all__ = ["SMALLEST", "VALUES", "error_slices", "has_slices", "wilson"]

VALUES = 50
"""Most values of a column that is sliced."""
SMALLEST = 10
"""Rows of a slice."""


def error_slices(table: AuditTable) -> list[Finding]:
    """Return the values of columns with more errors than elsewhere: Fisher's exact test, multiplied by their number."""
    tested = list(_tested(table))
    return [_finding(table, *one, len(tested)) for one in tested if one[-1] * len(tested) <= ALPHA]


def has_slices(table: AuditTable) -> bool:
    """Whether there is a slice to test."""
    return any(True for _ in _tested(table))


def _tested(table: AuditTable) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.int64], float]]:
    """Yield the name, rows, rows elsewhere and p-value of each slice."""
    correct = table.values("correct")
    judged = np.array([one is not None for one in correct], bool)
    wrong = np.array([one is False for one in correct], bool)
    total, errors = int(judged.sum()), int(wrong.sum())
    for name in table.own:
        values = table.values(name)
        kinds = {type(value) for value in values if value is not None}
        if not kinds <= {str, int, bool} or not 2 <= len(set(values)) <= VALUES:
            continue
        for value in sorted({v for v in values if v is not None}, key=str):
            rows = judged & np.array([one == value for one in values], bool)
            if SMALLEST <= rows.sum() < total:
                p = hypergeom.sf((wrong & rows).sum() - 1, total, errors, rows.sum())
                yield f"{name} = {value}", np.flatnonzero(rows), np.flatnonzero(judged & ~rows), float(p)


def _finding(
    table: AuditTable, name: str, rows: NDArray[np.int64], rest: NDArray[np.int64], p: float, tests: int
) -> Finding:
    wrong = np.array([one is False for one in table.values("correct")], bool)
    here, there = int(wrong[rows].sum()), int(wrong[rest].sum())
    low, high = wilson(here, len(rows))
    why = (
        f"{here} of {len(rows)} answers are wrong where {name}, {here / len(rows):.1%} (95 % interval {low:.1%} to "
        f"{high:.1%}), and {there / len(rest):.1%} elsewhere"
    )
    strength = float(excess(np.array([here]), np.array([there]), len(rows), len(rest))[0])
    ids = tuple(dict.fromkeys(table.ids[at] for at in rows if wrong[at]))
    check = "Look at the errors of this slice, and collect more of it for the training."
    return Finding(
        "slice", "", name, ids, "", strength, min(1.0, p * tests), here / len(rows), there / len(rest), why, check
    )


def wilson(count: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson (1927)."""
    z, share = 1.959964, count / total
    middle = share + z**2 / (2 * total)
    half = z * float(np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2)))
    return (middle - half) / (1 + z**2 / total), (middle + half) / (1 + z**2 / total)
