"""Class scores: the output that holds them, the tensor where they are linear, and their probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.core import Cotangent, OneHot, is_column
from onnxcam.autodiff.table import COMPOSITIONS
from onnxcam.errors import TargetError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.fold import constant
from onnxcam.graph.infer import gradient_dtype, no_numbers
from onnxcam.graph.io import all_tensors
from onnxcam.graph.quantisation import Units, dequantised, units
from onnxcam.metadata.labels import ClassNames
from onnxcam.structure.layout import picture_layout
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.heads import HEADS, TRANSPARENT, before_head, width
from onnxcam.targets.vectors import SCORES, Vector, vectors

__all__ = [
    "ROUNDING",
    "TOP",
    "Scores",
    "ScoresAt",
    "are_exclusive",
    "both_classes",
    "find_scores",
    "group_probability",
    "integer_units",
    "is_no_probability",
    "missing_head",
    "probabilities",
    "probability",
    "real_scores",
    "shown_probability",
    "sigmoid",
    "softmax",
    "to_probabilities",
]

TOP = -1
"""The class index that means the class with the highest score."""
ROUNDING = 0.02
"""A quantised probability exceeds 1 at most by this."""


@dataclass(frozen=True)
class ScoresAt:
    """Where a model has its class scores, as `find_scores` finds them again in another copy of the graph.

    Attributes:
        tensor: The vector, an output or an inner tensor.
        classes: The number of classes.
        head: What its numbers are where the graph does not show it: see `Head`.
        pair: A single score or probability is that of the second of two classes.
        whole: The number that means the probability 1.
    """

    tensor: str
    classes: int
    head: str | None = None
    pair: bool = False
    whole: float = 1

    @classmethod
    def of(cls, vector: Vector, *, pair: bool = False) -> ScoresAt:
        """Return the place of *vector*."""
        return cls(vector.name, 2 if pair else vector.width, vector.head.name, pair, vector.head.whole)


@dataclass(frozen=True)
class Scores:
    """The class scores before softmax or sigmoid: only these and reshapes follow."""

    value: ir.Value  # the tensor to differentiate
    shown: ir.Value  # the same value after rounding, in a quantised model
    output: str  # the tensor with the scores or probabilities, a graph output unless ranks hide it
    head: str | None  # the function that follows: "softmax", "logsoftmax", "sigmoid", or None
    classes: int
    output_units: Units | None = None  # of an output of integers, or in percent
    pair: int = 0  # `value` is one number z: the scores of the two classes are −z, z (1), or z, −z (−1)

    def are_exclusive(self, multi_label: bool = False) -> bool:
        """Return whether classes exclude each other; *multi_label*: the card or config.json says that they do not."""
        return self.pair != 0 or are_exclusive(self.head, multi_label)

    @property
    def is_single(self) -> bool:
        """Whether the output has one number for two classes."""
        return self.pair != 0 and self.classes == 2 and self.head != "softmax"

    def select(self, op: Emitter, wanted: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Return class index and score, [N] each; *wanted* is int64 [N] or [1], `TOP` for the highest score."""
        flat, known = self.flat(op, self.shown), constant(wanted)
        if known is not None and (known >= 0).all():
            index = wanted
        else:
            index = op.Where(op.Less(wanted, 0), op.ArgMax(flat, axis=1, keepdims=0), wanted)
        score = op.GatherND(flat, op.Unsqueeze(index, [1]), batch_dims=1)
        return index, score if self.pair else dequantised(op, score, self.shown)

    def ranked(self, op: Emitter, wanted: ir.Value) -> ir.Value:
        """Return the classes *wanted* of one image, int64 [M], where −r is the class with the r-th highest score."""
        flat = op.Cast(self.flat(op, self.shown), to=int(ir.DataType.FLOAT))
        _, order = op.TopK(flat, op.const(np.array([self.classes])), outputs=2)
        rank = op.Max(op.Sub(op.Neg(wanted), 1), 0)
        return op.Where(op.Less(wanted, 0), op.Gather(op.Reshape(order, [-1]), rank, axis=0), wanted)

    def real(self, op: Emitter) -> ir.Value:
        """Return the scores as real numbers, [N, classes]."""
        flat = self.flat(op, self.shown)
        return flat if self.pair else dequantised(op, flat, self.shown)

    def seed(self, op: Emitter, index: ir.Value) -> Cotangent:
        """Return the cotangent of `value` for the score of class *index*."""
        if self.pair:
            sign = op.Sub(op.Mul(op.Cast(index, to=int(ir.DataType.FLOAT)), 2.0), 1.0)
            return self._seed(op, op.Mul(sign, float(self.pair)))
        flat, known = self.flat(op, self.value), integer_units(self.value)
        hot = OneHot(index)
        if known is not None:
            hot = OneHot(index, op.Expand(op.Reshape(known.scale, [1]), op.Shape(index)))
        if flat is self.value or is_column(self.value, self.classes):
            return hot
        return op.reshape_like(hot.dense(op, flat), self.value)

    def weighed(self, op: Emitter, weights: ir.Value) -> Cotangent:
        """Return the cotangent of `value` for the sum of the scores by *weights*, [N, classes]."""
        if self.pair:
            signs = op.const(np.array([-self.pair, self.pair], np.float32))
            return self._seed(op, op.ReduceSum(op.Mul(weights, signs), [1], keepdims=0))
        return self._seed(op, weights)

    def _seed(self, op: Emitter, weights: ir.Value) -> Cotangent:
        """Return *weights*, which apply to real numbers, as the cotangent of `value`."""
        known = integer_units(self.value)
        scaled = weights if known is None else op.Mul(weights, op.Reshape(known.scale, [1]))
        return op.reshape_like(op.Cast(scaled, to=int(gradient_dtype(self.value))), self.value)

    def flat(self, op: Emitter, scores: ir.Value) -> ir.Value:
        """Return *scores* as [N, classes]."""
        if self.pair:
            one = dequantised(op, op.Reshape(scores, [-1, 1]), scores)
            both = op.Concat(*((op.Neg(one), one) if self.pair > 0 else (one, op.Neg(one))), axis=1)
            both.shape = ir.Shape([None, 2])
            return both
        shape = scores.shape
        if shape is not None and len(shape) == 2 and shape[1] == self.classes:
            return scores
        flat = op.Reshape(scores, [-1, self.classes])
        flat.shape = ir.Shape([None, self.classes])
        return flat


def find_scores(graph: ir.Graph, op: Emitter | None = None, at: ScoresAt | None = None) -> Scores:
    """Return the class scores of *graph*, traced back through softmax or sigmoid: those *at* a known place, else found.

    The value of a fused operator before rounding is added to the graph by *op*, or by an emitter of its own; pass the
    emitter that is in use, so that names stay unique. TargetError if no output is a vector of scores.
    """
    at = _place(graph) if at is None else at
    output = {**all_tensors(graph), **{y.name or "": y for y in graph.outputs}}[at.tensor]
    head = before_head(output)
    if head.pair:
        return Scores(head.before, head.before, at.tensor, head.name, 2, integer_units(output), head.pair)
    value = _before_rounding(head.before, op)
    known = integer_units(output) if at.whole == 1 else _scaled(integer_units(output), at.whole)
    return Scores(value, head.before, at.tensor, head.name or at.head, at.classes, known, int(at.pair))


def _scaled(known: Units | None, whole: float) -> Units | None:
    """Return the units of probabilities of which *whole* means 1; *known* are those of the integers."""
    scale = 1.0 if known is None else known.known[0] if known.known is not None else None
    return None if scale is None else Units(Units.of(scale / whole).scale, None if known is None else known.zero)


def _place(graph: ir.Graph) -> ScoresAt:
    """Return the place of the scores by the graph alone; TargetError where it shows none."""
    inputs = list(graph.inputs)
    image = next((x for x in inputs if picture_layout(x) is not None), inputs[0] if inputs else None)
    found = [] if image is None else vectors(Evidence(graph, image, ClassNames()))
    best = next((one for one in found if one.role == SCORES), found[0] if found else None)
    if best is None:
        shapes = ", ".join(f"{value.name!r} {no_numbers(value) or value.shape}" for value in graph.outputs)
        raise TargetError(
            f"no output of the model is a vector of class scores: {shapes}; name what to explain (docs/targets.md)"
        )
    return ScoresAt.of(best)


def _before_rounding(output: ir.Value, op: Emitter | None) -> ir.Value:
    """Return the real scores that were quantised to *output*; *output* itself if it is not quantised.

    Quantised logits are often clipped where the network is confident, and clipping stops the gradient. If an operator
    such as QGemm rounds by itself, its value before rounding is added to the graph.
    """
    value: ir.Value | None = output
    while value is not None and (node := value.producer()) is not None:
        real = node.inputs[0]
        if (node.domain, node.op_type) in COMPOSITIONS and node.op_type not in HEADS:
            real = _composed(node, op)
        elif node.op_type not in TRANSPARENT:
            break
        rounded = node.op_type == "QuantizeLinear" or (node.domain, node.op_type) in COMPOSITIONS
        if rounded:
            return real if real is not None and width(real) == width(output) else output
        value = real
    return output


def _composed(node: ir.Node, op: Emitter | None) -> ir.Value | None:
    """Add the value of *node* before rounding to its graph; None if it does not round."""
    if node.graph is None:
        return None
    op = Emitter(node.graph) if op is None else op
    _, (y, *_) = COMPOSITIONS.compose(op, node)
    last = None if y is None else y.producer()
    real = last.inputs[0] if last is not None and last.op_type == "QuantizeLinear" else None
    op.place([] if real is None else [real])
    return real


def integer_units(x: ir.Value) -> Units | None:
    """Return the scale and zero point of the integers *x*; None for floats, or where they are unknown."""
    return None if x.dtype is None or x.dtype.is_floating_point() else units(x)


def real_scores(scores: Scores, values: np.ndarray) -> np.ndarray | None:
    """Return one image's *values* of the output as real numbers, float64 [K]; None for integers of unknown scale.

    Percentages become numbers from 0 to 1.

    For one number of two classes they are both probabilities, or both scores.
    """
    known = scores.output_units.known if scores.output_units is not None else None
    if np.issubdtype(values.dtype, np.integer) and known is None:
        return None
    scale, zero = known or (1.0, 0)
    real: np.ndarray = (values.reshape(-1).astype(np.float64) - zero) * scale
    if scores.pair and len(real) == 1:
        return both_classes(real, scores.head)
    return real


def both_classes(real: np.ndarray, head: str | None) -> np.ndarray:
    """Return two probabilities, or two scores with their softmax, of one number for the second of two classes."""
    return np.concatenate([1 - real, real] if head == "sigmoid" else [-real / 2, real / 2])


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return exp(x) / Σ exp(x) along *axis*, without overflow."""
    exponentials = np.exp(x - x.max(axis=axis, keepdims=True))
    found: np.ndarray = exponentials / exponentials.sum(axis=axis, keepdims=True)
    return found


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(−x)), without overflow."""
    found: np.ndarray = np.exp(-np.logaddexp(0, -x))
    return found


def are_exclusive(head: str | None, multi_label: bool = False) -> bool:
    """Return whether classes exclude each other: not behind a sigmoid, and not if the card says *multi_label*."""
    return head != "sigmoid" and not multi_label


def missing_head(head: str | None, classes: int, *, exclusive: bool) -> str:
    """Return the function from scores behind *head* to probabilities: "none", "exp", "sigmoid" or "softmax"."""
    if head in ("softmax", "sigmoid", "logsoftmax"):
        return "exp" if head == "logsoftmax" else "none"
    return "softmax" if exclusive and classes > 1 else "sigmoid"


_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": np.asarray,
    "exp": np.exp,
    "sigmoid": sigmoid,
    "softmax": softmax,
}


def to_probabilities(real: np.ndarray, head: str | None, *, exclusive: bool) -> np.ndarray:
    """Return the probabilities, float64 [K], of real scores [K] behind *head*, for *exclusive* classes or not."""
    function = _FUNCTIONS[missing_head(head, len(real), exclusive=exclusive)]
    return np.asarray(function(real.astype(np.float64)))


def probabilities(scores: Scores, values: np.ndarray, multi_label: bool) -> np.ndarray | None:
    """Return the probabilities, float64 [K], in one image's *values* of the output.

    They are the values themselves where the graph ends in softmax or sigmoid; else the softmax of the scores, or their
    sigmoid if classes do not exclude each other. None for integers of unknown scale, and for numbers above 1.
    """
    real = real_scores(scores, values)
    if real is None:
        return None
    found = to_probabilities(real, scores.head, exclusive=scores.are_exclusive(multi_label))
    return None if is_no_probability(found.max(initial=0)) else found.clip(0, 1)


def is_no_probability(value: float) -> bool:
    """Return whether *value* is above 1, by more than rounding explains."""
    return value > 1 + ROUNDING


def shown_probability(value: float) -> str:
    """Return *value* as a percentage; a number above 1 as a score."""
    return f"score {value:.4g}" if is_no_probability(value) else f"{min(value, 1.0):.0%}"


def probability(scores: Scores, outputs: Mapping[str, np.ndarray], index: int, multi_label: bool) -> float | None:
    """Return the probability of class *index* for one image, as `probabilities` does."""
    found = probabilities(scores, outputs[scores.output], multi_label)
    return None if found is None else float(found[index])


def group_probability(
    scores: Scores, outputs: Mapping[str, np.ndarray], classes: Sequence[int], multi_label: bool
) -> float | None:
    """Return the probability that one image has one of *classes*: their sum.

    The highest of them where classes do not exclude each other. None as in `probabilities`.
    """
    found = probabilities(scores, outputs[scores.output][:1], multi_label)
    if found is None:
        return None
    own = found[list(classes)]
    return float(own.sum().clip(0, 1) if scores.are_exclusive(multi_label) else own.max())
