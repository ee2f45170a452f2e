"""The scores of classes: which output holds them, where they are linear, and what probability they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

TOP = -1
"""The class index that stands for the model's own top class."""

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
    """The scores of the classes, where they are linear: behind them come only softmax or sigmoid and reshapes."""

    value: ir.Value  # what is differentiated
    shown: ir.Value  # the same as the model goes on with it: rounded, where it rounds them
    output: str  # the graph output that they become
    head: str | None  # "softmax", "logsoftmax", "sigmoid", or None where nothing comes behind
    classes: int
    output_units: Units | None = None  # of `output`, where that holds integers

    def select(self, op: Emitter, wanted: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Return class index and score, [N] each; *wanted* is int64 [N] or [1], `TOP` for the model's own choice."""
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
    """Return the class scores of *graph*: its first output [N, classes], followed back through softmax or sigmoid.

    What a fused operator computes before it rounds is added to the graph: by *op*, where another emitter is at work and
    names must stay apart. TargetError where no output is a vector of scores.
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
    """Return the number of classes if all axes of *output* but the batch and one are of length 1."""
    if output.shape is None or len(output.shape) == 0:
        return None
    dims = list(output.shape[1:] if len(output.shape) > 1 else output.shape)
    long = [dim for dim in dims if dim != 1]
    if not long:
        return 1
    return long[0] if len(long) == 1 and isinstance(long[0], int) else None


def _of_candidates(output: ir.Value, outputs: Sequence[ir.Value]) -> bool:
    """Whether *output* is [N, B, 1] beside boxes [N, B, 4]: one score for each candidate of a detector."""
    shapes = [list(y.shape) for y in outputs if y.shape is not None and len(y.shape) == 3]
    own = list(output.shape or ())
    return len(own) == 3 and own[2] == 1 and any(shape[1:] == [own[1], 4] for shape in shapes)


def of_pictures(output: ir.Value, graph: ir.Graph) -> bool:
    """Whether the first axis of *output* may be that of pictures: not so where its fixed length is that of no input."""
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
    """Return the real scores that were quantised to *output*, where there are any; else *output*.

    Quantised logits are often clipped where the network is sure: there no gradient passes. Where an operator such as
    QGemm rounds by itself, what it computes before is added to the graph.
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
    """Add to the graph of *node* what it computes before it rounds; None where it does not round."""
    if node.graph is None:
        return None
    op = Emitter(node.graph) if op is None else op
    _, (y, *_) = COMPOSITIONS.compose(op, node)
    last = None if y is None else y.producer()
    real = last.inputs[0] if last is not None and last.op_type == "QuantizeLinear" else None
    op.place([] if real is None else [real])
    return real


def integer_units(x: ir.Value) -> Units | None:
    """Return what the integers *x* mean; None where it holds none, or nobody tells."""
    return None if x.dtype is None or x.dtype.is_floating_point() else units(x)


def real_scores(scores: Scores, values: np.ndarray) -> np.ndarray | None:
    """Return the numbers, float64 [K], that one picture's *values* of the output stand for.

    None for integers of unknown meaning.
    """
    known = scores.output_units.known if scores.output_units is not None else None
    if np.issubdtype(values.dtype, np.integer) and known is None:
        return None
    scale, zero = known or (1.0, 0)
    real: np.ndarray = (values.reshape(-1).astype(np.float64) - zero) * scale
    return real


def probabilities(scores: Scores, values: np.ndarray, multi_label: bool) -> np.ndarray | None:
    """Return the probabilities, float64 [K], in one picture's *values* of the output.

    The graph's own where it ends in softmax or sigmoid. Where it ends in plain scores it is their softmax, or their
    sigmoid if the classes do not exclude each other; None for scores that are integers of unknown meaning.
    """
    real = real_scores(scores, values)
    return None if real is None else meant(real, scores.head, exclusive=not multi_label)


def meant(real: np.ndarray, head: str | None, *, exclusive: bool) -> np.ndarray:
    """Return the probabilities, float64 [K], that scores [K] behind *head* mean, *exclusive* classes or not."""
    real = real.astype(np.float64)
    if head in ("softmax", "sigmoid"):
        return real
    if head == "logsoftmax":
        return np.exp(real)
    if not exclusive or len(real) == 1:
        return np.exp(-np.logaddexp(0, -real))  # 1 / (1 + e^-x), which overflows
    exponentials = np.exp(real - real.max())
    return exponentials / exponentials.sum()


def probability(scores: Scores, outputs: Mapping[str, np.ndarray], index: int, multi_label: bool) -> float | None:
    """Return the probability of class *index* for one picture, as `probabilities` has it."""
    found = probabilities(scores, outputs[scores.output], multi_label)
    return None if found is None else float(found[index])
