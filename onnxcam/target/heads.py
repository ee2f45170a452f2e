"""Detectors: in which tensors of the graph boxes and scores stand, and how they are read.

A head gives every candidate's corners (x1, y1, x2, y2) in the tensor's pixels and its scores, and, to be explained,
the weights over one tensor whose weighted sum is a candidate's score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.infer import no_numbers
from onnxcam.layout import Grid
from onnxcam.target.aim import WeightsAim
from onnxcam.target.task import Array

NO_OBJECT = frozenset(("background", "no-object", "no object", "n/a", "__background__"))


@dataclass(frozen=True)
class Candidates:
    """Everything that a detector proposes for one picture: B boxes of C classes."""

    corners: Array  # [B, 4] in the tensor's pixels
    scores: Array  # [B, C], probabilities
    weights: Callable[[int, int], Array]  # of a candidate and class: over the head's tensor, without the picture's axis


class Head(Protocol):
    """Where a detector's boxes and scores stand."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return the tensors that `read` takes."""

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the tensor of scores."""

    def read(self, tensors: Sequence[Array], size: tuple[int, ...]) -> Candidates:
        """Read the *tensors* of one picture, of *size* (height, width)."""


@dataclass(frozen=True)
class Yolo:
    """One tensor of cx, cy, w, h and scores: [N, 4 + C, B] (v8 to v11), or [N, B, 5 + C] with objectness (v5, v7)."""

    output: str
    last: int  # 2 where candidates come last
    objectness: bool

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return the one output."""
        return (self.output,)

    @property
    def aim(self) -> WeightsAim:
        """Return weights over it."""
        return WeightsAim(self.output)

    def read(self, tensors: Sequence[Array], size: tuple[int, ...]) -> Candidates:
        """Read it; a score is that of the class, by the objectness where there is one."""
        (y,) = tensors
        rows = y[0].T if self.last == 2 else y[0]
        first = 5 if self.objectness else 4
        found = rows[:, first:] * rows[:, 4:5] if self.objectness else rows[:, first:]
        corners = _corners(rows[:, :4]) * _scale(rows[:, :4], size)

        def weights(candidate: int, category: int) -> Array:
            w = np.zeros(rows.shape, np.float32)
            if self.objectness:  # o s = ½ (s · o + o · s), and the halves are its derivatives
                w[candidate, 4] = rows[candidate, first + category] / 2
                w[candidate, first + category] = rows[candidate, 4] / 2
            else:
                w[candidate, first + category] = 1
            return w.T if self.last == 2 else w

        return Candidates(corners, found, weights)


@dataclass(frozen=True)
class Pair:
    """Scores [N, B, C] and boxes [N, B, 4]: SSD, Ultraface, DETR; before NonMaxSuppression [N, C, B] and y, x first."""

    scores: str
    boxes: str
    classes_first: bool = False
    y_first: bool = False
    centred: bool | None = None  # None: seen from the numbers
    drop: int | None = None  # the class that is no object

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return both."""
        return self.scores, self.boxes

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the scores."""
        return WeightsAim(self.scores)

    def read(self, tensors: Sequence[Array], size: tuple[int, ...]) -> Candidates:
        """Read both. Scores that are no probabilities pass through softmax, or sigmoid where no class is dropped."""
        scores, boxes = tensors[0][0].astype(np.float64), tensors[1][0].astype(np.float64).reshape(-1, 4)
        raw = scores.shape
        scores = scores.T if self.classes_first else scores
        boxes = boxes[:, [1, 0, 3, 2]] if self.y_first else boxes
        scores = _probabilities(scores, exclusive=self.drop is not None)
        if self.drop is not None:
            scores[:, self.drop] = 0
        centred = _is_centred(boxes) if self.centred is None else self.centred
        corners = (_corners(boxes) if centred else boxes) * _scale(boxes, size)

        def weights(candidate: int, category: int) -> Array:
            w = np.zeros(raw, np.float32)
            w[(category, candidate) if self.classes_first else (candidate, category)] = 1
            return w

        return Candidates(corners, scores, weights)


@dataclass(frozen=True)
class Final:
    """What comes out of a graph that ends in its own suppression: boxes [N, K, 4], scores [N, K] and classes [N, K].

    The axis of pictures may be missing. Or all three are columns of one tensor [N, K, 6].
    """

    boxes: str
    scores: str
    classes: str
    y_first: bool = False
    batch: int | None = 0

    @property
    def tensors(self) -> tuple[str, ...]:
        """Return all three."""
        return self.boxes, self.scores, self.classes

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the scores."""
        return WeightsAim(self.scores, self.batch)

    def read(self, tensors: Sequence[Array], size: tuple[int, ...]) -> Candidates:
        """Read them as one score a box, that of its class."""
        y = tensors[1]
        if self.boxes == self.scores:
            table = y[0].astype(np.float64)
            boxes, found, labels = table[:, :4], table[:, 4], table[:, 5]
        else:
            boxes, found, labels = (
                tensor.reshape(-1, *tensor.shape[2 if self.batch == 0 else 1 :]) for tensor in tensors
            )
        labels = labels.astype(int).clip(0)
        boxes = boxes[:, [1, 0, 3, 2]] if self.y_first else boxes
        scores = np.zeros((len(boxes), int(labels.max(initial=0)) + 1))
        scores[np.arange(len(boxes)), labels] = found

        def weights(candidate: int, category: int) -> Array:
            w = np.zeros(y.shape if self.batch is None else y.shape[1:], np.float32)
            w[(candidate, 4) if self.boxes == self.scores else candidate] = 1
            return w

        return Candidates(boxes * _scale(boxes, size), scores, weights)


def find_head(graph: ir.Graph, layout: Grid, image: ir.Value, labels: int | None, known: bool) -> Head | None:
    """Return where *graph* holds detections; None where it does not look like a detector.

    *labels* is the number of class names, *known* that the file says it is one.
    """
    outputs = [y for y in graph.outputs if no_numbers(y) is None and y.shape is not None]
    by_rank = {rank: [y for y in outputs if y.shape is not None and len(y.shape) == rank] for rank in (1, 2, 3)}
    return (
        _suppressed(graph)
        or _final(by_rank, graph)
        or _pair(by_rank[3], labels)
        or next((head for y in by_rank[3] if (head := _yolo(y, layout.size(image), labels, known))), None)
    )


def _suppressed(graph: ir.Graph) -> Head | None:
    """Boxes and scores as NonMaxSuppression takes them, where both are the model's own, not made for the node."""
    for node in graph:
        if node.op_type == "NonMaxSuppression" and node.inputs[0] is not None and node.inputs[1] is not None:
            boxes, scores = node.inputs[0], node.inputs[1]
            if scores.shape is not None and len(scores.shape) == 3 and scores.shape[1] == 1:
                continue  # one class after another, or boxes shifted by their class
            centred = bool(node.attributes.get_int("center_point_box", 0))
            return Pair(scores.name or "", boxes.name or "", True, not centred and _writes_y_first(graph), centred)
    return None


def _writes_y_first(graph: ir.Graph) -> bool:
    """Boxes of TensorFlow are y, x; PyTorch's exporters hand over x, y, which overlap just the same."""
    return not any("pkg.torch.onnx" in key for node in graph for key in node.metadata_props)


def _final(by_rank: dict[int, list[ir.Value]], graph: ir.Graph) -> Head | None:
    inside = any(node.op_type in ("NonMaxSuppression", "TopK") for node in graph.all_nodes())
    for y in by_rank[3]:
        if _dims(y)[2] == 6 and inside and len(graph.outputs) == 1:
            return Final(y.name or "", y.name or "", y.name or "")
    for boxes, rest, batch in (
        *((y, by_rank[2], 0) for y in by_rank[3]),
        *((y, by_rank[1], None) for y in by_rank[2]),
    ):
        if _dims(boxes)[-1] != 4 or not inside:
            continue
        rows = [y for y in rest if y.dtype is not None]
        floating = [y for y in rows if y.dtype is not None and y.dtype.is_floating_point()]
        scores = next((y for y in floating if "score" in (y.name or "").lower()), floating[0] if floating else None)
        classes = next(
            (y for y in rows if "class" in (y.name or "").lower() or "label" in (y.name or "").lower()), None
        )
        classes = classes or next((y for y in rows if y is not scores), None)
        if scores is not None and classes is not None:
            y_first = batch == 0 and _writes_y_first(graph)
            return Final(boxes.name or "", scores.name or "", classes.name or "", y_first, batch)
    return None


def _pair(values: Sequence[ir.Value], labels: int | None) -> Pair | None:
    """Scores and boxes of as many candidates; a detector with several such pairs is none of these."""
    boxes = [y for y in values if _dims(y)[2] == 4]
    pairs = [
        (scores, one)
        for one in boxes
        for scores in values
        if scores is not one and _alike(_dims(one)[1], _dims(scores)[1])
    ]
    if len(boxes) > 2 or not pairs or len({one for _, one in pairs}) > 1:
        return None
    scores, one = pairs[0]
    count, node = _dims(scores)[2], scores.producer()
    last = "logit" in (scores.name or "").lower()  # DETR has its "no object" last, SSD its background first
    exclusive = (
        last or (node is not None and node.op_type == "Softmax") or (isinstance(count, int) and labels == count - 1)
    )
    return Pair(scores.name or "", one.name or "", drop=(-1 if last else 0) if exclusive else None)


def _yolo(y: ir.Value, size: tuple[object, ...], labels: int | None, known: bool) -> Head | None:
    _, rows, columns = _dims(y)
    anchors = _anchors(size)
    for last, channels, count in ((2, rows, columns), (1, columns, rows)):
        if not isinstance(channels, int) or channels < 5:
            continue
        if (
            known
            or count in anchors
            or (labels is not None and channels in (4 + labels, 5 + labels) and count != channels)
        ):
            objectness = channels == 5 + labels if labels is not None else last == 1
            if (
                not known
                or not isinstance(count, int)
                or count > channels
                or (labels or 0) + 4 <= channels <= (labels or 0) + 5
            ):
                return Yolo(y.name or "", last, objectness)
    return None


def _anchors(size: tuple[object, ...]) -> set[int]:
    """Return how many candidates a YOLO head has for a picture of *size*: cells at strides 8, 16, 32, by 1 or 3."""
    numbers = [length for length in size if isinstance(length, int)]
    if len(numbers) != 2:
        return set()
    h, w = numbers
    cells = [(h // stride) * (w // stride) for stride in (8, 16, 32, 64)]
    return {each * sum(cells[:count]) for each in (1, 3) for count in (3, 4)} - {0}


def _dims(y: ir.Value) -> list[object]:
    return [dim if isinstance(dim, int) else None for dim in y.shape] if y.shape is not None else []


def _alike(one: object, other: object) -> bool:
    return one is None or other is None or one == other


def _corners(boxes: Array) -> Array:
    """Return (cx, cy, w, h) as corners."""
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def _is_centred(boxes: Array) -> bool:
    """Whether these are no corners: widths stand where the right sides would be."""
    return bool(((boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1])).mean() > 0.05)


def _scale(boxes: Array, size: tuple[int, ...]) -> Array:
    """Return the factor that takes *boxes* to pixels: boxes within [0, 1] are parts of the picture."""
    if np.abs(boxes).max(initial=0) > 2:
        return np.ones(4)
    height, width = size
    return np.array([width, height, width, height], np.float64)


def _probabilities(scores: Array, exclusive: bool) -> Array:
    if scores.min(initial=0) >= 0 and scores.max(initial=0) <= 1:
        return scores.copy()
    if not exclusive:
        return 1 / (1 + np.exp(-scores))
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)
