"""Detections in the graph: the decoder's numpy code as operators, suppression, and the best candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from onnxcam.errors import ModelError
from onnxcam.graph.emitter import Emitter
from onnxcam.targets.aim import WeightsAim
from onnxcam.targets.detectors.candidates import Aimer, Candidates
from onnxcam.targets.detectors.traced_steps import Traced
from onnxcam.targets.goal import Array

__all__ = [
    "GraphCandidates",
    "GraphDetections",
    "GraphElements",
    "emit_candidates",
    "emit_detections",
    "emit_elements",
    "emit_weights",
]

_INT, _FLOAT = int(ir.DataType.INT64), int(ir.DataType.FLOAT)
_ONE_IMAGE = (
    "the rows of all images are together in the output {!r}, so only a model of a fixed batch of one image can be "
    "baked; fix it: onnxruntime.tools.make_dynamic_shape_fixed"
)

_Read = Callable[[Sequence[Any], tuple[int, ...]], Candidates]
"""From the tensors of one image, and its size, to its candidates."""

GraphElements: TypeAlias = "list[tuple[ir.Value, ir.Value]]"
"""Flat indices into a tensor of one image, int64 [N · K], and weights, float32 [N · K]; one pair for each element."""


@dataclass(frozen=True)
class GraphCandidates:
    """The candidates of N images in a graph: B boxes.

    Attributes:
        corners: [N, B, 4] in pixels of the image tensor; None where no place is known.
        scores: The score of the best class, [N, B].
        classes: The best class, int64 [N, B].
        width: The number of classes, int64 [1].
        count: The number of candidates; None where it is open.
        aim: Gives the elements of scores.
    """

    corners: ir.Value | None
    scores: ir.Value
    classes: ir.Value
    width: ir.Value
    count: int | None
    aim: Aimer


@dataclass(frozen=True)
class GraphDetections:
    """The K best detections of N images in a graph; what is no detection has the score 0 and the class -1.

    Attributes:
        boxes: [N, K, 4], x1, y1, x2, y2; zero where there is no detection or no known place.
        scores: [N, K].
        classes: int64 [N, K].
        candidates: int64 [N, K].
        found: bool [N, K], whether there is such a detection.
    """

    boxes: ir.Value
    scores: ir.Value
    classes: ir.Value
    candidates: ir.Value
    found: ir.Value


def _traced(op: Emitter, value: ir.Value, samples: Sequence[Array], batch: Any) -> Traced:
    """Return *value*, [N, …] for a *batch* of N, as the array [1, …] of one image; *samples* are of single images."""
    first = value.shape[0] if value.shape else None
    if batch != 1 and (first is None or first != batch):
        raise ModelError(_ONE_IMAGE.format(value.name))
    whole = op.Unsqueeze(value, [0 if batch == 1 else 1])
    kind = _INT if samples[0].dtype.kind in "iu" else _FLOAT
    known = value.dtype is not None and int(value.dtype) == kind
    return Traced(op, samples, whole if known or samples[0].dtype.kind == "b" else op.Cast(whole, to=kind))


def emit_candidates(
    op: Emitter,
    read: _Read,
    tensors: Sequence[ir.Value],
    samples: Sequence[Sequence[Array]],
    batch: Any,
    size: tuple[int, ...],
) -> GraphCandidates:
    """Run *read* on *tensors* of the graph; *samples* are their values for each of a few images of *size*.

    ModelError where a step has no operator, or where the samples do not agree in a decision.
    """
    given = [_traced(op, value, rows, batch) for value, rows in zip(tensors, zip(*samples, strict=True), strict=True)]
    seen: Any = read(given, size)
    scores, classes = seen.scores.max(axis=1), seen.scores.argmax(axis=1)
    first = 0 if batch == 1 else 1  # rows of one image may be the first axis
    is_open = any(not isinstance(length, int) for value in tensors for length in (value.shape or ())[first:])
    return GraphCandidates(
        seen.corners.tensor if isinstance(seen.corners, Traced) else None,
        scores.tensor,
        classes.tensor,
        op.dim(seen.scores.tensor, 2),
        None if is_open or not all(value.shape for value in tensors) else len(seen.scores),
        seen.aim,
    )


def emit_detections(
    op: Emitter, seen: GraphCandidates, count: int, threshold: ir.Value, overlap: float
) -> GraphDetections:
    """Emit the *count* best detections of at least *threshold*, float32 [1].

    Boxes of a class that overlap by more than *overlap* are of the same object. The detections are those of
    `onnxcam.targets.detection.detections`, in its order.
    """
    seen = seen if seen.count is not None and seen.count >= count else _padded(op, seen, count)
    kept = (
        _likely(op, seen.scores, threshold)
        if seen.corners is None
        else _suppressed(op, seen, count, threshold, overlap)
    )
    scores, rows = op.TopK(kept, [count], axis=1, outputs=2)
    found = op.Greater(scores, 0.0)
    classes = op.Where(found, op.GatherElements(seen.classes, rows, axis=1), op.const(np.array(-1)))
    if seen.corners is None:
        boxes = op.Expand(op.const(np.zeros((1, 1, 4), np.float32)), op.Concat(op.Shape(rows), [4], axis=0))
    else:
        at = op.GatherND(seen.corners, op.Unsqueeze(rows, [2]), batch_dims=1)
        boxes = op.Where(op.Unsqueeze(found, [2]), at, 0.0)
    return GraphDetections(boxes, scores, classes, rows, found)


def _padded(op: Emitter, seen: GraphCandidates, count: int) -> GraphCandidates:
    """Return *seen* with *count* further candidates of score 0, for graphs that may propose fewer."""
    images = op.dim(seen.scores, 0)

    def more(value: ir.Value, *lengths: int) -> ir.Value:
        zero = op.const(np.zeros([1] * (1 + len(lengths)), np.int64 if value is seen.classes else np.float32))
        return op.Concat(value, op.Expand(zero, op.Concat(images, list(lengths), axis=0)), axis=1)

    corners = None if seen.corners is None else more(seen.corners, count, 4)
    scores, classes = more(seen.scores, count), more(seen.classes, count)
    return replace(seen, corners=corners, scores=scores, classes=classes, count=None)


def _likely(op: Emitter, scores: ir.Value, threshold: ir.Value) -> ir.Value:
    return op.Where(op.Less(scores, threshold), 0.0, scores)


def _suppressed(op: Emitter, seen: GraphCandidates, count: int, threshold: ir.Value, overlap: float) -> ir.Value:
    """Return the scores [N, B], 0 for those that non-maximum suppression in each class drops."""
    assert seen.corners is not None
    every = op.Reshape(op.Range(0, op.Squeeze(seen.width, [0]), 1), [1, -1, 1])
    own = op.Equal(op.Unsqueeze(seen.classes, [1]), every)
    by_class = op.Where(own, op.Unsqueeze(seen.scores, [1]), 0.0)
    first, last = op.Split(seen.corners, [2, 2], axis=2, outputs=2)
    boxes = op.Concat(first, op.Max(first, last), axis=2)  # a box that is turned over suppresses none
    limit = op.const(np.array([overlap], np.float32))
    kept = op.NonMaxSuppression(boxes, by_class, op.const(np.array([count])), limit, threshold)
    places = op.Gather(kept, op.const(np.array([0, 2])), axis=1)
    nothing = op.ConstantOfShape(op.Shape(seen.scores), value=ir.tensor(np.zeros(1, np.float32)))
    return op.ScatterND(nothing, places, op.GatherND(seen.scores, places))


def emit_elements(op: Emitter, seen: GraphCandidates, found: GraphDetections) -> list[tuple[WeightsAim, GraphElements]]:
    """Return for each tensor of scores its aim and the elements of it that the scores of all detections are made of."""
    sample = [np.zeros(1, np.int64)]
    candidate, category = Traced(op, sample, found.candidates), Traced(op, sample, op.Max(found.classes, 0))
    elements = seen.aim.elements(candidate, category)

    def own(number: int) -> GraphElements:
        parts = [(each.index, each.weight) for each in elements if each.tensor == number]
        return [(_value(op, index, found.found, 0), _value(op, weight, found.found, 0.0)) for index, weight in parts]

    return [(aim, own(number)) for number, (aim, _) in enumerate(seen.aim.tensors)]


def emit_weights(
    op: Emitter, seen: GraphCandidates, found: GraphDetections, tensors: Mapping[str, ir.Value]
) -> list[tuple[WeightsAim, ir.Value]]:
    """Return for each tensor of scores its aim, and its weights [N · K, …] for all detections.

    *tensors* are those of the graph, by name.
    """
    weights = []
    for aim, own in emit_elements(op, seen, found):
        pairs = [(op.Unsqueeze(index, [1]), op.Unsqueeze(weight, [1])) for index, weight in own]
        lengths = op.Shape(tensors[aim.tensor], start=0 if aim.batch is None else 1)
        flat = _scattered(op, pairs, op.ReduceProd(lengths, [0], keepdims=1), seen.count is None)
        weights.append((aim, op.Reshape(flat, op.Concat(op.dim(flat, 0), lengths, axis=0))))
    return weights


def _value(op: Emitter, x: Any, found: ir.Value, zero: float) -> ir.Value:
    """Return *x* of the detections, [N · K], with *zero* where none is *found*."""
    given = x.tensor if isinstance(x, Traced) else float(x) if isinstance(zero, float) else int(x)
    return op.Reshape(op.Where(found, given, zero), [-1])


def _scattered(op: Emitter, elements: Sequence[tuple[ir.Value, ir.Value]], size: ir.Value, is_open: bool) -> ir.Value:
    """Return [N, *size*] with weights [N, 1] at places [N, 1], and 0 elsewhere; *is_open*: the size may be 0."""
    if is_open:
        every = op.Unsqueeze(op.Range(0, op.Squeeze(size, [0]), 1), [0])
        hot = [op.Mul(op.Cast(op.Equal(every, index), to=_FLOAT), weight) for index, weight in elements]
        return op.total(*hot)
    indices, weights = (op.Concat(*each, axis=1) for each in zip(*elements, strict=True))
    shape = op.Concat(op.dim(elements[0][0], 0), size, axis=0)
    nothing = op.ConstantOfShape(shape, value=ir.tensor(np.zeros(1, np.float32)))
    return op.ScatterElements(nothing, indices, weights, axis=1)
