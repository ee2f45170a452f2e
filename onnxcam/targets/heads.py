"""Heads: the softmax or sigmoid behind class scores, recognised in the graph or in the numbers of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.graph.fold import constant
from onnxcam.graph.operators import Trait, operators

__all__ = [
    "HEADS",
    "TRANSPARENT",
    "Head",
    "before_copies",
    "before_head",
    "ends_linear",
    "ends_signed",
    "is_over_one_element",
    "multiple",
    "numeric_head",
    "numeric_whole",
    "parts_of_one",
    "width",
]

HEADS = {
    "Softmax": "softmax",
    "LogSoftmax": "logsoftmax",
    "Sigmoid": "sigmoid",
    "HardSigmoid": "sigmoid",
    "QLinearSoftmax": "softmax",
    "QLinearSigmoid": "sigmoid",
}
TRANSPARENT = operators(Trait.COPIES | Trait.RESHAPES | Trait.QUANTISES) | {"Dropout"}
_OF_LENGTH_ONE = operators(Trait.CUTS) | {"Transpose", "Clip", "Concat", "Expand"}
"""Operators that pass a vector on if they keep its number of classes."""
_INVERSE = {("Log", "softmax"): "logsoftmax", ("Exp", "logsoftmax"): "softmax"}
_ACCUMULATES = operators(Trait.MULTIPLIES) | {
    "FusedConv",
    "FusedGemm",
    "FusedMatMul",
    "TransposeMatMul",
    "Einsum",
    "QGemm",
    "QLinearConv",
    "QLinearMatMul",
    "MatMulInteger",
    "ConvInteger",
    "MatMulNBits",
}
_SPREADS = operators(Trait.AVERAGES | Trait.POOLS | Trait.RECTIFIES) | TRANSPARENT | {"Transpose"}
_SUM_TOLERANCE = 5e-3
_WHOLES = (100.0, 255.0)
"""What 1 may be written as, besides 1: percent, and the range of a byte."""
_SIGNED = frozenset(("Tanh", "Erf", "Softsign", "Sin", "Cos", "Sign"))


@dataclass(frozen=True)
class Head:
    """The last functions of a vector.

    Attributes:
        before: The tensor before softmax or sigmoid; the vector itself where there is none.
        name: What the numbers of the vector are: ``"softmax"`` or ``"sigmoid"``: probabilities, ``"logsoftmax"``: their
            logarithms, None: unknown.
        pair: 1 or −1 where the vector is [1 − p, p] or [p, 1 − p] of one sigmoid p; else 0.
        whole: The number that means the probability 1: 100 where the vector is in percent.
    """

    before: ir.Value
    name: str | None = None
    pair: int = 0
    whole: float = 1


def width(x: ir.Value) -> int | None:
    """Return the number of classes, if at most one axis of *x* besides the batch is longer than 1; else None."""
    if x.shape is None or len(x.shape) == 0:
        return None
    dims = list(x.shape[1:] if len(x.shape) > 1 else x.shape)
    long = [dim for dim in dims if dim != 1]
    if not long:
        return 1
    return long[0] if len(long) == 1 and isinstance(long[0], int) else None


def before_copies(x: ir.Value) -> ir.Value:
    """Walk back from *x* through reshapes, copies and quantisation to the tensor that another operator computes."""
    while (node := x.producer()) is not None and node.op_type in TRANSPARENT and node.inputs[0] is not None:
        x = node.inputs[0]
    return x


def before_head(output: ir.Value) -> Head:
    """Walk back from *output* through reshapes and copies to the input of its softmax or sigmoid, if it has one.

    Of a softmax of a softmax it is the input of the first one. A softmax or sigmoid may be composed of Exp and Div, and
    multiplied by a constant: percent.
    """
    found, value, outer, whole = Head(output), output, list[str](), 1.0
    while (node := value.producer()) is not None:
        factor = None if found.name is not None or outer else multiple(node)
        if factor is not None and factor[1] > 0:
            value, whole = factor[0], whole * factor[1]
            continue
        step = _step(node)
        if step is None:
            break
        value, name = step
        if name in ("Log", "Exp"):
            outer.append(name)
        elif name is not None:
            meant = found.name or _composed([*outer, name])
            if meant is None or _is_of_groups(node, output):
                break
            found, outer = Head(value, meant, whole=whole), []
    if found.name is None:
        return _pair(output)
    return found if _is_whole(found, output) else Head(output)


def multiple(node: ir.Node) -> tuple[ir.Value, float] | None:
    """Return the tensor that *node* multiplies or divides by one constant that is not 0, and the factor; else None."""
    if node.op_type not in ("Mul", "Div") or len(node.inputs) != 2:
        return None
    for x, other in (node.inputs, node.inputs[::-1]):
        known = None if other is None else constant(other)
        if x is not None and known is not None and known.size == 1 and float(known.item()):
            number = float(known.item())
            by = number if node.op_type == "Mul" else 1 / number
            return (x, by) if other is node.inputs[1] or node.op_type == "Mul" else None
    return None


def _is_whole(head: Head, output: ir.Value) -> bool:
    """Return whether *head*'s multiple of probabilities means probabilities; a sigmoid's only in percent or bytes."""
    if head.name == "softmax" or head.whole == 1:
        return True
    return head.name == "sigmoid" and head.whole in _WHOLES and (width(output) or 0) > 1


def _is_of_groups(node: ir.Node, output: ir.Value) -> bool:
    """Return whether *node* is a softmax over a part of the elements of *output*, such as one for each letter."""
    shape, count = node.outputs[0].shape, width(output)
    if HEADS.get(node.op_type) not in ("softmax", "logsoftmax") or shape is None or count is None or not len(shape):
        return False
    length = shape[node.attributes.get_int("axis", -1)]
    return isinstance(length, int) and length not in (1, count) and length > 0


def _step(node: ir.Node) -> tuple[ir.Value, str | None] | None:
    """Return the tensor before *node*, and the function of *node*, None for a copy; None where the walk ends."""
    x = node.inputs[0] if node.inputs else None
    if x is None:
        return None
    if node.op_type in HEADS:
        return x, HEADS[node.op_type]
    by_hand = _softmax(node) or _sigmoid(node)
    if by_hand is not None:
        return by_hand
    if node.op_type in ("Log", "Exp"):
        return x, node.op_type
    return (x, None) if _passes_on(node) else None


def _passes_on(node: ir.Node) -> bool:
    if node.op_type in TRANSPARENT:
        return True
    x, y = node.inputs[0], node.outputs[0]
    if node.op_type not in _OF_LENGTH_ONE or x is None or width(x) is None or width(x) != width(y):
        return False
    return width(y) == 1 or not _reorders(node)


def _reorders(node: ir.Node) -> bool:
    """Return whether *node*, which keeps the number of classes, may change their order."""
    if node.op_type == "Gather":
        indices = None if node.inputs[1] is None else constant(node.inputs[1])
        return indices is None or (indices.size > 1 and not np.array_equal(indices.ravel(), np.arange(indices.size)))
    steps = node.inputs[4] if node.op_type == "Slice" and len(node.inputs) > 4 else None
    known = np.ones(1) if steps is None else constant(steps)
    return known is None or bool((known < 0).any())


def is_over_one_element(output: ir.Value) -> bool:
    """Return whether the softmax before *output*, of several classes, runs over an axis of length 1 or over images."""
    node = _made_by(output, "Softmax", "LogSoftmax")
    shape = None if node is None else node.outputs[0].shape
    if node is None or shape is None or len(shape) < 2 or (width(output) or 0) < 2:
        return False
    axis = node.attributes.get_int("axis", -1) % len(shape)
    return axis == 0 or shape[axis] == 1


def _composed(names: Sequence[str]) -> str | None:
    """Return what is left of a head behind Log or Exp: Log of softmax is logsoftmax."""
    *outer, name = names
    for function in outer[::-1]:
        known = _INVERSE.get((function, name))
        if known is None:
            return None
        name = known
    return name


def _made_by(x: ir.Value | None, *ops: str) -> ir.Node | None:
    """Return the node that makes *x*, through reshapes and copies, if it is one of *ops*."""
    node = None if x is None else x.producer()
    while node is not None and node.op_type not in ops and node.op_type in {*TRANSPARENT, "Expand"}:
        node = None if node.inputs[0] is None else node.inputs[0].producer()
    return node if node is not None and node.op_type in ops else None


def _softmax(node: ir.Node) -> tuple[ir.Value, str] | None:
    """Return the scores x of exp(x) / Σ exp(x), perhaps with max x subtracted first."""
    if node.op_type != "Div":
        return None
    top, total = _made_by(node.inputs[0], "Exp"), _made_by(node.inputs[1], "ReduceSum", "ReduceL1")
    if top is None or total is None or _made_by(total.inputs[0], "Exp") is not top or top.inputs[0] is None:
        return None
    shifted = _made_by(top.inputs[0], "Sub")
    plain = shifted is not None and _made_by(shifted.inputs[1], "ReduceMax") is not None
    return (shifted.inputs[0] if plain and shifted is not None else None) or top.inputs[0], "softmax"


def _sigmoid(node: ir.Node) -> tuple[ir.Value, str] | None:
    """Return the scores x of 1 / (1 + exp(−x))."""
    if node.op_type == "Reciprocal":
        below = _made_by(node.inputs[0], "Add")
    else:
        below = _made_by(node.inputs[1], "Add") if node.op_type == "Div" and _is_one(node.inputs[0]) else None
    if below is None or not any(_is_one(x) for x in below.inputs):
        return None
    power = next((made for x in below.inputs if (made := _made_by(x, "Exp")) is not None), None)
    negative = None if power is None else _made_by(power.inputs[0], "Neg")
    return None if negative is None or negative.inputs[0] is None else (negative.inputs[0], "sigmoid")


def _pair(output: ir.Value) -> Head:
    """Return the sigmoid of [1 − p, p] or [p, 1 − p]; without one a head without a name."""
    joined = _made_by(output, "Concat")
    if joined is None or len(joined.inputs) != 2:
        return Head(output)
    for p, other, sign in ((joined.inputs[1], joined.inputs[0], 1), (joined.inputs[0], joined.inputs[1], -1)):
        rest = _made_by(other, "Sub")
        if p is None or rest is None or not _is_one(rest.inputs[0]):
            continue
        head = before_head(p)
        if head.name == "sigmoid" and before_head(rest.inputs[1] or p).before is head.before:
            return Head(head.before, "softmax", sign)
    return Head(output)


def _is_one(x: ir.Value | None) -> bool:
    known = None if x is None else constant(x)
    return known is not None and known.size == 1 and float(known.item()) == 1


def ends_linear(output: ir.Value) -> bool:
    """Return whether *output* is sure to end in a linear layer, so that its numbers are no probabilities.

    Constants may be added to it or multiply it, and it may be averaged over space.
    """
    value: ir.Value | None = output
    while value is not None and (node := value.producer()) is not None:
        if node.op_type in _ACCUMULATES:
            return True
        if node.op_type in ("Add", "Sub", "Mul", "Div", "Clip"):
            computed = [x for x in node.inputs if x is not None and x.const_value is None and not _is_constant(x)]
            value = computed[0] if len(computed) == 1 else None
        else:
            value = node.inputs[0] if node.op_type in _SPREADS else None
    return False


def _is_constant(x: ir.Value) -> bool:
    node = x.producer()
    if node is None:
        return x.is_initializer()
    return all(one is None or _is_constant(one) for one in node.inputs) if len(node.inputs) < 3 else False


def ends_signed(output: ir.Value) -> bool:
    """Return whether *output* is the tanh of something, or another function with negative values: no probability."""
    node = before_copies(output).producer()
    return node is not None and node.op_type in _SIGNED


def numeric_whole(rows: Sequence[NDArray[Any]]) -> float:
    """Return the number that means the probability 1 in *rows*: 100 if they are percentages that sum to 100, else 1."""
    found = [np.asarray(row, np.float64).reshape(-1) for row in rows]
    if not found or not all(len(row) > 1 and np.isfinite(row).all() and row.min() >= 0 for row in found):
        return 1.0
    return next((whole for whole in _WHOLES if _sums_to_one(np.stack(found) / whole)), 1.0)


def numeric_head(rows: Sequence[NDArray[Any]]) -> str | None:
    """Return what the numbers of a vector are, [1, …] for each of a few images: those of a `Head`, None if unknown."""
    found = [np.asarray(row, np.float64).reshape(-1) for row in rows]
    if not found or not all(len(row) and np.isfinite(row).all() for row in found):
        return None
    y = np.stack(found)
    if y.shape[1] > 1 and y.min() >= -1e-6 and _sums_to_one(y):
        return "softmax"
    if y.shape[1] > 1 and y.max() <= 1e-6 and _sums_to_one(np.exp(y)):
        return "logsoftmax"
    return "sigmoid" if y.min() >= 0 and y.max() <= 1 and np.ptp(y) > 0 else None


def parts_of_one(rows: Sequence[NDArray[Any]]) -> int:
    """Return the number of equal parts of a vector that each sum to 1 in all *rows*; 0 where it has no such parts."""
    if not rows or any(not np.isfinite(row).all() or row.min() < 0 for row in rows):
        return 0
    y = np.stack(rows).astype(np.float64)
    count = round(float(y[0].sum()))
    whole = count > 1 and y.shape[1] % count == 0 and y.shape[1] > count
    return count if whole and _sums_to_one(y.reshape(len(y) * count, -1)) else 0


def _sums_to_one(y: NDArray[Any]) -> bool:
    return bool(np.abs(y.sum(axis=1) - 1).max() < _SUM_TOLERANCE)
