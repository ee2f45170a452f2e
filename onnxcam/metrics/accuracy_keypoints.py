"""Accuracy of keypoints, by the ground truth: object keypoint similarity, and the distance relative to the object."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxcam.errors import TruthError
from onnxcam.metrics.accuracy import check_lengths
from onnxcam.metrics.truth.annotation import Annotation, Object

__all__ = ["SIGMAS", "KeypointAccuracy", "keypoint_accuracy", "keypoint_similarity"]

SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000
"""Spread of the annotators for each of COCO's 17 keypoints, relative to the square root of the object's area."""


@dataclass(frozen=True)
class KeypointAccuracy:
    """Accuracy of keypoints.

    Attributes:
        distance: Mean distance, relative to the diagonal of the object's box, or of the image without a box.
        similarity: Mean object keypoint similarity (OKS); None unless there are COCO's 17 keypoints.
        by_keypoint: Mean relative distance of each keypoint that the truth has.
        images: Number of images with truth.
    """

    distance: float
    similarity: float | None
    by_keypoint: dict[int, float]
    images: int


def keypoint_accuracy(
    predictions: Sequence[ArrayLike], annotations: Sequence[Annotation | None], sizes: Sequence[tuple[int, int]]
) -> KeypointAccuracy:
    """Return the accuracy of the keypoints *predictions* of one object for each image.

    Of several objects in an image, the one with the nearest keypoints counts. Keypoints that the truth does not label
    (visibility 0) are left out; a distance is at most 1.

    Args:
        predictions: x and y of each keypoint in pixels of the image, [P, 2], for each image; NaN for a missing one.
        annotations: Truth of each image; None or no keypoints: the image is left out.
        sizes: (H, W) of each image.

    Raises:
        TruthError: no image has keypoints, or an object has more or fewer than the model.
    """
    check_lengths(predictions, annotations)
    best: list[tuple[NDArray[np.float64], float | None]] = []
    for one, annotation, size in zip(predictions, annotations, sizes, strict=True):
        own = [] if annotation is None else [x for x in annotation.objects if any(v > 0 for _, _, v in x.keypoints)]
        found = [_compared(np.asarray(one, np.float64), x, size) for x in own]
        if found:
            best.append(min(found, key=lambda pair: float(np.nanmean(pair[0]))))
    if not best:
        raise TruthError("the truth has no keypoints in any image; give COCO JSON with keypoints")
    columns = np.array([distances for distances, _ in best])
    similarities = [similarity for _, similarity in best if similarity is not None]
    return KeypointAccuracy(
        float(np.mean([np.nanmean(distances) for distances in columns])),
        float(np.mean(similarities)) if similarities else None,
        {int(one): float(np.nanmean(columns[:, one])) for one in np.flatnonzero(np.isfinite(columns).any(axis=0))},
        len(best),
    )


def keypoint_similarity(points: NDArray[np.float64], true: Object) -> float:
    """Return COCO's object keypoint similarity of 17 *points* [17, 2] and the keypoints of *true*; 0 for a missing one.

    The mean of exp(−d² / (2 s² k²)) over the labelled keypoints: d is the distance, s² the area of the object, and k
    twice its `SIGMAS`.
    """
    known = np.array(true.keypoints, np.float64)
    labelled = known[:, 2] > 0
    squares = ((points - known[:, :2]) ** 2).sum(axis=1)
    scaled = np.nan_to_num(squares / (2 * SIGMAS) ** 2 / (_area(true) + np.spacing(1)) / 2, nan=np.inf)
    return float(np.exp(-scaled[labelled]).mean())


def _compared(
    points: NDArray[np.float64], true: Object, size: tuple[int, int]
) -> tuple[NDArray[np.float64], float | None]:
    """Return the relative distance of each keypoint, NaN of one without a label, and the similarity."""
    known = np.array(true.keypoints, np.float64)
    if len(known) != len(points):
        raise TruthError(f"the truth has {len(known)} keypoints of an object, the model {len(points)}")
    diagonal = (
        math.hypot(*size) if true.box is None else math.hypot(true.box[2] - true.box[0], true.box[3] - true.box[1])
    )
    far = np.nan_to_num(np.hypot(*(points - known[:, :2]).T) / diagonal, nan=1.0)
    distances = np.where(known[:, 2] > 0, np.minimum(far, 1), np.nan)
    like_coco = len(points) == len(SIGMAS) and (true.area is not None or true.box is not None)
    return distances, keypoint_similarity(points, true) if like_coco else None


def _area(true: Object) -> float:
    if true.area is not None or true.box is None:
        return true.area or 0.0
    return (true.box[2] - true.box[0]) * (true.box[3] - true.box[1])
