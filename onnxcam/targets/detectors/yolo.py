"""YOLO: boxes and scores of all candidates in one tensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.metadata.reading import Part
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.detectors.boxes import VALID, BoxConvention, upright, valid
from onnxcam.targets.detectors.candidates import Aimer, Candidates, Decoder, Element, unit_of
from onnxcam.targets.detectors.clues import Clues, Length, dims, name, trace
from onnxcam.targets.detectors.coordinates import BoxElements, box_part
from onnxcam.targets.detectors.grid import GridConvention, plan
from onnxcam.targets.goal import Array
from onnxcam.targets.graph_outputs import factor, unscaled
from onnxcam.targets.scores import sigmoid

__all__ = ["TableColumns", "Yolo", "yolo"]

_COCO = 80
_MASKS = 32
_PERCENT = 100
_CENTRED = BoxConvention(("cxcywh", "xyxy", "yxyx"), sorted=False)


@dataclass(frozen=True)
class TableColumns:
    """What the columns of a table of candidates hold.

    Attributes:
        boxes: The columns of boxes.
        objectness: The column of the probability that there is an object; None for none.
        scores: The columns of class scores.
        angle: The column of the angle of a rotated box; None for none.
    """

    boxes: slice
    objectness: int | None
    scores: slice
    angle: int | None = None


@dataclass(frozen=True)
class Yolo:
    """One tensor of boxes, objectness and class scores: [N, 4 + C, B] (v8 to v11), [N, B, 5 + C] (v5, v7, YOLOX).

    Attributes:
        output: The tensor.
        candidates_last: The candidates are the last axis.
        columns: What its columns hold.
        boxes: The convention of boxes.
        source: How the columns are known.
        unit: The score of a certain detection: 1, or 100 for percent.
    """

    output: str
    candidates_last: bool
    columns: TableColumns
    boxes: BoxConvention | GridConvention = field(default=_CENTRED)
    source: str = "shapes"
    unit: float = 1  # the score of a certain detection: 1, or 100 for percent

    @property
    def objectness(self) -> bool:
        """Return whether there is an objectness."""
        return self.columns.objectness is not None

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return the one output."""
        return (self.output,)

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the output."""
        return WeightsAim(self.output)

    def parts(self) -> Iterator[Part]:
        """Yield boxes and scores."""
        count, last = self.columns.scores.stop - self.columns.scores.start, "times objectness, " * self.objectness
        yield Part("scores", f"{self.output!r}, {last}{count} classes", self.source)
        yield self.boxes.part(self.output)

    def read(self, tensors: Sequence[Array], size: tuple[int, ...]) -> Candidates:
        """Decode the tensor. A score is that of the class, times the objectness if there is one."""
        rows = tensors[0][0].T if self.candidates_last else tensors[0][0]
        columns, o = self.columns, self.columns.objectness
        scores = _probable(rows[:, columns.scores] / self.unit)
        certain = None if o is None else _probable(rows[:, o : o + 1])

        def at(row: Any, column: Any) -> Any:
            return column * len(rows) + row if self.candidates_last else row * rows.shape[1] + column

        def elements(candidate: Any, category: Any) -> list[Element]:
            """Elements of s · o with objectness: ½ (s · o₀ + o · s₀), which has its value and half its gradient."""
            column = columns.scores.start + category
            if certain is None:
                return [Element(0, at(candidate, column), 1.0)]
            score, sure = scores[candidate, category], certain[:, 0][candidate]
            return [Element(0, at(candidate, column), sure / 2), Element(0, at(candidate, o), score / 2)]

        corners = self.boxes.corners(rows[:, columns.boxes], size)
        if columns.angle is not None:
            corners = upright(corners, rows[:, columns.angle])
        cells = self.boxes.cells(len(rows), size) if isinstance(self.boxes, GridConvention) else None
        sure = None if certain is None else certain[:, 0]
        aim = Aimer([(self.aim, tensors[0][0].shape)], elements)
        probable = scores if certain is None else scores * certain
        return Candidates(corners, probable, aim, objectness=sure, cells=cells)

    def box(self, tensors: Sequence[Array], size: tuple[int, ...], candidate: int) -> BoxElements:
        """Return the columns of the box, and that of its angle."""
        bare, columns = tensors[0][0], self.columns
        rows = bare.T if self.candidates_last else bare
        used = [*range(rows.shape[1])[columns.boxes], *([] if columns.angle is None else [columns.angle])]
        places = [int(np.ravel_multi_index(self._at(candidate, column), bare.shape)) for column in used]
        decode = self.boxes.decoded(rows[:, columns.boxes], size, candidate)
        corners = decode if columns.angle is None else lambda v: upright(decode(v[:, :-1]), v[:, -1])
        return BoxElements((box_part(self.output, bare, places),), corners)

    def _at(self, row: int, column: int) -> tuple[int, int]:
        return (column, row) if self.candidates_last else (row, column)


def _probable(scores: Array) -> Array:
    """Return *scores* as probabilities."""
    return scores if scores.min(initial=0) >= 0 and scores.max(initial=0) <= 1 else sigmoid(scores)


def yolo(clues: Clues) -> Decoder | None:
    """One tensor of boxes and scores, whose candidates match the image's cells, or whose columns match the names.

    The scores must come from a sigmoid, unless user, card or metadata say that the model is a detector.
    """
    for y in clues.tables(3):
        if not (clues.known or _has_sigmoid(y)):
            continue
        _, one, other = _shape(y, clues)
        if (one, other) == clues.size:  # one value for each pixel
            continue
        for last, width, count in ((True, one, other), (False, other, one)):
            if width is not None and (_is_yolo(width, count, clues) or _shows_boxes(y, last, clues)):
                columns = _columns(y, width, count, last, clues)
                unit = _unit(y, last, columns, clues)
                columns = columns if unit != 1 else _seen(columns, y, last, clues)
                boxes = _boxes(y, last, columns, clues)
                return Yolo(name(y), last, columns, boxes, clues.source, unit)
    return None


def _unit(y: ir.Value, last: bool, columns: TableColumns, clues: Clues) -> float:
    """Return 100 where the graph makes percent of a sigmoid, or a run shows percent in columns that are known."""
    if any(node.op_type == "Mul" and round(factor(node.outputs[0])) == _PERCENT for node in _sigmoids(y)):
        return _PERCENT
    if clues.labels is None and clues.kind is None:
        return 1
    return unit_of([(table.T if last else table)[:, columns.scores] for table in clues.samples(y)])


def _shape(y: ir.Value, clues: Clues) -> list[Length]:
    """Return the shape of *y*; where two lengths are open, that for a probe image."""
    if dims(y)[1:].count(None) == 0 or clues.known:
        return dims(y)
    return next((list(value.shape) for value in clues.evidence.values(y)), dims(y))


def _shows_boxes(y: ir.Value, last: bool, clues: Clues) -> bool:
    """Return whether a run shows a box and probabilities in each of a few candidates: RT-DETR, open sizes of YOLO."""
    samples = [table.T if last else table for table in clues.samples(y)]
    if not samples or min(map(len, samples)) <= samples[0].shape[1] or samples[0].shape[1] < 5:
        return False
    scores = np.concatenate(samples)[:, 4:]
    likely = scores.min() >= 0 and scores.max() <= 1 and (scores > 0.5).mean() < 0.5
    return bool(likely and clues.convention(_CENTRED, [table[:, :4] for table in samples]).source == "run")


def _is_yolo(width: int, count: Length, clues: Clues) -> bool:
    if width < 4 + (clues.labels or 1):
        return False
    if count in _cells(clues.probe, 1) | _cells(clues.probe, 3):
        return True
    if clues.labels is not None and width - _extra(width, clues) in (4 + clues.labels, 5 + clues.labels):
        return count != width
    return clues.known and (count is None or count > width)


def _columns(y: ir.Value, width: int, count: Length, last: bool, clues: Clues) -> TableColumns:
    """Return the columns of a table of *width*: boxes, objectness, scores, then masks, keypoints or an angle."""
    extra = _extra(width, clues)
    bins = _bins(width - extra, clues) or _seen_bins(y, last, clues)
    if bins:
        return TableColumns(slice(width - extra - bins, width - extra), None, slice(0, width - extra - bins))
    objectness = _has_objectness(width - extra, count, last, clues)
    first = 5 if objectness else 4
    end = first + clues.labels if clues.labels is not None else width - extra
    return TableColumns(
        slice(0, 4), 4 if objectness else None, slice(first, end), width - 1 if clues.kind == "obb" else None
    )


def _seen(columns: TableColumns, y: ir.Value, last: bool, clues: Clues) -> TableColumns:
    """Return *columns* without those of scores that a run shows to be none: keypoints, landmarks, masks."""
    samples = [table.T if last else table for table in clues.samples(y)]
    if clues.labels is not None or clues.kind is not None or not samples:
        return columns
    rows = np.concatenate(samples)
    fit = [_lie_in_unit(rows[:, k]) for k in range(*columns.scores.indices(9999))]
    o = columns.objectness
    if o is not None and not any(fit) and _lie_in_unit(rows[:, o]) and float(np.median(rows[:, columns.scores])) > 1:
        return replace(columns, objectness=None, scores=slice(o, o + 1))  # one class, and keypoints
    if all(fit) or not any(fit):
        return columns
    runs = [sum(1 for _ in group) if good else -sum(1 for _ in group) for good, group in groupby(fit)]
    start, stop = (0, runs[0]) if fit[0] else (len(fit) - runs[-1], len(fit)) if fit[-1] else (0, len(fit))
    return replace(columns, scores=slice(columns.scores.start + start, columns.scores.start + stop))


def _lie_in_unit(values: Array) -> bool:
    return bool((values >= 0).all() and (values <= 1).all())


def _extra(width: int, clues: Clues) -> int:
    """Return the number of columns behind the scores."""
    if clues.kind in ("pose", "obb"):
        return clues.keypoints if clues.kind == "pose" else 1
    masks = clues.masks or (_MASKS if clues.kind == "segment" else 0)
    return masks if width - masks > 4 else 0


def _bins(width: int, clues: Clues) -> int:
    """Return the number of columns of distributions behind the scores, as NanoDet has them; 0 for none."""
    for bins in (32, 64):
        if width - bins == (clues.labels or _COCO):
            return bins
    return 0


def _seen_bins(y: ir.Value, last: bool, clues: Clues) -> int:
    """Return the number of columns of distributions behind probabilities that a run shows; 0 for none."""
    samples = [table.T if last else table for table in clues.samples(y)]
    if clues.labels is not None or clues.kind is not None or not samples or samples[0].shape[1] <= 32:
        return 0
    rows = np.concatenate(samples)
    low, high = rows.min(0), rows.max(0)
    inside = [bool(one >= 0 and other <= 1) for one, other in zip(low, high, strict=True)]
    return next((n for n in (32, 64) if inside[:-n] and all(inside[:-n]) and not any(inside[-n:])), 0)


def _has_objectness(width: int, count: Length, last: bool, clues: Clues) -> bool:
    """Decide by the number of names, else by three boxes per cell (v5, v7), else by COCO's classes, else the layout."""
    if clues.labels is not None:
        return width == 5 + clues.labels
    if clues.kind in ("segment", "pose", "obb") and last:
        return False
    if count in _cells(clues.probe, 3):
        return True
    return width == 5 + _COCO if width in (4 + _COCO, 5 + _COCO) else not last


def _cells(size: tuple[int, ...], each: int) -> set[int]:
    """Return the possible numbers of candidates for an image of *size*: *each* per cell, strides 8, 16, 32 (and 64)."""
    height, width = size
    cells = [(height // stride) * (width // stride) for stride in (8, 16, 32, 64)]
    rounded = [-(-height // stride) * -(-width // stride) for stride in (8, 16, 32, 64)]
    return {each * sum(levels[:count]) for levels in (cells, rounded) for count in (3, 4)} - {0}


def _has_sigmoid(y: ir.Value) -> bool:
    """Return whether a part of *y* is the output of a sigmoid, moved but not changed."""
    return any(True for _ in _sigmoids(y))


def _sigmoids(y: ir.Value) -> Iterator[ir.Node]:
    """Yield the last nodes that make parts of *y* of a sigmoid: itself, or a multiplication of it by a number."""
    for node in trace(y):
        first = unscaled(node.outputs[0]).producer() if node.op_type == "Mul" else node
        if first is not None and first.op_type in ("Sigmoid", "QLinearSigmoid"):
            yield node


def _boxes(y: ir.Value, last: bool, columns: TableColumns, clues: Clues) -> BoxConvention | GridConvention:
    """Return the convention of the boxes: in pixels or relative; offsets on a grid, if a run shows neither."""
    if columns.boxes.stop - columns.boxes.start > 4:
        return GridConvention("bins", source="graph")
    samples = [table.T[:, columns.boxes] if last else table[:, columns.boxes] for table in clues.samples(y)]
    found = clues.convention(_CENTRED, samples)
    levels = plan(len(samples[0]), clues.probe) if samples else None
    if found.forms or levels is None:
        return found
    if {anchors for _, anchors in levels} != {1}:
        return found
    sides = columns.objectness is None and min(float(sample.min()) for sample in samples) >= 0
    one = GridConvention("sides" if sides else "centre", source="run")
    fits = all(valid(one.corners(sample, clues.probe), clues.probe) >= VALID for sample in samples)
    return one if fits else found
