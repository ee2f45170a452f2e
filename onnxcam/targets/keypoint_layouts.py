"""Layouts of keypoints in a model's outputs: tables, vectors and peaked heat maps, by names, shapes and runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import onnx_ir as ir

from onnxcam.graph.infer import no_numbers
from onnxcam.structure.layout import picture_layout
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.goal import Array, Look
from onnxcam.targets.graph_outputs import function_before

__all__ = ["KeypointTable", "find_table", "is_peaked", "is_usual_count"]

_VECTORS = {136: 2, 196: 2, 212: 2, 63: 3, 99: 3, 117: 3, 213: 3, 1404: 3, 1434: 3, 3309: 3, 195: 5}
"""Lengths of vectors of keypoints, and the coordinates of each keypoint: 68, 98, 106 and 1103 points of a face (iBUG,
WFLW, InsightFace), 21 of a hand, 33 and 39 of a body, 71 of an eye, 468 and 478 of a face and 39 of a body with
visibility and presence (MediaPipe)."""
_FACES = {
    5: ((0, 1), (2,), (3, 4)),
    15: ((6, 7, 8, 9), (0, 1, 2, 3, 4, 5), (10,), (11, 12, 13, 14)),
}
"""Of vectors of few points, which could be scores of classes: the points from the top of a face to its bottom.
These are eyes, nose and mouth (MTCNN, RetinaFace); brows, eyes, nose and mouth (Kaggle's facial keypoints)."""
_SIGNED = (106, 1103)
"""Numbers of points that InsightFace's networks put out from −1 to 1."""
_COUNTS = frozenset((5, 14, 16, 17, 18, 19, 21, 25, 26, 33, 39, 42, 68, 98, 106, 133, 468, 478))
"""Numbers of keypoints of well-known data sets: COCO, MPII, OpenPose, hands, faces, whole bodies."""
_LEAST = 10
"""The least length of a vector of keypoints: five points of a face."""
_MOST = 600
_COLUMNS = ("x", "y", "z", "visibility", "presence")
_ABOVE = 0.5
_SPREAD = 0.1
"""The least spread of the coordinates of a face."""
_SMALLEST = 144
"""The least number of cells of a heat map."""
_LOW = 0.2
_SHARE = 0.05
"""The largest share of a heat map's cells that are above half of its peak."""


@dataclass(frozen=True)
class KeypointTable:
    """A tensor whose elements, without axes of length 1, are rows of *columns*, one for each keypoint."""

    tensor: str
    shape: tuple[int, ...]  # without the batch axis
    columns: tuple[str, ...]
    split: bool = False
    """Whether all numbers of one column stand before those of the next."""

    @property
    def count(self) -> int:
        """The number of keypoints."""
        return int(np.prod(self.shape)) // len(self.columns)

    @property
    def score(self) -> int | None:
        """The column of scores; None for none."""
        return next((i for i, name in enumerate(self.columns) if name in ("score", "presence")), None)

    def rows(self, look: Look) -> Array:
        """Return the table for the image, [keypoints, columns]."""
        (y,) = look.tensors([self.tensor])
        if self.split:
            return np.asarray(y[0].reshape(len(self.columns), self.count).T)
        return y[0].reshape(self.count, len(self.columns))

    def feed(self, weights: Array) -> Array:
        """Return *weights* [keypoints, columns] in the shape of the tensor, without the batch."""
        return np.ascontiguousarray(weights.T if self.split else weights).reshape(self.shape)


def find_table(evidence: Evidence, y: ir.Value, said: str | None) -> tuple[KeypointTable, str] | None:
    """Return the table of keypoints in *y* and how it is known; *said* is the source that names keypoints.

    None where *y* is no such table: without a name it must have the number of keypoints of a well-known data set, and
    values that lie in the image.
    """
    shape = _shape(y)
    if shape is None:
        return None
    long = [n for n in shape if n != 1]
    if said is None and len(long) == 1 and long[0] // 2 in _FACES:
        return _face(evidence, y, shape)
    width = _width(long, said)
    if width is None:
        return None
    values = [value[0].reshape(-1, width) for value in evidence.values(y) if value.size == np.prod(shape)]
    scores = len(long) == 1 and function_before(y) == "sigmoid"
    if said is None and (scores or not _lie_in_image(values, evidence, width)):
        return None
    columns = _COLUMNS[:width] if len(long) == 1 or _is_3d(y) else _columns(shape, width, values)
    return KeypointTable(y.name or "", shape, columns), said or ("run" if values else "shapes")


def _face(evidence: Evidence, y: ir.Value, shape: tuple[int, ...]) -> tuple[KeypointTable, str] | None:
    """Return the points of a face in the vector *y*, without a name, if every run places them as in a face.

    The coordinates are pairs, or all x stand before all y.
    """
    rows = [value.reshape(-1).astype(np.float64) for value in evidence.values(y) if value.dtype.kind == "f"]
    for columns in (2, 1):
        points = [row.reshape(-1, 2) if columns == 2 else row.reshape(2, -1).T for row in rows]
        if points and all(map(_is_face, points)):
            return KeypointTable(y.name or "", shape, _COLUMNS[:2], columns == 1), "run"
    return None


def _is_face(points: Array) -> bool:
    """Return whether *points* [points, 2] lie as in a face: its parts below each other, its eyes beside each other."""
    groups = _FACES.get(len(points), ())
    heights = [points[list(group), 1] for group in groups]
    below = all(a.max() < b.min() for a, b in pairwise(heights))
    (x1, x2), (m1, m2) = (points[list(group)[:2], 0] for group in (groups[-3], groups[-1]))
    bounds = np.abs(points).max() <= 1.5 or points.min() >= 0
    return bool(below and bounds and (x1 - x2) * (m1 - m2) > 0 and np.ptp(points) > _SPREAD)


def _shape(y: ir.Value) -> tuple[int, ...] | None:
    """Return the shape of *y* without the batch axis; None for open lengths, integers and probabilities."""
    if no_numbers(y) is not None or y.shape is None or len(y.shape) < 2 or y.dtype is None:
        return None
    shape = tuple(n for n in list(y.shape)[1:] if isinstance(n, int))
    whole = len(shape) == len(y.shape) - 1
    return shape if whole and y.dtype.is_floating_point() and function_before(y) != "softmax" else None


def _width(long: Sequence[int], said: str | None) -> int | None:
    """Return the number of columns of a table with the axes *long*; None where it is no table of keypoints."""
    if len(long) == 2 and 2 <= long[1] <= 5:
        fits = 2 < long[0] <= _MOST if said else long[0] in _COUNTS and long[1] <= 3
        return long[1] if fits else None
    if len(long) != 1:
        return None
    if said and long[0] not in _VECTORS and long[0] >= _LEAST:
        return 2 if long[0] % 2 == 0 else 3 if long[0] % 3 == 0 else None
    return _VECTORS.get(long[0])


def _columns(shape: Sequence[int], width: int, values: Sequence[Array]) -> tuple[str, ...]:
    """Return the names of the columns: MoveNet has y first, [1, 17, 3]; a third one between 0 and 1 is a score."""
    if tuple(shape) == (1, 17, 3):
        return ("y", "x", "score")
    thirds = [rows[:, 2] for rows in values] if width == 3 else []
    if thirds and all(third.min() >= 0 and third.max() <= 1 for third in thirds):
        return ("x", "y", "score")
    return _COLUMNS[:width]


def _is_3d(y: ir.Value) -> bool:
    return re.search(r"3d|world|xyz|mesh|vert", y.name or "", re.IGNORECASE) is not None


def _lie_in_image(values: Sequence[Array], evidence: Evidence, width: int) -> bool:
    """Return whether coordinates lie in the image and are spread over it: as shares, from −1 to 1, or as pixels."""
    layout = picture_layout(evidence.image)
    lengths = [n for n in (layout.size(evidence.image) if layout is not None else ()) if isinstance(n, int)]
    points = [rows[:, :2] for rows in values]
    if not points:
        return False
    lowest, highest = min(p.min() for p in points), max(p.max() for p in points)
    spread = min(float(np.ptp(p)) for p in points)
    if lowest < -0.5:
        return len(points[0]) in _SIGNED and lowest >= -1.5 and highest <= 1.5 and spread > 0.2
    scale = 1.0 if highest <= 1.5 else float(max(lengths, default=0))
    return highest <= 1.2 * scale and spread > 0.1 * scale


def is_usual_count(count: object) -> bool:
    """Return whether *count* is the number of keypoints of a well-known data set."""
    return count in _COUNTS


def is_peaked(runs: Sequence[Array]) -> bool:
    """Return whether most maps [K, h, w] of every run have one small peak, and most cells are low in all maps."""
    return bool(runs) and all(_is_peaked(maps) for maps in runs)


def _is_peaked(maps: Array) -> bool:
    if maps.dtype.kind != "f" or maps.ndim != 3 or maps[0].size < _SMALLEST:
        return False
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    peaks = flat.max(axis=1, keepdims=True)
    highest = peaks.max()
    if highest <= 0 or flat.min() < -_ABOVE * highest or np.median(flat.max(axis=0)) > _LOW * highest:
        return False
    return bool(np.median((flat > _ABOVE * peaks).mean(axis=1)) <= _SHARE)
