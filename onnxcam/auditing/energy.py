"""Where the maps of each class lie, beside what a map without a place and the other classes would have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxcam.auditing.table import AuditTable
from onnxcam.batching.measures import BORDER, CORNER

__all__ = ["AREAS", "ClassEnergy", "energies"]

AREAS = {"border": 1 - (1 - 2 * BORDER) ** 2, "corners": 4 * CORNER**2}
"""Share of the picture's area at the border and in the corners: what a map without a place has there."""


@dataclass(frozen=True)
class ClassEnergy:
    """Means over the rows of a class; None where no row has the value.

    Attributes:
        label: Class.
        rows: Number of rows.
        border: Share of the map at the border.
        border_elsewhere: The same, of the other classes.
        corners: Share of the map in the corners.
        corners_elsewhere: The same, of the other classes.
        truth: Share of the map on the object.
        truth_area: Share of the object in the area.
        errors: Share of wrong answers.
    """

    label: str
    rows: int
    border: float | None
    border_elsewhere: float | None
    corners: float | None
    corners_elsewhere: float | None
    truth: float | None
    truth_area: float | None
    errors: float | None


def energies(table: AuditTable) -> list[ClassEnergy]:
    """Return where the maps of each class lie; the class with the most at the border first."""
    columns = {name: table.numbers(f"map_{name}") for name in ("border", "corners", "truth")}
    area = np.where(np.isfinite(columns["truth"]), table.numbers("truth_area"), np.nan)
    errors = 1 - np.array([np.nan if one is None else one for one in table.values("correct")], np.float64)
    found = []
    for label in table.classes:
        own = table.labels == label
        found.append(
            ClassEnergy(
                label,
                int(own.sum()),
                _mean(columns["border"][own]),
                _mean(columns["border"][~own]),
                _mean(columns["corners"][own]),
                _mean(columns["corners"][~own]),
                _mean(columns["truth"][own]),
                _mean(area[own]),
                _mean(errors[own]),
            )
        )
    return sorted(found, key=lambda one: -(one.border or 0))


def _mean(values: NDArray[np.float64]) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
