"""Accuracy of classes and IoU of masks, by the ground truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxcam.errors import MetricError, TargetError, TruthError
from onnxcam.metrics.truth.annotation import Annotation
from onnxcam.targets.classification import class_index
from onnxcam.targets.notation import Label

__all__ = ["ClassAccuracy", "MeanIou", "accuracy", "check_lengths", "class_indices", "mean_iou"]


@dataclass(frozen=True)
class ClassAccuracy:
    """Share of images whose top class is right.

    Attributes:
        top1: Share over all images.
        by_class: Share over the images of each class.
        images: Number of images with truth.
    """

    top1: float
    by_class: dict[int, float]
    images: int


@dataclass(frozen=True)
class MeanIou:
    """IoU of masks of classes over all pixels of all images.

    Attributes:
        mean: Mean over the classes.
        by_class: IoU of each class that the truth or a prediction has.
        images: Number of images with truth.
    """

    mean: float
    by_class: dict[int, float]
    images: int


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
    """Return the accuracy of the top classes *predictions* [N].

    A prediction is right if it is one of the classes of the image or of its objects.

    Args:
        predictions: Index of the top class of each image.
        annotations: Truth of each image; None or no class: the image is left out.
        classes: Number of classes of the model.
        names: Names of the model's classes; of a model without, those of the truth (`Truth.names`).

    Raises:
        TruthError: a class is none of the model's, or no image has a class.

    Example:
        >>> accuracy([0], [Annotation(classes=("cat",))], 2, ["cat", "dog"]).top1
        1.0
    """
    tops, index = np.asarray(predictions), class_indices(classes, names)
    check_lengths(tops, annotations)
    right: list[bool] = []
    by_class: dict[int, list[bool]] = {}
    for top, annotation in zip(tops.tolist(), annotations, strict=True):
        if true := {index(label) for label in annotation.labels} if annotation else set():
            right.append(top in true)
            for one in true:
                by_class.setdefault(one, []).append(top in true)
    if not right:
        raise TruthError("the truth names no class of any image; accuracy needs classes")
    shares = {one: float(np.mean(own)) for one, own in sorted(by_class.items())}
    return ClassAccuracy(float(np.mean(right)), shares, len(right))


def mean_iou(
    predictions: Sequence[NDArray[np.integer]],
    annotations: Sequence[Annotation | None],
    classes: int,
    names: Sequence[str] | None = None,
) -> MeanIou:
    """Return the IoU of the masks *predictions*, each int [H, W] of class indices.

    Intersections and unions are summed over all images. Pixels that the truth leaves unlabelled do not count.

    Args:
        predictions: Mask of each image, of the image's size.
        annotations: Truth of each image; None: the image is left out.
        classes: Number of classes of the model.
        names: Names of the model's classes; masks hold indices, so only a message needs them.

    Raises:
        TruthError: no image has a mask of classes, or a mask holds a class that the model does not have.
        MetricError: a prediction has another size than the image.

    Example:
        >>> mean_iou([np.array([[0, 1]])], [Annotation(mask=np.array([[0, 0]]))], 2).mean
        0.25
    """
    check_lengths(predictions, annotations)
    counts, images = np.zeros((classes, classes), np.int64), 0
    for predicted, annotation in zip(predictions, annotations, strict=True):
        if annotation is not None and annotation.mask is not None:
            counts += _confusion(np.asarray(predicted), annotation.mask, classes, names)
            images += 1
    if not images:
        raise TruthError("the truth has no mask of classes; give masks, and --mask-values class or class+1")
    hits, union = np.diag(counts), counts.sum(0) + counts.sum(1) - np.diag(counts)
    by_class = {int(one): float(hits[one] / union[one]) for one in np.flatnonzero(union)}
    return MeanIou(float(np.mean([*by_class.values()])), by_class, images)


def _confusion(
    predicted: NDArray[np.integer], true: NDArray[np.integer], classes: int, names: Sequence[str] | None
) -> NDArray[np.int64]:
    """Return the number of pixels by true and predicted class, [classes, classes]."""
    if predicted.shape != true.shape:
        raise MetricError(f"a predicted mask has shape {predicted.shape}, the true one {true.shape}; scale it to that")
    if true.max(initial=-1) >= classes:
        last = f", the last is {names[-1]!r}" if names else ""
        raise TruthError(f"a mask of the truth holds class {true.max()}; the model has {classes} classes{last}")
    if predicted.min(initial=0) < 0 or predicted.max(initial=0) >= classes:
        raise MetricError(f"a predicted mask holds a class outside of 0 to {classes - 1}")
    known = true >= 0
    pairs = true[known].astype(np.int64) * classes + predicted[known].astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def check_lengths(predictions: Sequence[object] | NDArray[np.generic], annotations: Sequence[object]) -> None:
    """Raise MetricError if there is not one prediction for each annotation."""
    if len(predictions) != len(annotations):
        raise MetricError(f"{len(predictions)} predictions for {len(annotations)} images; give one for each")
