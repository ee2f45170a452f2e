"""Segmentations by the ground truth, and by class and size: the IoU of regions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.on_access import OnAccess, true_annotations
from onnxcam.compare.slices import SliceItem, TruthScores, truth_slices
from onnxcam.compare.tasks.cell_maps import on_pixels, seen_pixels, unpacked_cells
from onnxcam.metrics.accuracy import mean_iou

if TYPE_CHECKING:
    from onnxcam.compare.image_comparison import ImageComparison
    from onnxcam.metrics.truth import Truth

__all__ = ["mean_ious", "overlap_share", "region_items"]


def mean_ious(
    comparisons: Sequence[ImageComparison], truth: Truth, names: Sequence[str] | None, only: int | None
) -> TruthScores:
    """Return the mean IoU of both over all pixels of all images, of all classes or of class *only*."""
    classes, background = (comparisons[0].details[name] for name in ("classes", "background"))
    own, known = true_annotations(comparisons, truth), truth.class_names(classes, names)
    first, second = (
        mean_iou(_masks(comparisons, side), own, classes, known, background, _seen(comparisons, side))
        for side in (0, 1)
    )
    counts = {index: count for index, count in first.counts.items() if only in (None, index)}
    by_class = [{i: x for i, x in one.by_class.items() if only in (None, i)} for one in (first, second)]
    means = tuple(float(np.mean([*side.values()])) if side else 0.0 for side in by_class)
    slices = truth_slices("miou", "class", counts, by_class, names or known)
    if only is None:
        slices += truth_slices("miou", "size", first.sizes, [first.by_size, second.by_size])
    return TruthScores({"miou": (means[0], means[1])}, slices)


def region_items(comparison: ImageComparison) -> Iterator[SliceItem]:
    """Yield the region of each class of the reference but the background, and those that are explained."""
    details = comparison.details
    areas: dict[int, float | None] = {}
    for index, (both, own, other) in details["regions"]:
        if own and index != details["background"]:
            areas[index] = own * _cell_area(comparison) if len(comparison.size) == 2 else None  # sizes are of images
            yield SliceItem(index, areas[index], {"class_iou": overlap_share(both, own, other)})
    for one in comparison.objects:
        values = {name: one.values[name] for name in ("pearson", "iou") if name in one.values}
        if one.index is not None and one.index in areas:
            yield SliceItem(one.index, areas[one.index], values)


def overlap_share(both: int, own: int, other: int) -> float:
    """Return the IoU of two regions, by the number of cells of both, of the first and of the second."""
    return both / max(own + other - both, 1)


def _masks(comparisons: Sequence[ImageComparison], side: int) -> Sequence[NDArray[Any]]:
    """Return the predicted class of each pixel of each image, by one *side*."""

    def mask(number: int) -> NDArray[Any]:
        pair = comparisons[number]
        return on_pixels(unpacked_cells(pair.details["found"][side]), pair.details["frames"][side], pair.size)

    return OnAccess(mask, len(comparisons))


def _seen(comparisons: Sequence[ImageComparison], side: int) -> Sequence[NDArray[np.bool_]]:
    """Return the pixels of each image that one *side* sees."""

    def seen(number: int) -> NDArray[np.bool_]:
        pair = comparisons[number]
        return seen_pixels(pair.details["found"][side]["shape"], pair.details["frames"][side], pair.size)

    return OnAccess(seen, len(comparisons))


def _cell_area(comparison: ImageComparison) -> float:
    """Return the area of a cell of the reference in pixels of the image."""
    frame = comparison.details["frames"][0]
    height, width = (*comparison.size,) if frame is None else (frame[3] - frame[1], frame[2] - frame[0])
    return float(height * width / math.prod(comparison.details["found"][0]["shape"][-2:]))
