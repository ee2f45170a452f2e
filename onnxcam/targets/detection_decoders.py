"""Detection: decode boxes and scores from the tensors that hold them (`onnxcam.targets.detection_layouts` finds these).

A decoder gives the corners (x1, y1, x2, y2) of each candidate in the tensor's pixels, its scores, and the weights over
one tensor whose weighted sum is the score that is explained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.goal import Array
from onnxcam.targets.scores import sigmoid, softmax

__all__ = ["Candidates", "Decoder", "ScoresAndBoxes", "Suppressed", "SuppressedTable", "Yolo"]


@dataclass(frozen=True)
class Candidates:
    """All candidates of a detector for one image: B boxes of C classes."""

    corners: Array  # [B, 4] in the tensor's pixels
    scores: Array  # [B, C], probabilities
    weights: Callable[
        [int, int], Array
    ]  # of a candidate and class: over the tensor of `Decoder.aim`, without the batch axis
    complete: bool = True  # the columns are all classes of the model


class Decoder(Protocol):
    """The tensors of a detector's boxes and scores, and how they are decoded."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return the tensors that `read` takes."""

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the tensor of scores."""

    def read(self, tensors: Sequence[Array], size: tuple[int, ...]) -> Candidates:
        """Decode the *tensors* of one image whose tensor has *size* (height, width)."""


@dataclass(frozen=True)
class _OneOutput:
    """A decoder of one output."""

    output: str

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return the one output."""
        return (self.output,)

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the output."""
        return WeightsAim(self.output)


@dataclass(frozen=True)
class Yolo(_OneOutput):
    """One tensor of cx, cy, w, h, optional objectness and scores: [N, 4 + C, B] (v8 to v11), [N, B, 5 + C] (v5, v7).

    Columns after the *classes* scores (masks, keypoints, an angle) are ignored; None: there are no such columns.
    """

    candidates_last: bool
    objectness: bool
    classes: int | None = None

    def read(self, tensors: Sequence[Array], size: tuple[int, ...]) -> Candidates:
        """Decode the tensor. A score is that of the class, times the objectness if there is one."""
        rows = tensors[0][0].T if self.candidates_last else tensors[0][0]
        first = 5 if self.objectness else 4
        scores = rows[:, first:] if self.classes is None else rows[:, first : first + self.classes]
        found = scores * rows[:, 4:5] if self.objectness else scores

        def weights(candidate: int, category: int) -> Array:
            """Weights of s · o with objectness: ½ (s · o₀ + o · s₀), which has its value and half its gradient."""
            w = np.zeros(rows.shape, np.float32)
            w[candidate, first + category] = rows[candidate, 4] / 2 if self.objectness else 1
            if self.objectness:
                w[candidate, 4] = rows[candidate, first + category] / 2
            return w.T if self.candidates_last else w

        return Candidates(_corners(rows[:, :4]) * _scale(rows[:, :4], size), found, weights)


@dataclass(frozen=True)
class ScoresAndBoxes:
    """Scores [N, B, C] and boxes [N, B, 4]: SSD, Ultraface, DETR; before NonMaxSuppression [N, C, B] and y, x first.

    One class, SSD's first or DETR's last, may be "no object" (*exclusive*); then scores pass through softmax, else
    through sigmoid. It is none of the *labels*, unless there are as many labels as scores.
    """

    scores: str
    boxes: str
    classes_first: bool = False
    y_first: bool = False
    centred: bool | None = None  # boxes are cx, cy, w, h; None: decided by their values
    exclusive: bool = False  # False: decided by the scores
    labels: int | None = None

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return scores and boxes."""
        return self.scores, self.boxes

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the scores."""
        return WeightsAim(self.scores)

    def read(self, tensors: Sequence[Array], size: tuple[int, ...]) -> Candidates:
        """Decode both. Scores that are not probabilities pass through softmax or sigmoid."""
        raw, boxes = tensors[0][0].astype(np.float64), tensors[1][0].astype(np.float64).reshape(-1, 4)
        found = raw.T if self.classes_first else raw
        columns = np.arange(found.shape[1])
        places = [-1] if self.centred else [0, -1]
        none = _no_object(found, places, self.exclusive)
        scores = _probabilities(found, exclusive=none is not None)
        if none is not None:
            scores[:, none] = 0
            if self.labels == len(columns) - 1:
                columns = np.delete(columns, none)
        boxes = boxes[:, [1, 0, 3, 2]] if self.y_first else boxes
        centred = _is_centred(boxes) if self.centred is None else self.centred
        corners = (_corners(boxes) if centred else boxes) * _scale(boxes, size)

        def weights(candidate: int, category: int) -> Array:
            w = np.zeros(found.shape, np.float32)
            w[candidate, columns[category]] = 1
            return w.T if self.classes_first else w

        return Candidates(corners, scores[:, columns], weights)


@dataclass(frozen=True)
class Suppressed:
    """The output of a graph with its own non-maximum suppression: boxes [N, K, 4], scores [N, K], classes [N, K].

    The batch axis may be missing (*batch* None).
    """

    boxes: str
    scores: str
    classes: str
    y_first: bool = False
    batch: int | None = 0

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return boxes, scores and classes."""
        return self.boxes, self.scores, self.classes

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the scores."""
        return WeightsAim(self.scores, self.batch)

    def read(self, tensors: Sequence[Array], size: tuple[int, ...]) -> Candidates:
        """Decode them. Each box has one score, that of its class."""
        boxes, found, classes = (tensor if self.batch is None else tensor[0] for tensor in tensors)
        boxes = boxes[:, [1, 0, 3, 2]] if self.y_first else boxes

        def weights(candidate: int, category: int) -> Array:
            w = np.zeros(found.shape, np.float32)
            w[candidate] = 1
            return w

        return Candidates(boxes * _scale(boxes, size), _one_hot(found, classes), weights, complete=False)


@dataclass(frozen=True)
class SuppressedTable(_OneOutput):
    """Suppressed detections in one tensor [N, K, 6]: x1, y1, x2, y2, score, class (YOLOv10 and later)."""

    def read(self, tensors: Sequence[Array], size: tuple[int, ...]) -> Candidates:
        """Decode the tensor. Each box has one score, that of its class."""
        rows = tensors[0][0].astype(np.float64)

        def weights(candidate: int, category: int) -> Array:
            w = np.zeros(rows.shape, np.float32)
            w[candidate, 4] = 1
            return w

        boxes = rows[:, :4] * _scale(rows[:, :4], size)
        return Candidates(boxes, _one_hot(rows[:, 4], rows[:, 5]), weights, complete=False)


def _one_hot(scores: Array, classes: Array) -> Array:
    """Return [K, C] with the *scores* [K] at their *classes* [K], and 0 elsewhere."""
    columns = classes.astype(int).clip(0)
    table = np.zeros((len(scores), int(columns.max(initial=0)) + 1))
    table[np.arange(len(scores)), columns] = scores
    return table


def _corners(boxes: Array) -> Array:
    """Convert (cx, cy, w, h) to corners."""
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def _is_centred(boxes: Array) -> bool:
    """Return whether boxes are (cx, cy, w, h): as corners, many would have a right side left of the left one."""
    return bool(((boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1])).mean() > 0.05)


def _scale(boxes: Array, size: tuple[int, ...]) -> Array:
    """Return the factors from *boxes* to pixels: the image's size for boxes relative to it (values up to 2), else 1."""
    if np.abs(boxes).max(initial=0) > 2:
        return np.ones(4)
    height, width = size
    return np.array([width, height, width, height], np.float64)


def _no_object(scores: Array, places: Sequence[int], certain: bool) -> int | None:
    """Return the class of *scores* [B, C] that means "no object": the one of *places* that is best more often.

    Unless *certain*, it must be best and likely for most candidates, since an image has fewer objects than candidates.
    Scores of independent classes are all unlikely for most candidates (below 0 before sigmoid).
    """
    best, count = scores.argmax(axis=1), scores.shape[1]
    likely = scores.max(axis=1) > (0.5 if _are_probabilities(scores) else 0)
    shares = {place % count: float(((best == place % count) & (likely | certain)).mean()) for place in places}
    place = max(shares, key=lambda place: shares[place])
    return place if count > 1 and (certain or shares[place] > 0.5) else None


def _are_probabilities(scores: Array) -> bool:
    return bool(scores.min(initial=0) >= 0 and scores.max(initial=0) <= 1)


def _probabilities(scores: Array, exclusive: bool) -> Array:
    if _are_probabilities(scores):
        return scores.copy()
    return softmax(scores) if exclusive else sigmoid(scores)
