"""Cotangents of tensors, sequences and optionals: their types, zeros and sums.

The cotangent of a sequence is a sequence of the same length, of tensors of the same shapes. The cotangent of an
optional is that of its content; an empty tensor or sequence if the optional is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.blocked_layout import same_layout
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import content, gradient_dtype
from onnxcam.graph.sequences import body, each, is_plain

__all__ = ["ElementCotangent", "full_like", "gradient_type", "total", "zeros_like"]


def gradient_type(x: ir.Value) -> ir.TypeProtocol:
    """Return the type of the cotangent of *x*: a sequence for a sequence; an optional has that of its content."""
    tensor = ir.TensorType(gradient_dtype(x))
    return ir.SequenceType(tensor) if isinstance(content(x.type), ir.SequenceType) else tensor


def full_like(op: Emitter, x: ir.Value, value: float) -> ir.Value:
    """Return a tensor filled with *value*, of the shape and dtype of the cotangent of *x*."""
    fill = ir.tensor(np.asarray([value], gradient_dtype(x).numpy()))
    filled: ir.Value = op.ConstantOfShape(op.Shape(x), value=fill)
    filled.shape = x.shape
    return filled


def zeros_like(op: Emitter, x: ir.Value) -> ir.Value:
    """Return a zero cotangent of *x*."""
    if is_plain(x):
        return full_like(op, x, 0.0)
    return _held(op, x) if isinstance(x.type, ir.OptionalType) else each(op, "zeros", zeros_like, x)


def total(op: Emitter, *parts: ir.Value) -> ir.Value:
    """Return the sum of *parts*, cotangents of one value."""
    if len(parts) == 1:
        return parts[0]
    if not is_plain(parts[0]):
        return each(op, "total", total, *parts)
    return op.total(*same_layout(op, parts))


def _held(op: Emitter, x: ir.Value) -> ir.Value:
    """Return a zero cotangent of the content of the optional *x*."""
    kind, dtype = gradient_type(x), gradient_dtype(x)

    def something(inner: Emitter) -> ir.Value:
        held: ir.Value = inner.OptionalGetElement(x)
        held.shape = x.shape
        return zeros_like(inner, held)

    def nothing(inner: Emitter) -> Any:
        if isinstance(kind, ir.SequenceType):
            return inner.SequenceEmpty(dtype=int(dtype))
        return inner.const(np.zeros(0, dtype.numpy()))

    branches = {"then_branch": body(op, something), "else_branch": body(op, nothing)}
    made: ir.Value = op.If(op.OptionalHasElement(x), **branches)
    made.type = kind
    return made


@dataclass(frozen=True)
class ElementCotangent:
    """A cotangent of a sequence: *value* for the element at *position*, zero for the others."""

    position: ir.Value  # int64 [], not negative
    value: ir.Value

    def dense(self, op: Emitter, y: ir.Value) -> ir.Value:
        """Return the cotangent of *y* as a sequence."""
        return self.onto(op, zeros_like(op, y))

    def onto(self, op: Emitter, total: ir.Value) -> ir.Value:
        """Return *total* with this added."""
        changed = op.Add(op.SequenceAt(total, self.position), self.value)
        return op.SequenceInsert(op.SequenceErase(total, self.position), changed, self.position)
