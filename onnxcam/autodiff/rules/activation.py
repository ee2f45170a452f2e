"""Pointwise functions of one tensor: rectifiers, sigmoids and their kin."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.autodiff.emit import Emitter
from onnxcam.autodiff.rules import Gradients, V, rule


@rule("Relu")
def relu(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = max(x, 0): dx = dy [y > 0]."""
    return (op.Where(op.Greater(node.outputs[0], 0.0), dy, 0.0),)


@rule("Sigmoid")
def sigmoid(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = 1 / (1 + e^-x): dx = dy y (1 - y)."""
    (y,) = node.outputs
    return (op.Mul(dy, op.Mul(y, op.Sub(1.0, y))),)
