"""Arithmetic of tensors that broadcast against each other."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.autodiff.emit import Emitter
from onnxcam.autodiff.rules import Gradients, V, rule


@rule("Add", broadcast=True, sparse=True)
def add(op: Emitter, node: ir.Node, dy: V, a: V, b: V) -> Gradients:
    """y = a + b: da = db = dy."""
    return dy, dy


@rule("Mul", broadcast=True)
def mul(op: Emitter, node: ir.Node, dy: V, a: V, b: V) -> Gradients:
    """y = a b: da = dy b, db = dy a."""
    return op.Mul(dy, b), op.Mul(dy, a)


@rule("Sub", broadcast=True)
def sub(op: Emitter, node: ir.Node, dy: V, a: V, b: V) -> Gradients:
    """y = a - b: da = dy, db = -dy."""
    return dy, lambda: op.Neg(dy)


@rule("Neg")
def neg(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = -x: dx = -dy."""
    return (op.Neg(dy),)


@rule("Identity", sparse=True)
def identity(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = x: dx = dy."""
    return (dy,)


@rule("Where", broadcast=True)
def where(op: Emitter, node: ir.Node, dy: V, condition: V, a: V, b: V) -> Gradients:
    """y = a where the condition holds, else b: so goes dy."""
    return None, op.Where(condition, dy, 0.0), op.Where(condition, 0.0, dy)
