"""Rectangles in the graph: (x1, y1, x2, y2) of each image, [N, 4] float32, and the rows and columns inside."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.bake.dense import to_float
from onnxcam.graph.emitter import Emitter

__all__ = ["centres", "covers", "inside", "nearest_inside", "rounded", "side"]


def side(op: Emitter, corners: ir.Value, index: int) -> ir.Value:
    """Return one of the four numbers, [N, 1]."""
    return op.Gather(corners, op.const([index]), axis=1)


def rounded(op: Emitter, corners: ir.Value) -> ir.Value:
    """Return *corners* in whole pixels, half ones to the even number as in Python."""
    return op.Round(corners)


def covers(op: Emitter, corners: ir.Value, axis: int, length: ir.Value) -> ir.Value:
    """Return whether the rectangle has a pixel of an axis of *length*, [N]; axis 0 is x."""
    zero = op.const(0, ir.DataType.FLOAT)
    low, high = op.Max(side(op, corners, axis), zero), op.Min(side(op, corners, axis + 2), to_float(op, length))
    return op.Squeeze(op.Less(low, high), [1])


def inside(op: Emitter, corners: ir.Value, axis: int, length: ir.Value) -> ir.Value:
    """Return 1 for the pixels of an axis of *length* in the rectangle, else 0, [N, length]; axis 0 is x."""
    return to_float(op, _between(op, corners, axis, _places(op, length)))


def centres(op: Emitter, count: ir.Value, length: ir.Value) -> ir.Value:
    """Return where the centres of *count* cells lie on an axis of *length* pixels, [count]."""
    return op.Div(op.Mul(op.Add(_places(op, count), 0.5), to_float(op, length)), to_float(op, count))


def nearest_inside(op: Emitter, corners: ir.Value, axis: int, middles: ir.Value) -> ir.Value:
    """Return 1 for the cells with *middles* in the rectangle, or nearest to its middle where there are none, [N, n]."""
    found = to_float(op, _between(op, corners, axis, middles))
    middle = op.Mul(op.Add(side(op, corners, axis), side(op, corners, axis + 2)), 0.5)
    distance = op.Abs(op.Sub(middles, middle))
    nearest = to_float(op, op.Equal(distance, op.ReduceMin(distance, [1], keepdims=1)))
    return op.Where(op.Greater(op.ReduceMax(found, [1], keepdims=1), 0.0), found, nearest)


def _between(op: Emitter, corners: ir.Value, axis: int, places: ir.Value) -> ir.Value:
    low, high = side(op, corners, axis), side(op, corners, axis + 2)
    return op.And(op.GreaterOrEqual(places, low), op.Less(places, high))


def _places(op: Emitter, length: ir.Value) -> ir.Value:
    zero, one = op.const(0), op.const(1)
    return to_float(op, op.Range(zero, op.Squeeze(length, [0]), one))
