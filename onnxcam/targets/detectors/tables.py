"""Tables with a row for each detection: box, score and class in one tensor, after the graph's own selection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.metadata.reading import Part
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.detectors.boxes import BoxConvention, nowhere, upright
from onnxcam.targets.detectors.candidates import Aimer, Candidates, Decoder, Element, one_hot, unit_of
from onnxcam.targets.detectors.clues import Clues, dims, is_float, name, named
from onnxcam.targets.detectors.coordinates import BoxElements, box_part
from onnxcam.targets.detectors.detection_rows import MOVENET, ROTATED, ROWS, WIDE, DetectionRow, named_row, order_of
from onnxcam.targets.goal import Array

__all__ = ["SuppressedTable", "table"]

_UNSORTED = BoxConvention(("xyxy", "cxcywh"), sorted=False)


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
        unit: The score of a certain detection: 1, or 100 for percent.
    """

    output: str
    rows: tuple[DetectionRow, ...] = ROWS[6]
    convention: BoxConvention = _UNSORTED
    scores: str | None = None
    classes: str | None = None
    batched: bool = True
    source: str = "shapes"
    unit: float = 1

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
        one = order_of(self.rows, rows, self.unit)
        scores = (given[self.scores].reshape(-1) if self.scores else rows[:, one.score or 0]) / self.unit
        boxes = self.convention.corners(rows[:, one.box : one.box + 4], size) if len(rows) else nowhere(0)
        boxes = boxes if one.angle is None else upright(boxes, rows[:, one.angle])
        aimed = given[self.scores or self.output]
        kept = aimed.shape[1:] if self.batched else aimed.shape

        width, column = (1, 0) if self.scores else (shape[-1], one.score or 0)
        found = one_hot(scores, self._classes(given, rows, one))
        aim = Aimer([(self.aim, kept)], lambda candidate, category: [Element(0, candidate * width + column, 1.0)])
        return Candidates(boxes, found, aim, complete=False)

    def box(self, tensors: Sequence[Array], size: tuple[int, ...], candidate: int) -> BoxElements:
        """Return the columns of the box, and that of its angle."""
        bare = tensors[0][0] if self.batched else tensors[0]
        rows = bare.reshape(-1, bare.shape[-1]).astype(np.float64)
        one = order_of(self.rows, rows, self.unit)
        used = [*range(one.box, one.box + 4), *([] if one.angle is None else [one.angle])]
        places = [candidate * bare.shape[-1] + column for column in used]
        decode = self.convention.decoded(rows[:, one.box : one.box + 4], size, candidate)
        corners = decode if one.angle is None else lambda v: upright(decode(v[:, :4]), v[:, 4])
        return BoxElements((box_part(self.output, bare, places, 0 if self.batched else None),), corners)

    def _classes(self, given: dict[str, Array], rows: Array, one: DetectionRow) -> Array:
        if self.classes is not None:
            return given[self.classes].reshape(-1)
        return np.zeros_like(rows[:, 0]) if one.category is None else rows[:, one.category]


def table(clues: Clues) -> Decoder | None:
    """[N, K, columns] or [K, columns] with a row for each detection, as its name, its columns or a run show."""
    if not (clues.suppresses or clues.known or any(_has_poses(y, clues) for y in clues.tables(3))):
        return None
    return next((found for rank in (3, 2, 4) for y in clues.tables(rank) if (found := _of(y, clues)) is not None), None)


def _of(y: ir.Value, clues: Clues) -> SuppressedTable | None:
    """Return the table of detections that *y* is; None for none."""
    shape = dims(y)
    width, count = shape[-1], shape[-2]
    if width is None or not _may_have_rows(y, count, clues):
        return None
    rows, source = _rows(y, width, count, clues)
    scores, classes = _beside(y, rows[0], clues) if rows else (None, None)
    if not rows or (rows[0].score is None and scores is None):
        return None
    samples = [sample.reshape(-1, width) for sample in clues.samples(y)]
    unit = unit_of([sample[:, rows[0].score] for sample in samples] if rows[0].score is not None else [])
    first = order_of(rows, np.concatenate(samples), unit) if samples else rows[0]
    boxes = [sample[:, first.box : first.box + 4] for sample in samples]
    return SuppressedTable(
        name(y),
        rows,
        clues.convention(_convention(y, first, clues), boxes),
        None if scores is None else name(scores),
        None if classes is None else name(classes),
        len(shape) > 2 and shape[0] in (1, None, *_batches(clues)),
        source,
        unit,
    )


def _batches(clues: Clues) -> list[int]:
    first = dims(clues.evidence.image)[:1]
    return [length for length in first if length is not None]


def _may_have_rows(y: ir.Value, count: int | None, clues: Clues) -> bool:
    """Return whether *y* may have a row for each detection: its rows are no images."""
    shape = dims(y)
    if len(shape) == 4 and shape[1] != 1:
        return False
    return _is_named(y) or len(shape) > 2 or (count is None and not _is_batch(y, clues))


def _is_named(y: ir.Value) -> bool:
    return "batchno" in name(y).lower() or "x1y1x2y2" in name(y).lower()


def _is_batch(y: ir.Value, clues: Clues) -> bool:
    """Return whether the first axis of *y* is the open batch of the image."""
    image = clues.evidence.image.shape
    first = (None if y.shape is None else y.shape[0], None if not image else image[0])
    names = [length.value for length in first if isinstance(length, ir.SymbolicDim)]
    return len(names) == 2 and names[0] is not None and names[0] == names[1]


def _rows(y: ir.Value, width: int, count: int | None, clues: Clues) -> tuple[tuple[DetectionRow, ...], str]:
    """Return the possible orders of columns, and how they are known; none where *y* is no table of detections."""
    written = named_row(name(y).lower())
    if written is not None:
        return (written,), "names"
    if (count, width) == (6, 56):
        return (MOVENET,), "shapes"
    said = _said(width, clues)
    seen = _used(y, width, clues)
    if said is not None and (said.fits(seen) or not len(seen)):
        return (said,), "metadata"
    if width > 6 and (clues.masks or 32) == width - 6:
        return (WIDE[0],), "shapes"
    if count is not None and count < (width if width in ROWS else 6):
        return (), ""
    if len(dims(y)) == 2 and width == 6 and _is_paddle(clues):
        return (DetectionRow(2, 1, 0),), "graph"
    orders = _orders(y, width, count, clues)
    fitting = tuple(order for order in orders if len(seen) and order.fits(seen))
    sure = tuple(order for order in fitting if order.is_sure(seen))
    fitting = sure or (fitting if width in ROWS else ())
    if fitting or width not in ROWS or _is_yolo(width, seen, clues):
        return fitting, "run"
    percent = tuple(order for order in orders if len(seen) and order.is_sure(seen) and order.fits(seen, 100))
    return (percent, "run") if percent else (orders, "shapes")


def _said(width: int, clues: Clues) -> DetectionRow | None:
    """Return the order of columns by Ultralytics' metadata, None where they do not say it."""
    angle, more = (6 if clues.kind == "obb" and width == 7 else None), width - 6
    extra = {"detect": 0, "obb": 1, "pose": clues.keypoints, "segment": clues.masks or 32}.get(clues.kind or "")
    return DetectionRow(0, 4, 5, angle=angle) if more == extra else None


def _is_yolo(width: int, seen: Array, clues: Clues) -> bool:
    """Return whether *seen* are candidates of YOLO with a score for each of few classes."""
    return bool(clues.labels and width in (4 + clues.labels, 5 + clues.labels) and len(seen))


def _used(y: ir.Value, width: int, clues: Clues) -> Array:
    """Return the rows of *y* for the probe images that are not empty."""
    samples = [sample.reshape(-1, width) for sample in clues.samples(y)]
    rows = np.concatenate(samples) if samples else np.zeros((0, width))
    return rows[np.abs(rows[:, :6]).any(1) & (rows > -1e-6).any(1)]


def _orders(y: ir.Value, width: int, count: int | None, clues: Clues) -> tuple[DetectionRow, ...]:
    """Return the orders of columns that a table of *width* may have."""
    beside = any(dims(x)[1:] == [count] for x in clues.outputs(2))
    if width == 5 and len(dims(y)) == 3 and not (beside or _has_poses(y, clues)):
        return ()
    if width == 6 and beside and _beside(y, ROTATED, clues)[1] is not None:
        return (ROTATED,)
    return ROWS[width] if width in ROWS else WIDE if width > 7 and len(dims(y)) < 4 else ()


def _has_poses(y: ir.Value, clues: Clues) -> bool:
    """Return whether keypoints [N, K, points, 2 or 3] lie beside the boxes and scores *y* [N, K, 5], as in RTMO."""
    poses = [dims(x) for x in clues.outputs(4)]
    return dims(y)[-1] == 5 and any(one[1] == dims(y)[-2] and one[3] in (2, 3) for one in poses)


def _is_paddle(clues: Clues) -> bool:
    """Return whether PaddleDetection wrote the model: it takes the scale of the image, or counts the boxes."""
    inputs = {value.name for value in clues.graph.inputs}
    counts = named(list(clues.graph.outputs), "bbox_num", "save_infer", "multiclass_nms")
    return bool({"scale_factor", "im_shape"} & inputs) or counts is not None


def _beside(y: ir.Value, row: DetectionRow, clues: Clues) -> tuple[ir.Value | None, ir.Value | None]:
    """Return the outputs of scores and classes with as many rows as *y*, where its rows hold none."""
    count = dims(y)[-2]
    others = [x for rank in (1, 2) for x in clues.outputs(rank) if x is not y and count in dims(x)]
    scores = None if row.score is not None else named([x for x in others if is_float(x)], "score", "conf")
    classes = None if row.category is not None else named(others, "label", "class")
    return scores, classes


def _convention(y: ir.Value, row: DetectionRow, clues: Clues) -> BoxConvention:
    names = name(y).lower()
    if row == ROWS[7][2] and clues.from_tensorflow:
        return BoxConvention(("yxyx",), source="guess", sorted=False)  # EfficientDet
    if row == MOVENET:
        return BoxConvention(("yxyx",), True, source="shapes", sorted=False)
    if row.angle is not None:
        return BoxConvention(("cxcywh",), source="metadata" if clues.kind is not None else "shapes", sorted=False)
    if "y1x1y2x2" in names:
        return BoxConvention(("yxyx",), source="names", sorted=False)
    if "x1y1x2y2" in names:
        return BoxConvention(("xyxy",), source="names", sorted=False)
    return _UNSORTED
