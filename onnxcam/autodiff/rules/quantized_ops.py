"""ONNX Runtime's own operators on quantised tensors (com.microsoft), composed of standard ones."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from onnxcam.autodiff.emit import Emitter
from onnxcam.autodiff.infer import gradient_dtype, rank
from onnxcam.autodiff.rules import V
from onnxcam.autodiff.rules.compose import composed, copied, unsupported
from onnxcam.autodiff.rules.quantized import WINDOW, channels_back, channels_first, real, shifted


@composed("QLinearAdd", "QLinearMul")
def qlinear_binary(
    op: Emitter, node: ir.Node, a: V, sa: V, za: V | None, b: V, sb: V, zb: V | None, sy: V, zy: V | None = None
) -> V:
    """y = quantised (a + b), or (a b)."""
    function = op.Add if node.op_type == "QLinearAdd" else op.Mul
    return op.QuantizeLinear(function(real(op, a, sa, za), real(op, b, sb, zb)), sy, zy)


@composed("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax")
def qlinear_unary(op: Emitter, node: ir.Node, x: V, sx: V, zx: V | None, sy: V, zy: V | None = None) -> V:
    """y = quantised f(x)."""
    operator = node.op_type.removeprefix("QLinear")
    x = real(op, x, sx, zx)
    if operator == "Softmax" and node.attributes.get_int("opset", 13) < 13:  # over all axes from that one on
        axis = node.attributes.get_int("axis", 1)
        y = op.Reshape(op.Softmax(op.Flatten(x, axis=axis), axis=-1), op.Shape(x))
    else:
        y = op.emit(operator, [x], attributes=copied(node, "alpha", "axis"))
    return op.QuantizeLinear(y, sy, zy)


@composed("QLinearAveragePool", "QLinearGlobalAveragePool")
def qlinear_pool(op: Emitter, node: ir.Node, x: V, sx: V, zx: V | None, sy: V, zy: V | None = None) -> V:
    """y = quantised mean of x over windows, or over all positions."""
    (image,) = channels_first(op, node, real(op, x, sx, zx))
    y = op.emit(
        node.op_type.removeprefix("QLinear"),
        [image],
        attributes=copied(node, *WINDOW, "ceil_mode", "count_include_pad"),
    )
    return op.QuantizeLinear(channels_back(op, node, y, rank(x)), sy, zy)


@composed("QLinearReduceMean")
def qlinear_reduce_mean(op: Emitter, node: ir.Node, x: V, sx: V, zx: V | None, sy: V, zy: V | None = None) -> V:
    """y = quantised mean of x over axes."""
    axes = node.attributes.get_ints("axes", None)
    y = op.ReduceMean(real(op, x, sx, zx), axes, keepdims=node.attributes.get_int("keepdims", 1))
    return op.QuantizeLinear(y, sy, zy)


@composed("QLinearConcat")
def qlinear_concat(op: Emitter, node: ir.Node, sy: V, zy: V, *parts: V) -> V:
    """y = quantised parts, each with a scale and a zero point, joined."""
    joined = op.Concat(
        *[real(op, parts[i], parts[i + 1], parts[i + 2]) for i in range(0, len(parts), 3)],
        axis=node.attributes.get_int("axis"),
    )
    return op.QuantizeLinear(joined, sy, zy)


@composed("QLinearWhere")
def qlinear_where(op: Emitter, node: ir.Node, condition: V, a: V, sa: V, za: V, b: V, sb: V, zb: V, sy: V, zy: V) -> V:
    """y = quantised a where the condition holds, else quantised b."""
    return op.QuantizeLinear(op.Where(condition, real(op, a, sa, za), real(op, b, sb, zb)), sy, zy)


@composed("QGemm")
def qgemm(
    op: Emitter,
    node: ir.Node,
    a: V,
    sa: V,
    za: V,
    b: V,
    sb: V,
    zb: V,
    c: V | None = None,
    sy: V | None = None,
    zy: V | None = None,
) -> V:
    """y = α (a b) + c, c in units of α sa sb; quantised if there is a scale for it."""
    alpha = node.attributes.get_float("alpha", 1.0)
    across = {name: node.attributes.get_int(name, 0) for name in ("transA", "transB")}
    bias = None
    if c is not None:
        units = op.Mul(op.Mul(sa, sb), alpha)
        bias = op.Mul(op.Cast(c, to=int(gradient_dtype(sa))), units)
    columns = 0 if across["transB"] else 1
    y = op.Gemm(real(op, a, sa, za), real(op, b, sb, zb, axis=columns), bias, alpha=alpha, **across)
    return y if sy is None else op.QuantizeLinear(y, sy, zy)


@composed("DynamicQuantizeMatMul")
def dynamic_quantize_matmul(
    op: Emitter, node: ir.Node, a: V, b: V, sb: V, zb: V | None = None, bias: V | None = None
) -> V:
    """y = a b + bias, a quantised over its own range."""
    y = op.MatMul(a, real(op, b, sb, zb, axis=-1))
    return y if bias is None else op.Add(y, bias)


@composed("MatMulIntegerToFloat")
def matmul_integer_to_float(
    op: Emitter,
    node: ir.Node,
    a: V,
    b: V,
    sa: V,
    sb: V,
    za: V | None = None,
    zb: V | None = None,
    bias: V | None = None,
) -> V:
    """y = ((a - za) sa) ((b - zb) sb) + bias."""
    y = op.MatMul(op.Mul(shifted(op, a, za, -2), sa), op.Mul(shifted(op, b, zb, -1), sb))
    return y if bias is None else op.Add(y, bias)


@composed("MatMulNBits")
def matmul_nbits(
    op: Emitter,
    node: ir.Node,
    a: V,
    b: V,
    scales: V,
    zeros: V | None = None,
    order: V | None = None,
    bias: V | None = None,
) -> V:
    """y = a wᵀ + bias; w [N, K] is packed into bytes, block by block, the lowest bits first."""
    if order is not None:
        raise unsupported(node, "weights that are grouped by g_idx")
    k, n, block = (node.attributes.get_int(name) for name in ("K", "N", "block_size"))
    bits, count = node.attributes.get_int("bits", 4), -(-k // block)
    float_ = int(gradient_dtype(scales))
    steps: Any = op.Reshape(_unpacked(op, b, bits), [n, -1, block])
    if zeros is None:
        shift: Any = float(2 ** (bits - 1))
    elif zeros.dtype == ir.DataType.UINT8:  # packed too, each row filled up to whole bytes
        shift = op.Slice(op.Reshape(_unpacked(op, zeros, bits), [n, -1]), [0], [count], [1])
        shift = op.Reshape(op.Cast(shift, to=float_), [n, count, 1])
    else:
        shift = op.Reshape(zeros, [n, count, 1])
    w = op.Mul(op.Sub(op.Cast(steps, to=float_), shift), op.Reshape(scales, [n, count, 1]))
    w = op.Slice(op.Reshape(w, [n, count * block]), [0], [k], [1])
    y = op.MatMul(a, op.Transpose(w, perm=[1, 0]))
    return y if bias is None else op.Add(y, bias)


def _unpacked(op: Emitter, packed: V, bits: int) -> V:
    """Return the numbers of *bits* bits in the bytes *packed*, along a new last axis."""
    whole = op.Unsqueeze(op.Cast(packed, to=int(ir.DataType.INT32)), [-1])
    return op.Concat(
        *[
            op.Mod(op.Div(whole, op.const(2**i, ir.DataType.INT32)), op.const(2**bits, ir.DataType.INT32))
            for i in range(0, 8, bits)
        ],
        axis=-1,
    )
