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
from onnxcam.graph.operators import Trait, operators
from onnxcam.graph.quantisation import Units, dequantised, units

__all__ = [
    "HEADS",
    "TOP",
    "Scores",
    "are_exclusive",
    "find_scores",
    "integer_units",
    "missing_head",
    "of_pictures",
    "probabilities",
    "probability",
    "real_scores",
    "sigmoid",
    "softmax",
    "to_probabilities",
]

TOP = -1
"""The class index that means the class with the highest score."""

HEADS = {
    "Softmax": "softmax",
    "LogSoftmax": "logsoftmax",
    "Sigmoid": "sigmoid",
    "QLinearSoftmax": "softmax",
    "QLinearSigmoid": "sigmoid",
}
_TRANSPARENT = operators(Trait.COPIES | Trait.RESHAPES | Trait.QUANTISES) | {"Dropout"}


@dataclass(frozen=True)
class Scores:
    """The class scores before softmax or sigmoid: only these and reshapes follow."""

    value: ir.Value  # the tensor to differentiate
    shown: ir.Value  # the same value after rounding, in a quantised model
    output: str  # the graph output
    head: str | None  # the function that follows: "softmax", "logsoftmax", "sigmoid", or None
    classes: int
    output_units: Units | None = None  # scale and zero point of an output of integers

    def select(self, op: Emitter, wanted: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Return class index and score, [N] each; *wanted* is int64 [N] or [1], `TOP` for the highest score."""
        flat, known = self.flat(op, self.shown), constant(wanted)
        if known is not None and (known >= 0).all():
            index = wanted
        else:
            index = op.Where(op.Less(wanted, 0), op.ArgMax(flat, axis=1, keepdims=0), wanted)
        score = op.GatherND(flat, op.Unsqueeze(index, [1]), batch_dims=1)
        return index, dequantised(op, score, self.shown)

    def seed(self, op: Emitter, index: ir.Value) -> Cotangent:
        """Return the cotangent of `value` for the score of class *index*."""
        flat, known = self.flat(op, self.value), integer_units(self.value)
        hot = OneHot(index)
        if known is not None:
            hot = OneHot(index, op.Expand(op.Reshape(known.scale, [1]), op.Shape(index)))
        if flat is self.value or is_column(self.value, self.classes):
            return hot
        return op.reshape_like(hot.dense(op, flat), self.value)

    def weighed(self, op: Emitter, weights: ir.Value) -> Cotangent:
        """Return the cotangent of `value` for the sum of the scores by *weights*, [N, classes]."""
        known = integer_units(self.value)
        scaled = weights if known is None else op.Mul(weights, op.Reshape(known.scale, [1]))
        return op.reshape_like(op.Cast(scaled, to=int(gradient_dtype(self.value))), self.value)

    def flat(self, op: Emitter, scores: ir.Value) -> ir.Value:
        """Return *scores* as [N, classes]."""
        shape = scores.shape
        if shape is not None and len(shape) == 2 and shape[1] == self.classes:
            return scores
        flat = op.Reshape(scores, [-1, self.classes])
        flat.shape = ir.Shape([None, self.classes])
        return flat


def find_scores(graph: ir.Graph, op: Emitter | None = None) -> Scores:
    """Return the class scores of *graph*: its first output [N, classes], traced back through softmax or sigmoid.

    The value of a fused operator before rounding is added to the graph by *op*, or by an emitter of its own; pass the
    emitter that is in use, so that names stay unique. TargetError if no output is a vector of scores.
    """
    tensors = [output for output in graph.outputs if no_numbers(output) is None]
    for output in tensors:
        rows = _of_candidates(output, tensors) or not of_pictures(output, graph)
        classes = None if rows else _classes(output)
        if classes is not None and (output.dtype is None or output.dtype not in (ir.DataType.INT64, ir.DataType.BOOL)):
            shown, head = _before_head(output)
            value = _before_rounding(shown, op)
            return Scores(value, shown, output.name or "", head, classes, integer_units(output))
    shapes = ", ".join(f"{value.name!r} {no_numbers(value) or value.shape}" for value in graph.outputs)
    raise TargetError(
        f"no output of the model is a vector of class scores: {shapes}; name what to explain (docs/targets.md)"
    )


def _classes(output: ir.Value) -> int | None:
    """Return the number of classes, if at most one axis of *output* besides the batch is longer than 1; else None."""
    if output.shape is None or len(output.shape) == 0:
        return None
    dims = list(output.shape[1:] if len(output.shape) > 1 else output.shape)
    long = [dim for dim in dims if dim != 1]
    if not long:
        return 1
    return long[0] if len(long) == 1 and isinstance(long[0], int) else None


def _of_candidates(output: ir.Value, outputs: Sequence[ir.Value]) -> bool:
    """Return whether *output* is [N, B, 1] beside boxes [N, B, 4]: a score for each candidate of a detector."""
    shapes = [list(y.shape) for y in outputs if y.shape is not None and len(y.shape) == 3]
    own = list(output.shape or ())
    return len(own) == 3 and own[2] == 1 and any(shape[1:] == [own[1], 4] for shape in shapes)


def of_pictures(output: ir.Value, graph: ir.Graph) -> bool:
    """Return whether the first axis of *output* may be the batch: not if its fixed length is that of no input."""
    first = output.shape[0] if output.shape is not None and len(output.shape) > 1 else 1
    lengths = [x.shape[0] for x in graph.inputs if x.shape is not None and len(x.shape)]
    return not isinstance(first, int) or first == 1 or any(not isinstance(n, int) or n == first for n in lengths)


def _before_head(output: ir.Value) -> tuple[ir.Value, str | None]:
    """Walk back from *output* to the input of its softmax or sigmoid, if it has one."""
    value: ir.Value | None = output
    while value is not None and (node := value.producer()) is not None:
        if node.op_type in HEADS:
            return node.inputs[0] or output, HEADS[node.op_type]
        if node.op_type not in _TRANSPARENT:
            break
        value = node.inputs[0]
    return output, None


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
        elif node.op_type not in _TRANSPARENT:
            break
        rounded = node.op_type == "QuantizeLinear" or (node.domain, node.op_type) in COMPOSITIONS
        if rounded:
            return real if real is not None and _classes(real) == _classes(output) else output
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
    """Return one image's *values* of the output as real numbers, float64 [K]; None for integers of unknown scale."""
    known = scores.output_units.known if scores.output_units is not None else None
    if np.issubdtype(values.dtype, np.integer) and known is None:
        return None
    scale, zero = known or (1.0, 0)
    real: np.ndarray = (values.reshape(-1).astype(np.float64) - zero) * scale
    return real


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return exp(x) / Σ exp(x) along *axis*, without overflow."""
    exponentials = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=axis, keepdims=True))


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(−x)), without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0, -x)))


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
    sigmoid if classes do not exclude each other. None for integers of unknown scale.
    """
    real = real_scores(scores, values)
    exclusive = are_exclusive(scores.head, multi_label)
    return None if real is None else to_probabilities(real, scores.head, exclusive=exclusive)


def probability(scores: Scores, outputs: Mapping[str, np.ndarray], index: int, multi_label: bool) -> float | None:
    """Return the probability of class *index* for one image, as `probabilities` does."""
    found = probabilities(scores, outputs[scores.output], multi_label)
    return None if found is None else float(found[index])
