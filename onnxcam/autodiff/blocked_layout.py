"""Sums of cotangents in the blocked layout of ONNX Runtime's CPU convolutions.

ONNX Runtime keeps the output of a convolution in that layout as long as all operands of the next operator have it. One
operand in the plain layout makes a sum plain, and each convolution behind the sum reorders its input again. A depthwise
Conv with a 1 × 1 kernel of ones brings such an operand into the layout.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxcam.graph.emitter import Emitter

__all__ = ["is_blocked", "same_layout"]

_ALIGNED = 8  # ONNX Runtime pads channels to its block if they are a multiple of this
_FEWEST = 16  # channels
_REACH = 12  # nodes to follow
_ONE_OPERAND = frozenset("AveragePool Clip HardSigmoid LeakyRelu MaxPool Relu Sigmoid Tanh".split())
_EQUAL_SHAPES = frozenset("Add Mul Sum".split())
_FOLDED = frozenset("Reshape Slice Transpose".split())


def same_layout(op: Emitter, parts: Sequence[ir.Value]) -> list[ir.Value]:
    """Return *parts*, tensors of one shape; the plain ones blocked if another is blocked."""
    known = [is_blocked(part) for part in parts]
    if not any(known) or all(known) or any(part.shape != parts[0].shape for part in parts):
        return list(parts)
    return [part if done else _blocked(op, part) for part, done in zip(parts, known, strict=True)]


def is_blocked(x: ir.Value) -> bool:
    """Whether ONNX Runtime's CPU provider is expected to keep *x* in the blocked layout."""
    if not _fits(x):
        return False
    for _ in range(_REACH):
        node = x.producer()
        if node is None or node.domain:
            return False
        if node.op_type == "Conv":
            return _is_constant(node.inputs[1])
        operands = [operand for operand in node.inputs if operand is not None]
        if node.op_type in _EQUAL_SHAPES:
            if any(operand.shape != x.shape for operand in operands):
                return False
        elif node.op_type not in _ONE_OPERAND:
            return False
        x = next((y for y in operands if _from_convolution(y)), operands[0])
    return False


def _blocked(op: Emitter, x: ir.Value) -> ir.Value:
    assert x.shape is not None
    y: ir.Value = op.Conv(x, np.ones((x.shape[1], 1, 1, 1), np.float32), group=x.shape[1])
    y.shape = x.shape
    return y


def _fits(x: ir.Value) -> bool:
    """Whether *x* is float32 [N, C, H, W], C known and enough."""
    if x.dtype != ir.DataType.FLOAT or x.shape is None or len(x.shape) != 4:
        return False
    channels = x.shape[1]
    return isinstance(channels, int) and channels >= _FEWEST and channels % _ALIGNED == 0


def _from_convolution(x: ir.Value) -> bool:
    node = x.producer()
    return node is not None and node.op_type == "Conv"


def _is_constant(w: ir.Value | None) -> bool:
    while w is not None and w.const_value is None:
        node = w.producer()
        w = node.inputs[0] if node is not None and node.op_type in _FOLDED else None
    return w is not None
