"""Comparison of detectors: which objects both find, their boxes, classes and scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.outcome import Agreement, Answer, ObjectMap, Prediction
from onnxcam.compare.slices import SliceItem, TruthScores
from onnxcam.compare.tasks.detection_truth import average_precisions, kept_objects, object_items, object_rows
from onnxcam.compare.tasks.observation import Observation, Observed, Wanted, only_class
from onnxcam.errors import MetricError, TargetError
from onnxcam.metrics.accuracy_detections import require_pycocotools
from onnxcam.targets.detection import MIN_PROBABILITY, SAME_OBJECT, Detections
from onnxcam.targets.detectors.boxes import overlaps
from onnxcam.targets.goal import Look
from onnxcam.targets.kinds import Box, Detection
from onnxcam.targets.registry import TargetKind

if TYPE_CHECKING:
    from onnxcam.compare.image_comparison import ImageComparison
    from onnxcam.metrics.truth import Truth

__all__ = ["DEFAULTS", "KEPT", "LEAST", "MOST", "DetectionObservation", "DetectionPrediction", "matched"]

DEFAULTS = "kept>=0.9, extra<=0.25, box_iou>=0.8, mapped>=0.8, pearson>=0.7, iou>=0.4"
"""Default requirements, for a quantised detector against its float reference.

Post-training int8 quantisation of a sound detector costs one to two points of mAP (2004.09602, table 5). Measured on
models/detector and SSD MobileNet, good int8 twins keep all objects; spoilt ones (one scale divided by 12) keep a tenth,
with boxes of an IoU of 0.7. `extra` is wider than `kept`: objects just below the threshold are many. `mapped` is lower
than a classifier's, since a score that saturates the integers has no gradient; so are the bounds on maps, which are
smaller and sharper for one detection than for a class.
"""

LEAST = 0.01
"""Probability from which on candidates are kept, to find the threshold that would keep the reference's objects."""
KEPT = 0.9
"""Share of the reference's objects that a threshold should keep."""
MOST = 300
"""Maximum number of candidates kept for an image."""


@dataclass(frozen=True)
class DetectionPrediction(Prediction):
    """Objects that a detector finds in one image, the best first, after non-maximum suppression.

    Attributes:
        boxes: float64 [B, 4], x1, y1, x2, y2 in pixels of the image; NaN where the place is unknown.
        scores: float64 [B], probabilities of at least `LEAST`.
        classes: int64 [B].
        threshold: Probability from which on an object counts.
        why: Reason if the model's scores cannot be read.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]
    threshold: float = MIN_PROBABILITY
    why: str = ""

    task = "detection"
    metrics = ("kept", "extra", "flipped", "box_iou", "score_change")
    truth_metrics = ("map50_95", "map50")
    slice_metrics = ("kept", "box_iou", "pearson", "iou")
    defaults = DEFAULTS
    forms: ClassVar[Mapping[str, str]] = {
        "boxes": "float [B, 4]",
        "scores": "float [B]",
        "classes": "index [B]",
        "threshold": "float []",
        "why": "text",
    }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the objects in the *arrays* of a recording, the best first, at most `MOST`."""
        found = super().from_arrays(arrays)
        if not np.isfinite(found.scores).all():
            raise ValueError("'scores' holds NaN or infinity")
        order = np.argsort(-found.scores, kind="stable")[:MOST]
        boxes, scores = (array[order].astype(np.float64) for array in (found.boxes, found.scores))
        return replace(found, boxes=boxes, scores=scores, classes=found.classes[order])

    @property
    def count(self) -> int:
        """Return the number of objects."""
        return int((self.scores >= self.threshold).sum())

    def answer(self, names: Sequence[str] | None) -> Answer:
        """Return the objects: their number by class, and all of them as JSON."""
        labels = [_label(int(index), names) for index in self.classes[: self.count]]
        words = ", ".join(f"{times} {label}" for label, times in Counter(labels).most_common())
        objects = [
            {
                "index": int(index),
                "label": None if not names or index >= len(names) else names[index],
                "score": round(float(score), 6),
                "box": [round(float(x), 2) for x in box] if np.isfinite(box).all() else None,
            }
            for box, score, index in zip(self.boxes, self.scores, self.classes, strict=True)
            if score >= self.threshold
        ]
        sure = float(self.scores[0]) if self.count else None
        return Answer(words or self.why or "no object", sure, {"objects": objects})

    @classmethod
    def conclude(cls, comparisons: Sequence[ImageComparison], names: Sequence[str] | None) -> list[str]:
        """Return what became of the scores: the threshold that would keep the reference's objects.

        Raises:
            MetricError: the reference finds no object in any image.
        """
        pairs = np.array([pair for one in comparisons for pair in one.details["scores"]], float).reshape(-1, 2)
        if not len(pairs):
            raise MetricError(
                f"the reference finds no object in any of the {len(comparisons)} images from a probability of "
                f"{MIN_PROBABILITY:.0%} on: nothing can be compared; give other images, or check --preprocess"
            )
        return _score_findings(pairs)

    @classmethod
    def accuracy(
        cls, comparisons: Sequence[ImageComparison], truth: Truth, names: Sequence[str] | None, only: int | None = None
    ) -> TruthScores:
        """Return the mean average precision of both, as COCO defines it."""
        return average_precisions(comparisons, truth, names, only)

    @classmethod
    def require_truth(cls) -> None:
        """Raise MetricError if pycocotools is not installed."""
        require_pycocotools()

    @classmethod
    def slice_items(cls, comparison: ImageComparison) -> Iterator[SliceItem]:
        """Yield the objects of the reference, and those that are explained with the agreement of their maps."""
        yield from object_items(comparison)

    def only(self, index: int) -> DetectionPrediction:
        """Return the objects of class *index*."""
        own = self.classes == index
        return replace(self, boxes=self.boxes[own], scores=self.scores[own], classes=self.classes[own])

    def compare(self, candidate: DetectionPrediction) -> Agreement:
        """Match the objects of both one to one, and compare them."""
        own, other = self.count, candidate.count
        pairs = matched(self, candidate)
        flips = matched(self, candidate, pairs, same_class=False)
        values = {
            "kept": len(pairs) / own if own else math.nan,
            "extra": (other - len(pairs) - len(flips)) / other if other else math.nan,
            "flipped": len(flips) / own if own else math.nan,
        }
        if pairs:
            rows, columns = np.array(pairs).T
            values["box_iou"] = float(np.mean(overlaps(self.boxes[rows], candidate.boxes[columns])))
            values["score_change"] = float(np.mean(np.abs(self.scores[rows] - candidate.scores[columns])))
        notes = [] if own or other else ["neither model finds an object"]
        notes += [f"the {side}: {one.why}" for side, one in (("reference", self), ("candidate", candidate)) if one.why]
        details = {
            "scores": _scores_of_same(self, candidate),
            "found": [object_rows(self), object_rows(candidate)],
            "objects": kept_objects(self, candidate, dict(pairs)),
        }
        return Agreement(values, notes, details)


class DetectionObservation(Observation):
    """Detectors."""

    task = Detections
    prediction = DetectionPrediction
    in_images = True

    def predict(self, model: Observed, look: Look) -> DetectionPrediction:
        """Return the objects in one image; none, and why, where the scores cannot be read."""
        assert isinstance(model.task, Detections)
        try:
            boxes, scores, classes = model.task.found(look, LEAST, MOST)
        except TargetError as error:
            return DetectionPrediction(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), why=str(error))
        return DetectionPrediction(boxes, scores, classes)

    def targets(self, model: Observed, prediction: Prediction) -> Wanted:
        """Return the detections, the best first."""
        assert isinstance(prediction, DetectionPrediction)
        return [Detection(number) for number in range(prediction.count)]

    def targets_of(self, model: Observed, prediction: Prediction, only: int) -> Wanted:
        """Return the detections of class *only*, by their ranks among those of all classes."""
        assert isinstance(prediction, DetectionPrediction)
        own = np.flatnonzero(prediction.classes[: prediction.count] == only)
        return [Detection(number) for number in own.tolist()]

    def only(self, model: Observed, target: int | str) -> int | None:
        """Return the index of the class *target*; None for all classes."""
        return only_class(target, None, model.network.class_names)

    def same(self, explained: ObjectMap) -> TargetKind | str:
        """Return the object of the class at the place, whatever its score."""
        if explained.box is None or explained.index is None:
            return explained.target
        return Box(explained.box, explained.index)


def matched(
    reference: DetectionPrediction,
    candidate: DetectionPrediction,
    taken: Sequence[tuple[int, int]] = (),
    *,
    same_class: bool = True,
) -> list[tuple[int, int]]:
    """Return the rows of the same objects, one to one, with the largest sum of overlaps.

    Boxes of the same object overlap by an IoU of at least `SAME_OBJECT`. Objects of unknown place match by class and
    rank. Rows in *taken* are left out.
    """
    from scipy.optimize import linear_sum_assignment

    own, other = reference.count, candidate.count
    values = overlaps(reference.boxes[:own, None], candidate.boxes[None, :other])
    alike = np.equal.outer(reference.classes[:own], candidate.classes[:other])
    first, second = (~np.isfinite(boxes).all(axis=1) for boxes in (reference.boxes[:own], candidate.boxes[:other]))
    able = np.where(np.logical_and.outer(first, second), alike, (values >= SAME_OBJECT) & (alike | (not same_class)))
    for row, column in taken:
        able[row], able[:, column] = False, False
    rows, columns = linear_sum_assignment(np.where(able, 1 + values, 0), maximize=True)
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if able[row, column]]


def _score_findings(pairs: NDArray[np.float64]) -> list[str]:
    """Return what became of the scores of the reference's objects, *pairs* [B, 2] of reference and candidate."""
    reference, candidate = pairs.T
    kept, top = float((candidate >= MIN_PROBABILITY).mean()), float(candidate.max())
    if top < MIN_PROBABILITY:
        return [
            f"the candidate's scores of all {len(pairs)} objects of the reference are near zero, at most {top:.2f} "
            f"(the reference's: up to {reference.max():.2f}): this happens where boxes and scores share one scale in a "
            "quantised output, or the last layers are clipped; quantise the outputs apart, or leave the head in float"
        ]
    if kept >= KEPT:
        return []
    shift, wanted = float((candidate - reference).mean()), float(np.quantile(candidate, 1 - KEPT, method="lower"))
    start = f"the candidate's scores of the reference's objects are {abs(shift):.2f} "
    start += "lower" if shift < 0 else "higher"
    if wanted < LEAST:
        return [f"{start} on average, and no threshold keeps {KEPT:.0%} of them: it lost them, not their scores alone"]
    return [
        f"{start} on average: a threshold of {wanted:.2f} would keep {KEPT:.0%} of them; {MIN_PROBABILITY} keeps "
        f"{kept:.0%}"
    ]


def _scores_of_same(reference: DetectionPrediction, candidate: DetectionPrediction) -> list[tuple[float, float]]:
    """Return for each object of the reference its score, and the candidate's for it, 0 below `LEAST`."""
    own = reference.count
    values = overlaps(reference.boxes[:own, None], candidate.boxes[None])
    same = (values >= SAME_OBJECT) & (reference.classes[:own, None] == candidate.classes[None])
    best = np.where(same, candidate.scores[None], 0).max(axis=1, initial=0)
    return [(round(float(a), 6), round(float(b), 6)) for a, b in zip(reference.scores[:own], best, strict=True)]


def _label(index: int, names: Sequence[str] | None) -> str:
    return names[index] if names and index < len(names) else f"class {index}"
