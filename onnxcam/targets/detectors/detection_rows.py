"""The orders of columns that rows of detections have, and which of them the numbers follow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxcam.targets.goal import Array

__all__ = ["MOVENET", "ROTATED", "ROWS", "WIDE", "DetectionRow", "named_row", "order_of"]


@dataclass(frozen=True)
class DetectionRow:
    """The columns of a detection; None for what a row does not hold."""

    box: int  # the first of four columns
    score: int | None = None
    category: int | None = None
    batch: int | None = None
    angle: int | None = None

    def fits(self, rows: Array, limit: float = 1) -> bool:
        """Return whether *rows* [K, columns] may be detections of one image in this order, with scores to *limit*."""
        box = rows[:, self.box : self.box + 4]
        least = box[:, :2] if self.angle is None else 0
        ordered = ((box[:, 2:] >= least).all(1)).mean() > 0.8
        return bool(
            ordered
            and (self.score is None or _within(rows[:, self.score], limit))
            and all(column is None or _whole(rows[:, column]) for column in (self.category, self.batch))
            and (self.batch is None or not rows[:, self.batch].any())
        )

    def is_sure(self, rows: Array) -> bool:
        """Return whether *rows*, which fit, are sure to be detections: boxes have an area, scores are no classes."""
        sides = rows[:, self.box + 2 : self.box + 4] - rows[:, self.box : self.box + 2]
        return bool((sides > 0).all(1).mean() > 0.8 and self.score is not None and (rows[:, self.score] % 1 != 0).any())

    def __str__(self) -> str:
        parts = {"score": self.score, "class": self.category, "batch": self.batch, "angle": self.angle}
        order = sorted([(self.box, "box"), *((place, part) for part, place in parts.items() if place is not None)])
        return ", ".join(part for _, part in order)


def _within(values: Array, limit: float) -> bool:
    return bool(((values >= 0) & (values <= limit + 1e-5)).all())


def _whole(values: Array) -> bool:
    return bool(((values >= 0) & (values == np.round(values))).all())


ROTATED = DetectionRow(0, 5, angle=4)
MOVENET = DetectionRow(51, 55)
"""MoveNet for several persons: 17 keypoints, then the box, y first, and its score."""
WIDE = (
    DetectionRow(0, 4, 5),
    DetectionRow(1, 6, 5, 0),
    DetectionRow(1, 5, 6, 0),
    DetectionRow(1, 5, batch=0),
    DetectionRow(0, 4),
)
"""Orders of the first columns before others: masks, keypoints."""

ROWS = {
    5: (DetectionRow(0, 4), DetectionRow(1, 0)),
    6: (
        DetectionRow(0, 4, 5),
        DetectionRow(2, 1, 0),
        DetectionRow(0, 5, 4),
        DetectionRow(2, None, 1, 0),
        DetectionRow(1, 5, None, 0),
        DetectionRow(1, 0, 5),
    ),
    7: (
        DetectionRow(1, 6, 5, 0),
        DetectionRow(3, 2, 1, 0),
        DetectionRow(1, 5, 6, 0),
        DetectionRow(0, 4, 5),
        DetectionRow(0, 5, 6),
    ),
    16: (DetectionRow(0, 15),),
}
"""Known orders of columns by their number, the likeliest first: of YOLOv10, PaddleDetection, YOLOv7, OpenVINO, …"""


_COLUMNS = re.compile(r"batchno|batch_?id|class_?id|label|score|x1y1x2y2|y1x1y2x2|cxcywh")


def named_row(text: str) -> DetectionRow | None:
    """Return the order of columns that the name of an output spells, such as ``batchno_classid_score_x1y1x2y2``."""
    parts, place = {}, 0
    for word in _COLUMNS.findall(text):
        parts[word[:2]] = place
        place += 4 if word in ("x1y1x2y2", "y1x1y2x2", "cxcywh") else 1
    box = next((parts[key] for key in ("x1", "y1", "cx") if key in parts), None)
    return (
        None
        if box is None or place < 5
        else DetectionRow(box, parts.get("sc"), parts.get("cl", parts.get("la")), parts.get("ba"))
    )


def order_of(orders: Sequence[DetectionRow], rows: Array, limit: float = 1) -> DetectionRow:
    """Return the order of columns that *rows* follow; the first where they say nothing."""
    used = rows[np.abs(rows).any(1) & (rows >= -1e-6).any(1)]
    likely = (order for order in orders if len(used) and order.fits(used, limit))
    return orders[0] if len(orders) == 1 else next(likely, orders[0])
