"""Mean average precision of detections, by the ground truth; computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxcam.errors import MetricError, TruthError
from onnxcam.metrics.accuracy import check_lengths, class_indices
from onnxcam.metrics.object_sizes import SIZES, size_of
from onnxcam.metrics.truth.annotation import Annotation, Object
from onnxcam.targets.notation import Corners, Label

__all__ = ["AveragePrecision", "BoxPrediction", "mean_average_precision", "require_pycocotools"]

BoxPrediction: TypeAlias = tuple[ArrayLike, ArrayLike, ArrayLike]
"""Detections in one image: boxes [B, 4] as x1, y1, x2, y2 in pixels of the image, scores [B], class indices [B]."""

_IGNORED = 1e12
"""An area outside of every range of sizes: pycocotools then ignores the object, and what matches it."""


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision as in COCO: 101 points, at most 100 detections an image; None where there is no object.

    Attributes:
        map: Mean over classes and the IoU thresholds 0.5, 0.55, …, 0.95.
        map50: Mean over classes at IoU 0.5.
        small: As ``map``, for objects below 32² pixels.
        medium: As ``map``, for objects from 32² to 96² pixels.
        large: As ``map``, for objects above 96² pixels.
        by_class: Mean over the thresholds for each class that has an object.
        by_class50: At IoU 0.5 for each class that has an object.
        images: Number of images with truth.
        objects: Number of objects, without crowds and difficult ones.
        counts: Number of these objects of each class.
        sizes: Number of these objects of each size, see `onnxcam.metrics.object_sizes`.
    """

    map: float
    map50: float
    small: float | None
    medium: float | None
    large: float | None
    by_class: dict[int, float]
    by_class50: dict[int, float]
    images: int
    objects: int
    counts: dict[int, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def by_size(self) -> dict[str, float]:
        """As ``map``, for each size that an object has."""
        found = {"small": self.small, "medium": self.medium, "large": self.large}
        return {size: value for size, value in found.items() if value is not None}


def mean_average_precision(
    predictions: Sequence[BoxPrediction],
    annotations: Sequence[Annotation | None],
    classes: int,
    names: Sequence[str] | None = None,
) -> AveragePrecision:
    """Return the mean average precision of *predictions*, as COCO defines it.

    A detection that matches a crowd or a difficult object is neither right nor wrong.

    Args:
        predictions: Detections in each image, at any threshold; low scores add recall.
        annotations: Truth of each image; None: the image is left out.
        classes: Number of classes of the model.
        names: Names of the model's classes; of a model without, those of the truth (`Truth.names`).

    Raises:
        TruthError: a class is none of the model's, or there is no object with a box.
        MetricError: predictions have wrong shapes or values, or pycocotools is not installed.

    Example:
        >>> found = mean_average_precision([(boxes, scores, indices)], [truth.annotation("img.jpg", (480, 640))], 80)
        >>> found.map, found.map50
    """
    check_lengths(predictions, annotations)
    pairs = [(one, own) for one, own in zip(predictions, annotations, strict=True) if own is not None]
    index = class_indices(classes, names)
    true = [row for number, (_, own) in enumerate(pairs) for row in _objects(own, number, index)]
    counted = [row for row in true if not row["iscrowd"] and row["area"] < _IGNORED]
    if not counted:
        raise TruthError("the truth has no object with a box in any image; mAP needs boxes")
    found = [row for number, (one, _) in enumerate(pairs) for row in _detections(one, number, classes)]
    precision = _precision(true, found, len(pairs), sorted({row["category_id"] for row in counted}))
    small, medium, large = (_mean(precision[..., area]) for area in (1, 2, 3))
    counts, sizes = Counter(map(_class, counted)), Counter(map(_size, counted))
    own = sorted(counts)
    return AveragePrecision(
        _mean(precision[..., 0]) or 0.0,
        _mean(precision[0, ..., 0]) or 0.0,
        small,
        medium,
        large,
        {one: _mean(precision[:, :, place, 0]) or 0.0 for place, one in enumerate(own)},
        {one: _mean(precision[0, :, place, 0]) or 0.0 for place, one in enumerate(own)},
        len(pairs),
        len(counted),
        {one: counts[one] for one in own},
        {size: sizes[size] for size in SIZES if sizes[size]},
    )


def _class(row: dict[str, Any]) -> int:
    return int(row["category_id"])


def _size(row: dict[str, Any]) -> str:
    return size_of(row["area"])


def _objects(annotation: Annotation, image: int, index: Callable[[Label | None], int]) -> Iterator[dict[str, Any]]:
    for one in annotation.objects:
        if one.box is not None:
            yield _row(image, index(one.label), one.box, _area(one, one.box)) | {"iscrowd": int(one.crowd)}


def _area(one: Object, box: Corners) -> float:
    if one.difficult:
        return _IGNORED
    return (box[2] - box[0]) * (box[3] - box[1]) if one.area is None else one.area


def _detections(prediction: BoxPrediction, image: int, classes: int) -> Iterator[dict[str, Any]]:
    boxes, scores, indices = (np.asarray(one) for one in prediction)
    if len(scores) == 0:
        return
    if boxes.shape != (len(scores), 4) or scores.ndim != 1 or indices.shape != scores.shape:
        raise MetricError(
            f"detections are boxes [B, 4], scores [B] and class indices [B], not {boxes.shape}, {scores.shape} and "
            f"{indices.shape}"
        )
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise MetricError("a predicted box or score is NaN or infinite")
    if indices.min() < 0 or indices.max() >= classes:
        raise MetricError(f"a predicted class is outside of 0 to {classes - 1}")
    for box, score, one in zip(boxes.tolist(), scores.tolist(), indices.tolist(), strict=True):
        x1, y1, x2, y2 = box
        yield _row(image, int(one), (x1, y1, max(x1, x2), max(y1, y2))) | {"score": score, "iscrowd": 0}


def _row(image: int, index: int, box: Corners, area: float | None = None) -> dict[str, Any]:
    width, height = box[2] - box[0], box[3] - box[1]
    area = width * height if area is None else area
    return {"image_id": image, "category_id": index, "bbox": [box[0], box[1], width, height], "area": area}


def _precision(
    true: list[dict[str, Any]], found: list[dict[str, Any]], images: int, classes: list[int]
) -> NDArray[np.float64]:
    """Return pycocotools' precision at 100 detections, [thresholds, recalls, classes, sizes]; −1 without objects."""
    require_pycocotools()
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    sides = []
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        for rows in (true, found):
            side = COCO()
            side.dataset = {
                "images": [{"id": image} for image in range(images)],
                "categories": [{"id": one} for one in classes],
                "annotations": [row | {"id": number} for number, row in enumerate(rows, 1)],  # 0 is "no match"
            }
            side.createIndex()
            sides.append(side)
        run = COCOeval(*sides, "bbox")
        run.evaluate()
        run.accumulate()
    return np.asarray(run.eval["precision"][..., -1])


def require_pycocotools() -> None:
    """Raise MetricError if pycocotools is not installed."""
    try:
        import pycocotools.coco  # noqa: F401
    except ImportError:
        raise MetricError("mAP needs pycocotools, which is not installed; pip install 'onnxcam[truth]'") from None


def _mean(precision: NDArray[np.float64]) -> float | None:
    """Return the mean of what is known; None if nothing is."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None
