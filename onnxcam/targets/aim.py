"""Aims: the explained scalar in the graph, from a run-time input to a score and its cotangent.

The class, the weights over a tensor or the direction among embeddings are inputs, so that one graph serves all images
and targets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.core import Cotangent, backward
from onnxcam.autodiff.rulesets import past_rounding
from onnxcam.autodiff.window_elements import KnownPlace, elements
from onnxcam.autodiff.windows import Window, static_lengths
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import gradient_dtype, rank
from onnxcam.graph.io import all_tensors
from onnxcam.graph.operators import Trait, operators
from onnxcam.graph.quantisation import dequantised
from onnxcam.metadata.reserved import CHOSEN, CLASS, DIRECTION, WEIGHTS
from onnxcam.targets.heads import HEADS, width
from onnxcam.targets.scores import Scores, ScoresAt, find_scores, integer_units

__all__ = [
    "Aim",
    "AimAtScores",
    "Aimed",
    "ClassAim",
    "DirectionAim",
    "ScoresAim",
    "WeightsAim",
    "add_input",
    "emit_gradients",
    "put_out",
]

_TRANSPARENT = operators(Trait.COPIES | Trait.QUANTISES)  # no reshapes: axes are followed here


@dataclass(frozen=True)
class Aimed:
    """The scalar, as emitted into one graph."""

    value: ir.Value  # the tensor to differentiate
    seed: Cotangent  # of `value`
    score: ir.Value  # [N]
    outputs: Mapping[str, ir.Value] = field(default_factory=dict)  # [N] each, by name
    scores: Scores | None = None  # of the classes, for aims at class scores
    beside: Mapping[ir.Value, Cotangent] = field(default_factory=dict)  # further tensors and their cotangents

    @property
    def seeds(self) -> Mapping[ir.Value, Cotangent]:
        """Return the tensors to differentiate, and their cotangents."""
        return {self.value: self.seed, **self.beside}


class Aim(Protocol):
    """A kind of scalar. Equal aims of one model share a graph."""

    @property
    def input(self) -> str:
        """Return the name of the run-time input."""

    @property
    def single(self) -> bool:
        """Return whether a run takes one image only."""

    def locate(self, graph: ir.Graph) -> ir.Value:
        """Return the tensor of *graph* to differentiate."""

    def emit(self, op: Emitter, batch: Any) -> Aimed:
        """Add the input, [*batch*, …], to the emitter's graph, and emit score and cotangent."""


def emit_gradients(
    op: Emitter, aim: Aim, batch: Any, wanted: Sequence[ir.Value]
) -> tuple[Aimed, list[ir.Value | None]]:
    """Emit the score of *aim* and its gradients at the tensors *wanted*, None where nothing connects."""
    aimed = aim.emit(op, batch)
    seeds = {aimed.value: aimed.seed}
    return aimed, backward(op, seeds, wanted, past_rounding(STANDARD, seeds))


class AimAtScores:
    """An aim at class scores, which *at* finds; None finds those of the model."""

    at: ScoresAt | None
    single = False

    def locate(self, graph: ir.Graph) -> ir.Value:
        """Return the class scores."""
        return find_scores(graph, at=self.at).value


@dataclass(frozen=True)
class ClassAim(AimAtScores):
    """The score of one class, y_c. The input is the class index, int64 [N]; `TOP` selects the highest score.

    *fixed* is a class that is known when the graph is built; if the batch is fixed too, the graph has no such input.
    *at* is where the scores are; None finds them in the graph. Scores that are no output become one.
    """

    input: str = CLASS
    fixed: int | None = None
    at: ScoresAt | None = None

    def emit(self, op: Emitter, batch: Any) -> Aimed:
        """Select one class for each image."""
        if self.fixed is not None and isinstance(batch, int):
            wanted = op.const(np.full(batch, self.fixed))
        else:
            wanted = add_input(op.graph, self.input, [batch], ir.DataType.INT64)
        scores = put_out(op.graph, find_scores(op.graph, op, self.at))
        index, score = scores.select(op, wanted)
        return Aimed(scores.value, scores.seed(op, index), score, {CHOSEN: index}, scores)

    def emit_several(self, op: Emitter) -> Aimed:
        """Select M classes of one image, [M, …] each: the input is int64 [M], −r for the r-th highest score."""
        wanted = add_input(op.graph, self.input, [None], ir.DataType.INT64)
        scores = put_out(op.graph, find_scores(op.graph, op, self.at))
        index = scores.ranked(op, wanted)
        score = op.Gather(op.Reshape(scores.real(op), [-1]), index, axis=0)
        return Aimed(scores.value, scores.seed(op, index), score, {CHOSEN: index}, scores)


@dataclass(frozen=True)
class ScoresAim(AimAtScores):
    """A weighted sum of the class scores: Σ_c w_c y_c. The input is w, [N, classes]."""

    input: str = WEIGHTS
    at: ScoresAt | None = None

    def emit(self, op: Emitter, batch: Any) -> Aimed:
        """Multiply the scores of each image by its weights."""
        scores = put_out(op.graph, find_scores(op.graph, op, self.at))
        weights = add_input(op.graph, self.input, [batch, scores.classes], ir.DataType.FLOAT)
        score = _weighted_sum(op, scores.real(op), weights)
        return Aimed(scores.value, scores.weighed(op, weights), score, {}, scores)


@dataclass(frozen=True)
class WeightsAim:
    """A weighted sum Σ w · y of the elements of any tensor y, before its softmax or sigmoid if it ends in one.

    The input is w, [N, …]. *batch* is the batch axis of y; None if it has none, and N is 1. If *exact*, y is the tensor
    itself, after its softmax or sigmoid.
    """

    tensor: str
    batch: int | None = 0
    input: str = WEIGHTS
    exact: bool = False

    @property
    def single(self) -> bool:
        """Return whether the tensor has no batch axis."""
        return self.batch is None

    def locate(self, graph: ir.Graph) -> ir.Value:
        """Return y before its softmax or sigmoid."""
        return self.before_head(graph)[0]

    def emit(self, op: Emitter, batch: Any) -> Aimed:
        """Multiply the tensor of each image by its weights."""
        y = all_tensors(op.graph)[self.tensor]
        rest = [length for axis, length in enumerate(y.shape or ()) if axis != self.batch]
        return self.weigh(op, add_input(op.graph, self.input, [batch, *rest], ir.DataType.FLOAT))

    def weigh(self, op: Emitter, given: ir.Value) -> Aimed:
        """Multiply the tensor of each image by the weights *given* in the graph, float32 [N, …]."""
        value, perm = self.before_head(op.graph)
        weights = self._turned(op, given, perm)
        weights.shape = value.shape
        product = op.Mul(op.Cast(dequantised(op, value, value), to=int(ir.DataType.FLOAT)), weights)
        axes = list(range(rank(value)))
        kept = None if self.batch is None else perm[self.batch]
        score = op.ReduceSum(product, [axis for axis in axes if axis != kept], keepdims=0)
        return Aimed(value, _seed(op, weights, value), op.Reshape(score, [-1]))

    def cotangent(self, op: Emitter, given: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Return the tensor to differentiate, and its cotangent for weights *given*, of any number of images.

        The first axis is that of *given*, also where the tensor has no batch axis.
        """
        value, perm = self.before_head(op.graph)
        lengths = list(value.shape or ())
        if self.batch is None:
            order = [1 + perm.index(axis) for axis in range(len(perm))]
            turned = given if order == sorted(order) else op.Transpose(given, perm=[0, *order])
        else:
            turned, lengths = self._turned(op, given, perm), lengths[1:]
        seed = _seed(op, turned, value)
        seed.shape = ir.Shape([None, *lengths])
        return value, seed

    def windows(
        self,
        op: Emitter,
        images: ir.Value,
        pairs: Iterable[tuple[ir.Value, ir.Value]],
        places: Sequence[KnownPlace] = (),
    ) -> list[tuple[ir.Value, Window]] | None:
        """Return the tensor to differentiate with a cotangent for each of the elements *pairs* of M targets.

        *pairs* are flat indices into y of one image, int64 [M], and weights, float32 [M]; *images* the image of each
        target; *places* what is known of the place of each element. None where the first axis of the tensor is not that
        of images, or a length is open.
        """
        y = all_tensors(op.graph)[self.tensor]
        value, perm = self.before_head(op.graph)
        if self.batch != 0 or static_lengths(y) is None or perm[0] != 0:
            return None
        found = list[tuple[ir.Value, Window]]()
        for one in elements(op, y, images, pairs, places):
            spans = [one.spans[perm.index(axis)] for axis in range(len(perm))]
            found.append((value, Window.of(_seed(op, self._turned(op, one.value, perm), value), spans, value)))
        return found

    def _turned(self, op: Emitter, given: ir.Value, perm: Sequence[int]) -> ir.Value:
        """Return the weights with their axes in the order of the tensor before the head."""
        weights = self._placed(op, given, len(perm))
        if list(perm) == sorted(perm):
            return weights
        turned: ir.Value = op.Transpose(weights, perm=[perm.index(axis) for axis in range(len(perm))])
        return turned

    def _placed(self, op: Emitter, given: ir.Value, rank: int) -> ir.Value:
        """Return the input [N, …] with its axes in the order of y."""
        if self.batch is None:
            return op.Squeeze(given, [0])
        if self.batch == 0:
            return given
        order = [axis for axis in range(rank) if axis != self.batch]
        return op.Transpose(given, perm=[0 if axis == self.batch else 1 + order.index(axis) for axis in range(rank)])

    def before_head(self, graph: ir.Graph) -> tuple[ir.Value, list[int]]:
        """Return the tensor before softmax or sigmoid, and for each axis of y its axis there."""
        y = all_tensors(graph)[self.tensor]
        perm = list(range(rank(y)))
        value, node = y, None if self.exact else y.producer()
        while node is not None and node.inputs[0] is not None:
            if node.op_type in HEADS:
                return node.inputs[0], perm
            if node.op_type == "Transpose":
                order = list(node.attributes.get_ints("perm", list(range(len(perm)))[::-1]) or ())
                perm = [order[axis] for axis in perm]
            elif node.op_type not in _TRANSPARENT:
                break
            value = node.inputs[0]
            node = value.producer()
        return y, list(range(rank(y)))


@dataclass(frozen=True)
class DirectionAim:
    """The projection of a normalised embedding y on a direction d: y · d / |y|. The input is d, [N, D].

    Of tokens [N, T, D] and of a grid [N, D, h, w], y is the mean.

    It is the cosine if d is the unit vector of a reference, and a triplet's margin if d is the difference of two.
    """

    tensor: str
    input: str = DIRECTION
    single = False

    def locate(self, graph: ir.Graph) -> ir.Value:
        """Return the embedding."""
        return all_tensors(graph)[self.tensor]

    def emit(self, op: Emitter, batch: Any) -> Aimed:
        """Add the direction as an input."""
        return self.point(op, add_input(op.graph, self.input, [batch, self.length(op.graph)], ir.DataType.FLOAT))

    def length(self, graph: ir.Graph) -> Any:
        """Return the number D of an embedding."""
        value = self.locate(graph)
        axes = _averaged(value)
        return value.shape[2 if axes == [1] else 1] if axes and value.shape is not None else width(value)

    def unit(self, op: Emitter, like: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Return y / |y| and |y|, of the shape of *like*, [N, D], and [N, 1]."""
        value = self.locate(op.graph)
        axes, real = _averaged(value), dequantised(op, value, value)
        mean = op.ReduceMean(real, axes, keepdims=0) if axes else op.Reshape(real, op.Shape(like))
        y = op.Cast(mean, to=int(ir.DataType.FLOAT))
        norm = op.Max(op.ReduceL2(y, [1], keepdims=1), op.const(1e-12, ir.DataType.FLOAT))
        return op.Div(y, norm), norm

    def point(self, op: Emitter, d: ir.Value) -> Aimed:
        """∂ (y · d / |y|) / ∂y = (d − (d · ŷ) ŷ) / |y|, for a direction *d* in the graph, float32 [N, D]."""
        value = self.locate(op.graph)
        axes = _averaged(value)
        unit, norm = self.unit(op, d)
        score = op.ReduceSum(op.Mul(unit, d), [1], keepdims=1)
        slope = op.Div(op.Sub(d, op.Mul(score, unit)), norm)
        for axis in axes:
            slope = op.Div(op.Unsqueeze(slope, [axis]), op.Cast(op.dim(value, axis), to=int(ir.DataType.FLOAT)))
        spread = op.Expand(slope, op.Shape(value)) if axes else op.reshape_like(slope, value)
        return Aimed(value, _seed(op, spread, value), op.Squeeze(score, [1]))


def _averaged(y: ir.Value) -> list[int]:
    """Return the axes over which the embeddings *y* are averaged: tokens [N, T, D], or a grid [N, D, h, w]."""
    lengths = list(y.shape or ())
    if len(lengths) == 3 and lengths[1] != 1:
        return [1]
    return [2, 3] if len(lengths) == 4 and any(n != 1 for n in lengths[2:]) else []


def put_out(graph: ir.Graph, scores: Scores) -> Scores:
    """Make an output of the tensor with the scores, if it is none."""
    if all(y.name != scores.output for y in graph.outputs):
        graph.outputs.append(all_tensors(graph)[scores.output])
    return scores


def add_input(graph: ir.Graph, name: str, shape: Sequence[Any], dtype: ir.DataType) -> ir.Value:
    """Return a new input of *graph*."""
    value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))
    graph.inputs.append(value)
    return value


def _seed(op: Emitter, weights: ir.Value, value: ir.Value) -> ir.Value:
    """Return *weights*, which apply to real numbers, as the cotangent of *value*, which may be quantised."""
    known = integer_units(value)
    scaled = weights if known is None else op.Mul(weights, op.Reshape(known.scale, [1]))
    return op.Cast(scaled, to=int(gradient_dtype(value)))


def _weighted_sum(op: Emitter, y: ir.Value, weights: ir.Value) -> ir.Value:
    return op.ReduceSum(op.Mul(op.Cast(y, to=int(ir.DataType.FLOAT)), weights), [1], keepdims=0)
