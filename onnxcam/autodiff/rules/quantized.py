"""Quantised tensors: real value = (integer − zero point) · scale. The straight-through estimator.

A value that rounds into the range of its type passes the gradient on; a clipped value does not. Cotangents of integer
tensors are floats. Operators on integers are compositions: dequantised operands, the float operator, QuantizeLinear.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.cotangents import zeros_like
from onnxcam.autodiff.rules import codes
from onnxcam.autodiff.rules.compose import WINDOW, channels_back, channels_first, composed, copied
from onnxcam.autodiff.table import Gradients, V, rule
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.fold import constant
from onnxcam.graph.infer import gradient_dtype, rank
from onnxcam.graph.ranges import code_range


@rule("QuantizeLinear")
def quantize_linear(op: Emitter, node: ir.Node, dy: V, x: V, scale: V, zero: V | None = None) -> Gradients:
    """y = clip(round(x / s) + z): dx = dy / s where it is not clipped, else 0.

    Codes tell what is clipped, unless x is an input or dequantised: then x does, without breaking a fusion.
    """
    scale = like_axes(op, node, scale, x)
    kept = codes.unclipped(op, node, _divided(op, dy, scale))
    if kept is not None:
        return kept, None, None
    steps = op.Div(as_float(op, x, scale), scale)
    dtype = node.outputs[0].dtype or (ir.DataType.UINT8 if zero is None else zero.dtype) or ir.DataType.UINT8
    if dtype.is_floating_point():
        inside = op.LessOrEqual(op.Abs(steps), code_range(dtype)[1])
    else:
        inside = _in_range(op, node, op.Round(steps), zero, dtype, x)
    return op.mask(_divided(op, dy, scale), inside), None, None


def unrounded(op: Emitter, node: ir.Node, dy: V, x: V, scale: V) -> V:
    """Return the gradient of QuantizeLinear *node* as if it clipped nothing: dy / s."""
    return _divided(op, dy, like_axes(op, node, scale, x))


def _in_range(op: Emitter, node: ir.Node, steps: V, zero: V | None, dtype: ir.DataType, x: V) -> V:
    """Return a mask of the elements whose steps + zero point is in the range of *dtype*."""
    low, high = code_range(dtype)
    if zero is None:
        return op.Equal(steps, op.Clip(steps, low, high))
    known = constant(zero)
    if known is not None and known.size == 1:
        shift = float(known.item())
        return op.Equal(steps, op.Clip(steps, low - shift, high - shift))
    zeros = like_axes(op, node, as_float(op, zero, steps), x)
    return op.And(op.GreaterOrEqual(steps, op.Sub(low, zeros)), op.LessOrEqual(steps, op.Sub(high, zeros)))


def _divided(op: Emitter, dy: V, scale: V) -> V:
    """Return dy / s; if *dy* is a product with s, its other factor."""
    node = dy.producer()
    if node is not None and node.op_type == "Mul" and node.graph is None and node.inputs[0] is not None:
        ours, theirs = constant(scale), constant(node.inputs[1])
        if ours is not None and theirs is not None and ours.shape == theirs.shape and (ours == theirs).all():
            return node.inputs[0]
    return op.Div(dy, scale)


@rule("DequantizeLinear")
def dequantize_linear(op: Emitter, node: ir.Node, dy: V, x: V, scale: V, zero: V | None = None) -> Gradients:
    """y = (x - z) s: dx = dy s, ds = Σ dy (x - z)."""
    factor = like_axes(op, node, as_float(op, scale, dy), x)
    return op.Mul(dy, factor), lambda: _to_scale(op, node, dy, x, scale, zero), None


def _to_scale(op: Emitter, node: ir.Node, dy: V, x: V, scale: V, zero: V | None) -> V:
    steps = as_float(op, x, dy)
    if zero is not None:
        steps = op.Sub(steps, like_axes(op, node, as_float(op, zero, dy), x))
    each = op.Mul(dy, steps)
    blocked = node.attributes.get_int("block_size", 0)
    if blocked and rank(scale) > 0:
        index = op.Reshape(_blocks(op, node, x), [-1 if a == _axis(node, x) else 1 for a in range(rank(x))])
        return op.ScatterElements(
            zeros_like(op, scale), op.Expand(index, op.Shape(x)), each, axis=_axis(node, x), reduction="add"
        )
    if rank(scale) == 0 or scale.shape == ir.Shape([1]):
        return op.Reshape(op.ReduceSum(each, keepdims=0), op.Shape(scale))
    return op.ReduceSum(each, [a for a in range(rank(x)) if a != _axis(node, x)], keepdims=0)


@rule("DynamicQuantizeLinear", many=True, outputs=1)
def dynamic_quantize_linear(op: Emitter, node: ir.Node, dys: Sequence[V | None], x: V) -> Gradients:
    """y = round(x / s) + z, s and z from the range of x, so that nothing is clipped: dx = dy / s; s and z constants."""
    return (None if dys[0] is None else op.Div(dys[0], node.outputs[1]),)


def like_axes(op: Emitter, node: ir.Node, scale: V, x: V) -> V:
    """Return a scale or zero point, for the tensor, an axis or blocks of it, so that it broadcasts to *x*."""
    if rank(scale) == 0 or scale.shape == ir.Shape([1]):
        return scale
    if node.attributes.get_int("block_size", 0):
        return op.Gather(scale, _blocks(op, node, x), axis=_axis(node, x))
    behind = rank(x) - 1 - _axis(node, x)
    return op.Reshape(scale, [-1, *[1] * behind]) if behind else scale


def _axis(node: ir.Node, x: V) -> int:
    return node.attributes.get_int("axis", 1) % rank(x)


def _blocks(op: Emitter, node: ir.Node, x: V) -> V:
    """Return the block of each index of the axis."""
    size = node.attributes.get_int("block_size")
    return op.Div(op.Range(0, op.Squeeze(op.dim(x, _axis(node, x)), [0]), 1), size)


def as_float(op: Emitter, x: V, like: V) -> V:
    """Return *x* in the floating dtype of *like*."""
    wanted = gradient_dtype(like)
    return x if x.dtype == wanted else op.Cast(x, to=int(wanted))


def dequantize(op: Emitter, x: V | None, scale: V, zero: V | None = None, axis: int = 0) -> Any:
    """Return the integers *x* dequantised; scale and zero point are one number, or one for each index of *axis*."""
    if x is None:
        return None
    scale, zero = _alike(op, scale, zero)
    if zero is not None and zero.shape != scale.shape:
        shift = op.Cast(zero, to=int(gradient_dtype(scale)))
        behind = [1] * (rank(x) - 1 - axis % rank(x))
        shift, scale = (s if rank(s) == 0 else op.Reshape(s, [-1, *behind]) for s in (shift, scale))
        return op.Mul(op.Sub(op.Cast(x, to=int(gradient_dtype(scale))), shift), scale)
    return op.DequantizeLinear(x, scale, zero, axis=axis)


def _alike(op: Emitter, scale: V, zero: V | None) -> tuple[V, V | None]:
    """Return *scale* and *zero*, if they are constants, in one shape, as DequantizeLinear takes them."""
    numbers, shift = constant(scale), constant(zero)
    if numbers is None or shift is None or numbers.shape == shift.shape:
        return scale, zero
    wide, wide_shift = np.broadcast_arrays(numbers, shift)
    return op.const(wide), op.const(wide_shift)


@composed("QLinearConv", domain="")
@composed("QLinearConv")
def qlinear_conv(
    op: Emitter, node: ir.Node, x: V, sx: V, zx: V, w: V, sw: V, zw: V, sy: V, zy: V, b: V | None = None
) -> V:
    """y = quantised (w ⋆ x + b), b in units of sx sw."""
    last = node.attributes.get_int("channels_last", 0)
    image = channels_first(op, dequantize(op, x, sx, zx), last)
    bias = dequantize(op, b, op.Mul(sx, sw))
    y = op.Conv(image, dequantize(op, w, sw, zw), bias, **copied(node, *WINDOW))
    return op.QuantizeLinear(channels_back(op, y, rank(x), last), sy, zy)


@composed("QLinearMatMul", domain="")
def qlinear_matmul(op: Emitter, node: ir.Node, a: V, sa: V, za: V, b: V, sb: V, zb: V, sy: V, zy: V) -> V:
    """y = quantised (a b); a has one scale or one for each row, b one for each column."""
    return op.QuantizeLinear(
        op.MatMul(dequantize(op, a, sa, za, axis=-2), dequantize(op, b, sb, zb, axis=-1)), sy, zy, axis=-2
    )


@composed("ConvInteger", domain="")
def conv_integer(op: Emitter, node: ir.Node, x: V, w: V, zx: V | None = None, zw: V | None = None) -> V:
    """y = (w - zw) ⋆ (x - zx)."""
    return op.Conv(shifted(op, x, zx, 0), shifted(op, w, zw, 0), **copied(node, *WINDOW))


@composed("MatMulInteger", domain="")
def matmul_integer(op: Emitter, node: ir.Node, a: V, b: V, za: V | None = None, zb: V | None = None) -> V:
    """y = (a - za) (b - zb); za is one number or one for each row, zb one for each column."""
    return op.MatMul(shifted(op, a, za, -2), shifted(op, b, zb, -1))


def shifted(op: Emitter, x: V, zero: V | None, axis: int) -> V:
    """Return x - z as float; z is one number, or one for each index of *axis*."""
    steps = op.Cast(x, to=int(ir.DataType.FLOAT))
    if zero is None:
        return steps
    shift = op.Cast(zero, to=int(ir.DataType.FLOAT))
    if rank(zero) == 1 and zero.shape != ir.Shape([1]):
        shift = op.Reshape(shift, [-1, *[1] * (rank(x) - 1 - axis % rank(x))])
    return op.Sub(steps, shift)
