"""Detectors by the ground truth, and by class and size: what the journal keeps of each object, and the results."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.on_access import true_annotations
from onnxcam.compare.slices import SliceItem, TruthScores, truth_slices
from onnxcam.metrics.accuracy import class_indices
from onnxcam.metrics.accuracy_detections import AveragePrecision, mean_average_precision
from onnxcam.metrics.truth.annotation import Annotation
from onnxcam.targets.detectors.boxes import overlaps
from onnxcam.targets.notation import Label

if TYPE_CHECKING:
    from onnxcam.compare.image_comparison import ImageComparison
    from onnxcam.compare.tasks.detection import DetectionPrediction
    from onnxcam.metrics.truth import Truth

__all__ = ["COUNTED", "average_precisions", "kept_objects", "object_items", "object_rows"]

COUNTED = 100
"""Maximum number of objects of an image that count for the mean average precision."""


def average_precisions(
    comparisons: Sequence[ImageComparison], truth: Truth, names: Sequence[str] | None, only: int | None
) -> TruthScores:
    """Return the mean average precision of both, of all classes or of class *only*."""
    sides = [[np.array(one.details["found"][side], float).reshape(-1, 6) for one in comparisons] for side in (0, 1)]
    known = names or truth.names
    highest = max((int(rows[:, 5].max(initial=0)) for side in sides for rows in side), default=0)
    classes = max(len(known or ()), highest + 1)
    own = [_of_class(one, only, class_indices(classes, known)) for one in true_annotations(comparisons, truth)]
    first, second = (_average_precision(rows, own, classes, known) for rows in sides)
    values = {"map50_95": (first.map, second.map), "map50": (first.map50, second.map50)}
    slices = [
        *truth_slices("map50_95", "class", first.counts, [first.by_class, second.by_class], known),
        *truth_slices("map50_95", "size", first.sizes, [first.by_size, second.by_size]),
    ]
    return TruthScores(values, slices)


def object_items(comparison: ImageComparison) -> Iterator[SliceItem]:
    """Yield the objects of the reference, and those that are explained with the agreement of their maps."""
    for index, area, overlap in comparison.details["objects"]:
        found = {} if overlap is None else {"box_iou": float(overlap)}
        yield SliceItem(int(index), area, {"kept": float(bool(found)), **found})
    for one in comparison.objects:
        values = {name: one.values[name] for name in ("pearson", "iou") if name in one.values}
        if one.index is not None:
            yield SliceItem(one.index, None if one.boxes[0] is None else _area(one.boxes[0]), values)


def kept_objects(
    reference: DetectionPrediction, candidate: DetectionPrediction, pairs: Mapping[int, int]
) -> list[tuple[int, float | None, float | None]]:
    """Return class, area and IoU of each object of the reference; the IoU is None where the candidate has none."""
    found: list[tuple[int, float | None, float | None]] = []
    for row in range(reference.count):
        box, area = reference.boxes[row], _area(reference.boxes[row].tolist())
        same = None if row not in pairs else float(overlaps(box, candidate.boxes[pairs[row]]))
        known = None if same is None else round(same, 6)
        found.append((int(reference.classes[row]), round(area, 2) if math.isfinite(area) else None, known))
    return found


def object_rows(prediction: DetectionPrediction) -> list[list[float]]:
    """Return the objects of known place as JSON, at most as many as COCO counts: box, score and class in one row."""
    rows = np.column_stack([prediction.boxes.reshape(-1, 4), prediction.scores, prediction.classes])
    kept = rows[np.isfinite(rows).all(axis=1)][:COUNTED]
    return [[round(x, 4) for x in row] for row in kept.tolist()]


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _of_class(
    annotation: Annotation | None, only: int | None, index: Callable[[Label | None], int]
) -> Annotation | None:
    """Return the objects of class *only*; all if it is None."""
    if annotation is None or only is None:
        return annotation
    return replace(annotation, objects=tuple(one for one in annotation.objects if index(one.label) == only))


def _average_precision(
    rows: Sequence[NDArray[np.float64]],
    truths: Sequence[Annotation | None],
    classes: int,
    names: Sequence[str] | None,
) -> AveragePrecision:
    predictions = [(row[:, :4], row[:, 4], row[:, 5].astype(int)) for row in rows]
    return mean_average_precision(predictions, truths, classes, names)
