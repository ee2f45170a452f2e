"""Comparison of segmentations: the class of each cell, the region of each class, and the boundaries between them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.drawing import drawn_classes
from onnxcam.compare.outcome import FEW, Agreement, Answer, ObjectMap, Prediction
from onnxcam.compare.slices import SliceItem, TruthScores
from onnxcam.compare.tasks.cell_maps import packed_cells
from onnxcam.compare.tasks.observation import Observation, Observed, Wanted, only_class
from onnxcam.compare.tasks.segmentation_truth import mean_ious, overlap_share, region_items
from onnxcam.errors import MetricError
from onnxcam.media.image import RgbImage
from onnxcam.targets.goal import Look
from onnxcam.targets.kinds import ClassRegion
from onnxcam.targets.registry import TargetKind
from onnxcam.targets.segmentation import Segmentation

if TYPE_CHECKING:
    from onnxcam.compare.image_comparison import ImageComparison
    from onnxcam.metrics.truth import Truth

__all__ = ["DEFAULTS", "LEAST", "LOST", "MOST", "NEAR", "SegmentationObservation", "SegmentationPrediction"]

DEFAULTS = "same_pixels>=0.9, class_iou>=0.75, boundary>=0.6, mapped>=0.9, pearson>=0.7, iou>=0.4"
"""Default requirements, for a quantised segmentation against its float reference.

Measured on models/segmenter and a DeepLabv3 (VOC, 17 photos), each as static int8 and with one activation scale
divided by 12: `class_iou` is 0.99 and 0.86 sound, 0.54 and 0.36 spoilt; `boundary` 1.00 and 0.77, 0.75 and 0.05;
`same_pixels` 1.00 and 0.99, 0.92 and 0.70, because background counts; `pearson` 0.99 and 0.95, 0.67 and 0.29. `mapped`
detects a class that the candidate predicts nowhere; some are a few cells in the reference, too.
"""

LEAST = 0.001
"""Share of the cells from which on a region counts, is explained and has a boundary: that of a few cells is noise."""
NEAR = 0.008
"""Distance of boundaries that count as the same, relative to the diagonal, as in DAVIS (1704.00675)."""
LOST = 0.5
"""IoU of a class over all images below which a warning names the class."""
MOST = 3
"""Maximum number of classes that warnings name."""


@dataclass(frozen=True)
class SegmentationPrediction(Prediction):
    """Class of each cell of one image.

    Attributes:
        cells: int64 [*space], −1 for no class; for independent classes bool [classes, *space]. Space is h, w, or in a
            volume d, h, w.
        classes: Number of classes.
        background: Class of the background; None if there is none.
        frame: Rectangle that the cells cover, x0, y0, x1, y1 in pixels of the image; None for the whole image.
    """

    cells: NDArray[Any]
    classes: int
    background: int | None = None
    frame: tuple[float, ...] | None = None

    task = "segmentation"
    metrics = ("same_pixels", "class_iou", "dice", "boundary")
    truth_metrics = ("miou",)
    slice_metrics = ("class_iou", "pearson", "iou")
    defaults = DEFAULTS
    forms: ClassVar[Mapping[str, str]] = {
        "cells": "int [h, w] | int [d, h, w] | bool [k, h, w] | bool [k, d, h, w]",
        "classes": "index []",
        "background": "index []",
        "frame": "float (4)?",
    }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the segmentation in the *arrays* of a recording."""
        found = super().from_arrays(arrays)
        if found.stacked and len(found.cells) != found.classes:
            raise ValueError(f"'cells' has {len(found.cells)} classes instead of {found.classes}")
        if not found.stacked and not -1 <= found.cells.min() <= found.cells.max() < found.classes:
            raise ValueError(f"'cells' holds a class that is none of the {found.classes}")
        if found.frame is not None and not _is_rectangle(found.frame):
            raise ValueError("'frame' is no rectangle x0, y0, x1, y1")
        return found

    @property
    def stacked(self) -> bool:
        """Whether the classes are independent: each has cells of its own."""
        return bool(self.cells.dtype == bool)

    @property
    def space(self) -> tuple[int, ...]:
        """Lengths of the axes of space."""
        return self.cells.shape[self.stacked :]

    def region(self, index: int) -> NDArray[np.bool_]:
        """Return the cells of class *index*, bool [*space]."""
        return np.asarray(self.cells[index] if self.stacked else self.cells == index)

    @property
    def counts(self) -> dict[int, int]:
        """Return the number of cells of each class that has any, the largest first; the background last."""
        if self.stacked:
            found = self.cells.reshape(len(self.cells), -1).sum(axis=1)
        else:
            found = np.bincount(self.cells[self.cells >= 0], minlength=self.classes)
        order = sorted(np.flatnonzero(found).tolist(), key=lambda index: (index == self.background, -found[index]))
        return {index: int(found[index]) for index in order}

    def answer(self, names: Sequence[str] | None) -> Answer:
        """Return the classes and their shares of the image."""
        size = math.prod(self.space)
        shares = {index: count / size for index, count in self.counts.items()}
        told = [
            f"{_name(index, names)} {share:.0%}"
            for index, share in shares.items()
            if share >= LEAST and index != self.background
        ]
        classes = [
            {"index": index, "label": names[index] if names else None, "share": round(share, 6)}
            for index, share in shares.items()
        ]
        return Answer(", ".join(told) or ("background" if shares else "no class"), None, {"classes": classes})

    def drawing(self, reference: SegmentationPrediction) -> RgbImage | None:
        """Return the classes as colours; None for those of a volume, which the report cuts into planes."""
        return drawn_classes(self.cells, self.background) if len(self.space) == 2 else None

    @classmethod
    def conclude(cls, comparisons: Sequence[ImageComparison], names: Sequence[str] | None) -> list[str]:
        """Return the classes that the candidate gets wrong over all images.

        Raises:
            MetricError: the reference predicts no class in any image.
        """
        totals: defaultdict[int, NDArray[np.int64]] = defaultdict(lambda: np.zeros(3, np.int64))
        background = None
        for one in comparisons:
            background = one.details["background"]
            for index, numbers in one.details["regions"]:
                totals[index] += numbers
        seen = [index for index, (_, own, _) in totals.items() if own]
        if not seen:
            raise MetricError(
                f"the reference predicts no class in any of the {len(comparisons)} images: nothing can be compared; "
                "give other images, or check --preprocess"
            )
        if seen == [background] and len(comparisons) > FEW:
            raise MetricError(
                f"the reference predicts background alone in all {len(comparisons)} images: nothing can be compared; "
                "give other images, or check --preprocess"
            )
        return _findings({index: (int(x), int(y), int(z)) for index, (x, y, z) in totals.items() if y}, names)

    @classmethod
    def accuracy(
        cls, comparisons: Sequence[ImageComparison], truth: Truth, names: Sequence[str] | None, only: int | None = None
    ) -> TruthScores:
        """Return the mean IoU of both over all pixels of all images."""
        return mean_ious(comparisons, truth, names, only)

    @classmethod
    def slice_items(cls, comparison: ImageComparison) -> Iterator[SliceItem]:
        """Yield the region of each class of the reference but the background, and those that are explained."""
        yield from region_items(comparison)

    def only(self, index: int) -> SegmentationPrediction:
        """Return the cells of class *index*; all others have no class."""
        if self.stacked:
            alone = np.zeros_like(self.cells)
            alone[index] = self.cells[index]
        else:
            alone = np.where(self.cells == index, index, -1)
        return replace(self, cells=alone, background=None)

    def compare(self, candidate: SegmentationPrediction) -> Agreement:
        """Compare cell by cell, class by class, and boundary by boundary."""
        if len(self.space) != len(candidate.space):
            raise MetricError(
                f"the reference has cells on {len(self.space)} axes and the candidate on {len(candidate.space)}: give "
                "two networks of images, or two of volumes"
            )
        if self.classes != candidate.classes or self.stacked != candidate.stacked:
            kinds = [f"{one.classes} {'independent ' * one.stacked}classes" for one in (self, candidate)]
            raise MetricError(
                f"the reference has {kinds[0]} and the candidate {kinds[1]}: classes are compared by index, so both "
                "must have the same"
            )
        other = _fitted(candidate, self.space)
        regions = {
            index: _overlap(self.region(index), other.region(index)) for index in {**self.counts, **other.counts}
        }
        least = LEAST * math.prod(self.space)
        small = [index for index, numbers in regions.items() if max(numbers[1:]) < least]
        large = [numbers for index, numbers in regions.items() if index not in small]
        same = self.cells == other.cells
        values = {
            "same_pixels": float((same.all(axis=0) if self.stacked else same).mean()),
            "class_iou": float(np.mean([overlap_share(*one) for one in large])) if large else math.nan,
            "dice": float(np.mean([2 * both / (own + theirs) for both, own, theirs in large])) if large else math.nan,
            "boundary": _boundary_score(_without(self.cells, small), _without(other.cells, small)),
        }
        notes = [] if large else [f"neither model predicts a class in {LEAST:.1%} of the image"]
        if large and math.isnan(values["boundary"]):
            notes.append("no boundary: both models predict one class in the whole image")
        details = {
            "regions": [[index, list(one)] for index, one in regions.items()],
            "background": self.background,
            "classes": self.classes,
            "found": [packed_cells(one.cells) for one in (self, candidate)],
            "frames": [self.frame, candidate.frame],
        }
        return Agreement(values, notes, details)


class SegmentationObservation(Observation):
    """Segmentations."""

    task = Segmentation
    prediction = SegmentationPrediction

    def predict(self, model: Observed, look: Look) -> SegmentationPrediction:
        """Return the class of each cell."""
        task = model.network.task
        assert isinstance(task, Segmentation)
        frame = None if look.frame is None else (look.frame.x0, look.frame.y0, look.frame.x1, look.frame.y1)
        return SegmentationPrediction(task.predicted(look), task.classes, task.background, frame)

    def targets(self, model: Observed, prediction: Prediction) -> Wanted:
        """Return the largest classes, those of at least `LEAST`; the background if there is no other one."""
        assert isinstance(prediction, SegmentationPrediction)
        least = LEAST * math.prod(prediction.space)
        found = [index for index, count in prediction.counts.items() if count >= least]
        return [ClassRegion(index) for index in found if index != prediction.background or len(found) == 1]

    def only(self, model: Observed, target: int | str) -> int | None:
        """Return the index of the class *target*; None for all classes."""
        assert isinstance(model.network.task, Segmentation)
        return only_class(target, model.network.task.classes, model.network.class_names)

    def same(self, explained: ObjectMap) -> TargetKind | str:
        """Return the class by its index."""
        return explained.target if explained.index is None else ClassRegion(explained.index)


def _is_rectangle(frame: Sequence[float]) -> bool:
    x0, y0, x1, y1 = frame
    return all(map(math.isfinite, frame)) and x1 > x0 and y1 > y0


def _fitted(one: SegmentationPrediction, size: Sequence[int]) -> SegmentationPrediction:
    """Return the prediction on a grid of *size*; each of its cells takes the class at its centre."""
    if one.space == tuple(size):
        return one
    places = [((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, one.space, strict=True)]
    where: Any = (..., *np.ix_(*places))
    return replace(one, cells=one.cells[where])


def _without(cells: NDArray[Any], classes: Sequence[int]) -> NDArray[Any]:
    """Return *cells* with no class where one of *classes* is."""
    if cells.dtype == bool:
        kept: NDArray[Any] = cells.copy()
        kept[list(classes)] = False
        return kept
    return np.where(np.isin(cells, list(classes)), -1, cells)


def _overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Return the number of cells of both, of *a* and of *b*."""
    return int((a & b).sum()), int(a.sum()), int(b.sum())


def _boundary_score(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the F-score of boundaries that are near to each other; NaN if there is none."""
    first, second = _boundary(a), _boundary(b)
    if not first.any() and not second.any():
        return math.nan
    if not first.any() or not second.any():
        return 0.0
    radius = max(1, round(NEAR * math.hypot(*first.shape)))
    near = [_widened(one, radius) for one in (first, second)]
    precision, recall = float(near[0][second].mean()), float(near[1][first].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _widened(boundary: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Return the cells at most *radius* from *boundary*."""
    import cv2

    if boundary.ndim == 2:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        return np.asarray(cv2.dilate(boundary.astype(np.uint8), disc) > 0)
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(~boundary) <= radius)


def _boundary(cells: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the cells [*space] whose class differs from that of the next cell on an axis, such as to the right."""
    stacked = cells if cells.dtype == bool else cells[None]
    found = np.zeros(stacked.shape[1:], bool)
    for axis in range(found.ndim):
        ends, starts = ((slice(None),) * axis + (part,) for part in (slice(1, None), slice(None, -1)))
        found[starts] |= (stacked[:, *ends] != stacked[:, *starts]).any(axis=0)
    return found


def _findings(totals: Mapping[int, tuple[int, int, int]], names: Sequence[str] | None) -> list[str]:
    """Return what became of the largest classes that the candidate gets wrong."""
    wrong = sorted((i for i, numbers in totals.items() if overlap_share(*numbers) < LOST), key=lambda i: -totals[i][1])
    told = [_finding(_name(index, names), *totals[index]) for index in wrong[:MOST]]
    left = len(wrong) - MOST
    return [*told, f"the IoU of {left} more classes over all images is below {LOST}"] if left > 0 else told


def _finding(name: str, both: int, own: int, other: int) -> str:
    if not other:
        return f"the candidate predicts {name} nowhere; the reference does in {own:,} cells of all images"
    iou, change = overlap_share(both, own, other), f"{other / own:.2f} times as many cells as"
    return (
        f"the candidate's region of {name} has an IoU of {iou:.2f} with the reference's over all images, with {change} "
        "the reference"
    )


def _name(index: int, names: Sequence[str] | None) -> str:
    return names[index] if names and index < len(names) else f"class {index}"
