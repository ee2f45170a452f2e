"""Accuracy of classes and IoU of masks, by the ground truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxcam.errors import MetricError, TargetError, TruthError
from onnxcam.metrics.object_sizes import SIZES, size_of
from onnxcam.metrics.truth.annotation import Annotation
from onnxcam.metrics.truth.class_regions import ClassRegions, class_regions
from onnxcam.targets.classification import class_index
from onnxcam.targets.notation import Label

__all__ = ["FIRST", "ClassAccuracy", "MeanIou", "accuracy", "check_lengths", "class_indices", "mean_iou"]


FIRST = 5
"""Number of classes among which the top-5 accuracy looks for a true one."""


@dataclass(frozen=True)
class ClassAccuracy:
    """Share of images whose top class is right.

    Attributes:
        top1: Share over all images.
        by_class: Share over the images of each class.
        images: Number of images with truth.
        top5: Share of images with a true class among the first five; None if fewer classes are predicted.
        counts: Number of images of each class.
    """

    top1: float
    by_class: dict[int, float]
    images: int
    top5: float | None = None
    counts: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class MeanIou:
    """IoU of masks of classes over all pixels of all images.

    Attributes:
        mean: Mean over the classes.
        by_class: IoU of each class that the truth or a prediction has.
        images: Number of images with truth.
        counts: Number of images with each class, by the truth.
        by_size: Mean IoU of the regions of each size, see `onnxcam.metrics.object_sizes`. A region is one class in one
            image, the background left out.
        sizes: Number of regions of each size.
    """

    mean: float
    by_class: dict[int, float]
    images: int
    counts: dict[int, int] = field(default_factory=dict)
    by_size: dict[str, float] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)


def class_indices(classes: int, names: Sequence[str] | None) -> Callable[[Label | None], int]:
    """Return the function from a label of the truth to its index in a model of *classes* with *names*.

    An object without a class is of class 0 if the model has one class.
    """
    known: dict[Label | None, int] = {None: 0} if classes == 1 else {}

    def index(label: Label | None) -> int:
        if label not in known:
            if label is None:
                raise TruthError("the truth names no classes of its objects, and the model has several")
            try:
                known[label] = class_index(label, classes, names)
            except TargetError as error:
                raise TruthError(f"the truth has classes that the model does not have: {error}") from None
        return known[label]

    return index


def accuracy(
    predictions: ArrayLike, annotations: Sequence[Annotation | None], classes: int, names: Sequence[str] | None = None
) -> ClassAccuracy:
    """Return the accuracy of the predicted classes.

    A prediction is right if it is one of the classes of the image or of its objects.

    Args:
        predictions: Index of the top class of each image [N]; or the indices of the first classes, best first, [N, k].
        annotations: Truth of each image; None or no class: the image is left out.
        classes: Number of classes of the model.
        names: Names of the model's classes; of a model without, those of the truth (`Truth.names`).

    Raises:
        TruthError: a class is none of the model's, or no image has a class.

    Example:
        >>> accuracy([0], [Annotation(classes=("cat",))], 2, ["cat", "dog"]).top1
        1.0
    """
    ranked, index = np.asarray(predictions), class_indices(classes, names)
    check_lengths(ranked, annotations)
    ranked = ranked.reshape(len(ranked), -1)
    right: list[tuple[bool, bool]] = []
    by_class: dict[int, list[bool]] = {}
    for row, annotation in zip(ranked.tolist(), annotations, strict=True):
        if true := {index(label) for label in annotation.labels} if annotation else set():
            right.append((row[0] in true, not true.isdisjoint(row[:FIRST])))
            for one in true:
                by_class.setdefault(one, []).append(row[0] in true)
    if not right:
        raise TruthError("the truth names no class of any image; accuracy needs classes")
    top1, first = np.mean(right, axis=0).tolist()
    own = dict(sorted(by_class.items()))
    return ClassAccuracy(
        top1,
        {one: float(np.mean(rows)) for one, rows in own.items()},
        len(right),
        first if ranked.shape[1] >= FIRST else None,
        {one: len(rows) for one, rows in own.items()},
    )


def mean_iou(
    predictions: Sequence[NDArray[np.generic]],
    annotations: Sequence[Annotation | None],
    classes: int,
    names: Sequence[str] | None = None,
    background: int | None = None,
    seen: Sequence[NDArray[np.bool_]] | None = None,
) -> MeanIou:
    """Return the IoU of the masks *predictions*.

    Intersections and unions are summed over all images. Pixels that the truth leaves unlabelled do not count. The truth
    is a mask of classes, or the masks and boxes of objects. Then the pixels outside of all objects are *background*;
    without a background they are of no class for a model that can say so, else unlabelled.

    Args:
        predictions: Mask of each image, of the image's size: class indices int [H, W], −1 for no class; of independent
            classes bool [classes, H, W]. Volumes have one axis more, and no sizes of objects.
        annotations: Truth of each image; None: the image is left out.
        classes: Number of classes of the model.
        names: Names of the model's classes; only the labels of objects need them.
        background: Class of the background; None if there is none.
        seen: Pixels of each image that the model sees, bool [H, W]; the others do not count. None: all.

    Raises:
        TruthError: no image has a mask or an object, or the truth has a class that the model does not have.
        MetricError: a prediction has another size than the image.

    Example:
        >>> mean_iou([np.array([[0, 1]])], [Annotation(mask=np.array([[0, 0]]))], 2).mean
        0.25
    """
    check_lengths(predictions, annotations)
    index, totals, images = class_indices(classes, names), np.zeros((3, classes), np.int64), 0
    counts, regions = Counter[int](), dict[str, list[float]]()
    for number, (predicted, annotation) in enumerate(zip(predictions, annotations, strict=True)):
        truth = None if annotation is None else _truth(np.asarray(predicted), annotation, classes, index, background)
        if truth is None:
            continue
        truth = truth if seen is None else replace(truth, known=truth.known & seen[number])
        own = _overlaps(np.asarray(predicted), truth, classes, names)
        totals, images = totals + own, images + 1
        for one in np.flatnonzero(own[1]).tolist():
            counts[one] += 1
            if one != background and truth.known.ndim == 2:
                regions.setdefault(size_of(own[1, one]), []).append(float(_iou(own)[one]))
    if not images:
        raise TruthError("the truth has no mask of classes; give masks, and --mask-values class or class+1")
    shares = _iou(totals)
    by_class = {int(one): float(shares[one]) for one in np.flatnonzero(np.isfinite(shares))}
    return MeanIou(
        float(np.mean([*by_class.values()])) if by_class else 0.0,
        by_class,
        images,
        dict(sorted(counts.items())),
        {size: float(np.mean(regions[size])) for size in SIZES if size in regions},
        {size: len(regions[size]) for size in SIZES if size in regions},
    )


def _truth(
    predicted: NDArray[np.generic],
    annotation: Annotation,
    classes: int,
    index: Callable[[Label | None], int],
    background: int | None,
) -> ClassRegions | None:
    """Return the true regions in the image of *predicted*."""
    stacked = _is_stacked(predicted)
    says_none = stacked or classes == 1 or bool((predicted.astype(np.int64) < 0).any())
    return class_regions(annotation, predicted.shape[stacked:], index, background, whole=says_none)


def _is_stacked(predicted: NDArray[np.generic]) -> bool:
    """Whether each class has a mask of its own."""
    return bool(predicted.dtype == bool and predicted.ndim > 2)


def _overlaps(
    predicted: NDArray[np.generic], truth: ClassRegions, classes: int, names: Sequence[str] | None
) -> NDArray[np.int64]:
    """Return the number of pixels of each class in both, in the truth, and in *predicted*, [3, classes]."""
    known = truth.known
    stacked = _is_stacked(predicted)
    if predicted.shape[stacked:] != known.shape:
        raise MetricError(f"a predicted mask has shape {predicted.shape}, the true one {known.shape}; scale it to that")
    if (highest := max(truth.regions, default=-1)) >= classes:
        last = f", the last is {names[-1]!r}" if names else ""
        raise TruthError(f"a mask of the truth holds class {highest}; the model has {classes} classes{last}")
    found = np.zeros((3, classes), np.int64)
    if stacked:
        found[2] = (predicted.astype(bool) & known).reshape(len(predicted), -1).sum(axis=1)
    else:
        whole = predicted.astype(np.int64)
        if whole.min(initial=0) < -1 or whole.max(initial=0) >= classes:
            raise MetricError(f"a predicted mask holds a class outside of 0 to {classes - 1}, or -1 for none")
        found[2] = np.bincount(whole[known & (whole >= 0)], minlength=classes)
    for one, region in truth.regions.items():
        own = region & known
        same = predicted[one].astype(bool) if stacked else predicted == one
        found[:2, one] = (own & same).sum(), own.sum()
    return found


def _iou(overlaps: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the IoU of each class, [classes], of `_overlaps`; NaN of a class that is nowhere."""
    both, true, predicted = overlaps
    union = true + predicted - both
    return np.where(union > 0, both / np.maximum(union, 1), np.nan)


def check_lengths(predictions: Sequence[object] | NDArray[np.generic], annotations: Sequence[object]) -> None:
    """Raise MetricError if there is not one prediction for each annotation."""
    if len(predictions) != len(annotations):
        raise MetricError(f"{len(predictions)} predictions for {len(annotations)} images; give one for each")
