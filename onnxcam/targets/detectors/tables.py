"""Tables with a row for each detection: box, score and class in one tensor, after the graph's own selection."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.metadata.reading import Part
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.detectors.boxes import BoxConvention, nowhere
from onnxcam.targets.detectors.candidates import Candidates, Decoder, aimer, one_hot
from onnxcam.targets.detectors.clues import Clues, dims, is_float, name, named
from onnxcam.targets.goal import Array

__all__ = ["ROWS", "DetectionRow", "SuppressedTable", "table"]

_UNSORTED = BoxConvention(("xyxy", "cxcywh"), sorted=False)


@dataclass(frozen=True)
class DetectionRow:
    """The columns of a detection; None for what a row does not hold."""

    box: int  # the first of four columns
    score: int | None = None
    category: int | None = None
    batch: int | None = None

    def fits(self, rows: Array) -> bool:
        """Return whether *rows* [K, columns] may be detections of one image in this order."""
        box = rows[:, self.box : self.box + 4]
        ordered = ((box[:, 2:] >= box[:, :2]).all(1)).mean() > 0.8
        return bool(
            ordered
            and (self.score is None or _within(rows[:, self.score], 1))
            and all(column is None or _whole(rows[:, column]) for column in (self.category, self.batch))
            and (self.batch is None or not rows[:, self.batch].any())
        )

    def __str__(self) -> str:
        parts = {"score": self.score, "class": self.category, "batch": self.batch}
        order = sorted([(self.box, "box"), *((place, part) for part, place in parts.items() if place is not None)])
        return ", ".join(part for _, part in order)


def _within(values: Array, limit: float) -> bool:
    return bool(((values >= 0) & (values <= limit + 1e-5)).all())


def _whole(values: Array) -> bool:
    return bool(((values >= 0) & (values == np.round(values))).all())


ROWS = {
    5: (DetectionRow(0, 4), DetectionRow(1, 0)),
    6: (
        DetectionRow(0, 4, 5),
        DetectionRow(2, 1, 0),
        DetectionRow(0, 5, 4),
        DetectionRow(2, None, 1, 0),
        DetectionRow(1, 5, None, 0),
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


@dataclass(frozen=True)
class SuppressedTable:
    """Detections in one tensor: [N, K, columns] (YOLOv10, 26), [K, columns] (YOLOv7, PaddleDetection).

    Attributes:
        output: The tensor.
        rows: The possible orders of columns, the likeliest first; the numbers decide between several.
        convention: The convention of boxes.
        scores: The output of scores [K, 1], where the table has none.
        classes: The output of classes [N, K], where the table has none.
        batched: The first axis is the batch.
        source: How the columns are known.
    """

    output: str
    rows: tuple[DetectionRow, ...] = ROWS[6]
    convention: BoxConvention = _UNSORTED
    scores: str | None = None
    classes: str | None = None
    batched: bool = True
    source: str = "shapes"

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return the table, and the outputs of scores and classes beside it."""
        return tuple(filter(None, (self.output, self.scores, self.classes)))

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the scores."""
        return WeightsAim(self.scores or self.output, 0 if self.batched else None)

    def parts(self) -> Iterator[Part]:
        """Yield boxes and scores."""
        order = f"columns {self.rows[0]}" if self.scores is None else f"beside the table {self.output!r}"
        yield Part("scores", f"{self.scores or self.output!r}, {order}", self.source)
        yield self.convention.part(self.output)

    def read(self, tensors: Sequence[Array], size: tuple[int, ...]) -> Candidates:
        """Decode the table. Each box has one score, that of its class."""
        given = dict(zip(self.tensors, tensors, strict=True))
        shape = (given[self.output][0] if self.batched else given[self.output]).shape
        rows = given[self.output].reshape(-1, shape[-1]).astype(np.float64)
        one = _order(self.rows, rows)
        scores = given[self.scores].reshape(-1) if self.scores else rows[:, one.score or 0]
        boxes = self.convention.corners(rows[:, one.box : one.box + 4], size) if len(rows) else nowhere(0)
        aimed = given[self.scores or self.output]
        kept = aimed.shape[1:] if self.batched else aimed.shape

        def place(candidate: int, category: int) -> dict[tuple[int, ...], float]:
            column = candidate if self.scores else candidate * shape[-1] + (one.score or 0)
            return {tuple(map(int, np.unravel_index(column, kept))): 1.0}

        found = one_hot(scores, self._classes(given, rows, one))
        return Candidates(boxes, found, aimer(self.aim, kept, place), complete=False)

    def _classes(self, given: dict[str, Array], rows: Array, one: DetectionRow) -> Array:
        if self.classes is not None:
            return given[self.classes].reshape(-1)
        return np.zeros(len(rows)) if one.category is None else rows[:, one.category]


def _order(orders: Sequence[DetectionRow], rows: Array) -> DetectionRow:
    """Return the order of columns that *rows* follow; the first where they say nothing."""
    used = rows[np.abs(rows).any(1) & (rows >= -1e-6).any(1)]
    likely = (order for order in orders if len(used) and order.fits(used))
    return orders[0] if len(orders) == 1 else next(likely, orders[0])


def table(clues: Clues) -> Decoder | None:
    """[N, K, columns] or [K, columns] with a row for each detection, as its name, its columns or a run show."""
    if not (clues.suppresses or clues.known):
        return None
    for y in [y for rank in (3, 2, 4) for y in clues.tables(rank)]:
        shape = dims(y)
        width, count = shape[-1], shape[-2]
        extra = _extra(y, width, clues)
        if width is None or not _has_rows(y, width - extra, count, clues):
            continue
        rows, source = _rows(y, width - extra, extra, clues)
        scores, classes = _beside(y, rows[0], clues) if rows else (None, None)
        if not rows or (rows[0].score is None and scores is None):
            continue
        samples = [sample.reshape(-1, width) for sample in clues.samples(y)]
        first = _order(rows, np.concatenate(samples)) if samples else rows[0]
        boxes = [sample[:, first.box : first.box + 4] for sample in samples]
        return SuppressedTable(
            name(y),
            rows,
            clues.convention(_convention(y, clues), boxes),
            None if scores is None else name(scores),
            None if classes is None else name(classes),
            len(shape) > 2 and shape[0] in (1, None, *_batches(clues)),
            source,
        )
    return None


def _batches(clues: Clues) -> list[int]:
    first = dims(clues.evidence.image)[:1]
    return [length for length in first if length is not None]


def _has_rows(y: ir.Value, width: int, count: int | None, clues: Clues) -> bool:
    """Return whether *y* may have a row for each detection: few columns, and more rows, or an unknown number."""
    rank, names = len(dims(y)), name(y).lower()
    if rank == 4 and dims(y)[1] != 1:
        return False
    if "batchno" in names or "x1y1x2y2" in names:
        return True
    if rank == 2 and _is_batch(y, clues):
        return False
    if rank == 3 and width == 5 and not any(dims(x)[1:] == [count] for x in clues.outputs(2)):
        return False
    return width in ROWS and (count is None or count >= width) and (rank > 2 or count is None)


def _is_batch(y: ir.Value, clues: Clues) -> bool:
    """Return whether the first axis of *y* is the open batch of the image."""
    image = clues.evidence.image.shape
    first = (None if y.shape is None else y.shape[0], None if not image else image[0])
    names = [length.value for length in first if isinstance(length, ir.SymbolicDim)]
    return len(names) == 2 and names[0] is not None and names[0] == names[1]


def _extra(y: ir.Value, width: int | None, clues: Clues) -> int:
    """Return the number of columns behind box, score and class: masks, keypoints, an angle."""
    if width is None or width <= 6:
        return 0
    if clues.kind == "pose" and clues.keypoints:
        return clues.keypoints
    if clues.kind == "obb" and width == 7:
        return 1
    if (clues.kind == "segment" or clues.masks) and width - 6 in (clues.masks or 32, 32):
        return width - 6
    return width - 6 if width not in ROWS and _starts_as_usual(y, width, clues) else 0


def _starts_as_usual(y: ir.Value, width: int, clues: Clues) -> bool:
    """Return whether a run shows rows of corners, score and class before further columns: masks, keypoints."""
    samples = [sample.reshape(-1, width) for sample in clues.samples(y)]
    rows = np.concatenate(samples) if samples else np.zeros((0, width))
    used = rows[np.abs(rows[:, :6]).any(1)]
    return bool(len(used) and DetectionRow(0, 4, 5).fits(used) and (used[:, 4] % 1 != 0).any())


def _rows(y: ir.Value, width: int, extra: int, clues: Clues) -> tuple[tuple[DetectionRow, ...], str]:
    """Return the possible orders of columns, and how they are known."""
    written = _named_row(name(y).lower())
    if written is not None:
        return (written,), "names"
    if clues.kind is not None or extra:
        return (DetectionRow(0, 4, 5),), "metadata" if clues.kind is not None else "shapes"
    orders = ROWS.get(width, ())
    if len(dims(y)) == 2 and width == 6 and _is_paddle(clues):
        return (DetectionRow(2, 1, 0),), "graph"
    samples = [sample.reshape(-1, width) for sample in clues.samples(y)]
    seen = np.concatenate(samples) if samples else np.zeros((0, width))
    used = seen[np.abs(seen).any(1)]
    fitting = tuple(order for order in orders if len(used) and order.fits(used))
    return (fitting, "run") if fitting else (orders, "shapes")


def _is_paddle(clues: Clues) -> bool:
    """Return whether PaddleDetection wrote the model: it takes the scale of the image, or counts the boxes."""
    inputs = {value.name for value in clues.graph.inputs}
    counts = named(list(clues.graph.outputs), "bbox_num", "save_infer", "multiclass_nms")
    return bool({"scale_factor", "im_shape"} & inputs) or counts is not None


_COLUMNS = re.compile(r"batchno|batch_?id|class_?id|label|score|x1y1x2y2|y1x1y2x2|cxcywh")


def _named_row(text: str) -> DetectionRow | None:
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


def _beside(y: ir.Value, row: DetectionRow, clues: Clues) -> tuple[ir.Value | None, ir.Value | None]:
    """Return the outputs of scores and classes with as many rows as *y*, where its rows hold none."""
    count = dims(y)[-2]
    others = [x for rank in (1, 2) for x in clues.outputs(rank) if x is not y and count in dims(x)]
    scores = None if row.score is not None else named([x for x in others if is_float(x)], "score", "conf")
    classes = None if row.category is not None else named(others, "label", "class")
    return scores, classes


def _convention(y: ir.Value, clues: Clues) -> BoxConvention:
    names = name(y).lower()
    if "y1x1y2x2" in names:
        return BoxConvention(("yxyx",), source="names", sorted=False)
    if clues.kind == "obb":
        return BoxConvention(("cxcywh",), source="metadata", sorted=False)
    if "x1y1x2y2" in names:
        return BoxConvention(("xyxy",), source="names", sorted=False)
    return _UNSORTED
