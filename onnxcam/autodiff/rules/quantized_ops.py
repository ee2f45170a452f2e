"""ONNX Runtime's own operators on quantised tensors (com.microsoft), composed of standard ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.rules.compose import WINDOW, channels_back, channels_first, composed, copied, unsupported
from onnxcam.autodiff.rules.quantized import dequantize
from onnxcam.autodiff.table import V
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import gradient_dtype, rank


@composed("QLinearAdd", "QLinearMul")
def qlinear_binary(
    op: Emitter, node: ir.Node, a: V, sa: V, za: V | None, b: V, sb: V, zb: V | None, sy: V, zy: V | None = None
) -> V:
    """y = quantised (a + b), or (a b)."""
    function = op.Add if node.op_type == "QLinearAdd" else op.Mul
    return op.QuantizeLinear(function(dequantize(op, a, sa, za), dequantize(op, b, sb, zb)), sy, zy)


@composed("QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax")
def qlinear_unary(op: Emitter, node: ir.Node, x: V, sx: V, zx: V | None, sy: V, zy: V | None = None) -> V:
    """y = quantised f(x)."""
    operator = node.op_type.removeprefix("QLinear")
    x = dequantize(op, x, sx, zx)
    if operator == "Softmax" and node.attributes.get_int("opset", 13) < 13:  # over all axes from that one on
        axis = node.attributes.get_int("axis", 1)
        y = op.Reshape(op.Softmax(op.Flatten(x, axis=axis), axis=-1), op.Shape(x))
    else:
        y = op.emit(operator, [x], attributes=copied(node, "alpha", "axis"))
    return op.QuantizeLinear(y, sy, zy)


@composed("QLinearAveragePool", "QLinearGlobalAveragePool")
def qlinear_pool(op: Emitter, node: ir.Node, x: V, sx: V, zx: V | None, sy: V, zy: V | None = None) -> V:
    """y = quantised mean of x over windows, or over all positions."""
    last = node.attributes.get_int("channels_last", 0)
    image = channels_first(op, dequantize(op, x, sx, zx), last)
    y = op.emit(
        node.op_type.removeprefix("QLinear"),
        [image],
        attributes=copied(node, *WINDOW, "ceil_mode", "count_include_pad"),
    )
    return op.QuantizeLinear(channels_back(op, y, rank(x), last), sy, zy)


@composed("QLinearReduceMean")
def qlinear_reduce_mean(op: Emitter, node: ir.Node, x: V, sx: V, zx: V | None, sy: V, zy: V | None = None) -> V:
    """y = quantised mean of x over axes."""
    axes = node.attributes.get_ints("axes", None)
    y = op.ReduceMean(dequantize(op, x, sx, zx), axes, keepdims=node.attributes.get_int("keepdims", 1))
    return op.QuantizeLinear(y, sy, zy)


@composed("QLinearConcat")
def qlinear_concat(op: Emitter, node: ir.Node, sy: V, zy: V, *parts: V) -> V:
    """y = quantised parts, each with a scale and a zero point, joined."""
    joined = op.Concat(
        *[dequantize(op, parts[i], parts[i + 1], parts[i + 2]) for i in range(0, len(parts), 3)],
        axis=node.attributes.get_int("axis"),
    )
    return op.QuantizeLinear(joined, sy, zy)


@composed("QLinearWhere")
def qlinear_where(op: Emitter, node: ir.Node, condition: V, a: V, sa: V, za: V, b: V, sb: V, zb: V, sy: V, zy: V) -> V:
    """y = quantised a where the condition holds, else quantised b."""
    return op.QuantizeLinear(op.Where(condition, dequantize(op, a, sa, za), dequantize(op, b, sb, zb)), sy, zy)


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
    bias = None if c is None else dequantize(op, c, op.Mul(op.Mul(sa, sb), alpha), axis=-1)
    columns = 0 if across["transB"] else 1
    y = op.Gemm(dequantize(op, a, sa, za), dequantize(op, b, sb, zb, axis=columns), bias, alpha=alpha, **across)
    return y if sy is None else op.QuantizeLinear(y, sy, zy)


@composed("DynamicQuantizeMatMul")
def dynamic_quantize_matmul(
    op: Emitter, node: ir.Node, a: V, b: V, sb: V, zb: V | None = None, bias: V | None = None
) -> V:
    """y = a b + bias, a quantised over its own range."""
    y = op.MatMul(a, dequantize(op, b, sb, zb, axis=-1))
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
    y = op.MatMul(dequantize(op, a, sa, za, axis=-2), dequantize(op, b, sb, zb, axis=-1))
    return y if bias is None else op.Add(y, bias)


@composed("DynamicQuantizeLSTM")
def dynamic_quantize_lstm(op: Emitter, node: ir.Node, x: V, w: V, r: V, *rest: Any) -> tuple[V, V, V]:
    """LSTM with integer weights, transposed: [directions, columns, 4 hidden]."""
    states, (sw, zw, sr, zr) = rest[:5], rest[5:]
    weights = []
    for codes, scale, zero in ((w, sw, zw), (r, sr, zr)):
        steps = op.Cast(codes, to=int(ir.DataType.FLOAT))
        if zero is not None:
            steps = op.Sub(steps, _a_column(op, op.Cast(zero, to=int(ir.DataType.FLOAT)), rank(zero)))
        weights.append(op.Transpose(op.Mul(steps, _a_column(op, scale, rank(scale))), perm=[0, 2, 1]))
    names = "activations activation_alpha activation_beta clip direction hidden_size input_forget".split()
    return op.LSTM(x, *weights, *states, **copied(node, *names), outputs=3)


def _a_column(op: Emitter, x: V, dims: int) -> V:
    """Return *x*, a number for each direction, or for each direction and column, as [directions, 1, columns or 1]."""
    return op.Unsqueeze(x, [1] if dims == 2 else [1, 2])


_FP4 = (0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4)
_NF4 = (
    *(-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.091050036, 0.0),
    *(0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0),
)
BNB4 = ((*_FP4, *(-x for x in _FP4)), _NF4)
"""The values of 4-bit codes: FP4, a float of one sign, two exponent and one mantissa bit, and NF4."""


@composed("MatMulBnb4")
def matmul_bnb4(op: Emitter, node: ir.Node, a: V, b: V, largest: V) -> V:
    """y = a wᵀ; w [N, K] has 4-bit codes, high bits first, relative to the largest magnitude of the block."""
    k, n, block, kind = (node.attributes.get_int(name) for name in ("K", "N", "block_size", "quant_type"))
    if not node.attributes.get_int("transB", 1):
        raise unsupported(node, "transB 0")
    low_first = op.Reshape(_unpacked(op, b, 4), [-1, 2])
    codes = op.Reshape(op.Gather(low_first, [1, 0], axis=1), [-1])
    shares = op.Slice(op.Gather(op.const(BNB4[kind], gradient_dtype(a)), codes), [0], [n * k], [0])
    w = op.Mul(shares, op.Gather(largest, op.const(np.arange(n * k) // block)))
    return op.MatMul(a, op.Transpose(op.Reshape(w, [n, k]), perm=[1, 0]))


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
    k, n, block = (node.attributes.get_int(name) for name in ("K", "N", "block_size"))
    bits, count = node.attributes.get_int("bits", 4), -(-k // block)
    float_ = int(gradient_dtype(scales))
    steps: Any = op.Reshape(_unpacked(op, b, bits), [n, -1, block])
    if zeros is None:
        shift: Any = float(2 ** (bits - 1))
    elif zeros.dtype == ir.DataType.UINT8:  # packed too, each row padded to whole bytes
        shift = op.Slice(op.Reshape(_unpacked(op, zeros, bits), [n, -1]), [0], [count], [1])
        shift = op.Reshape(op.Cast(shift, to=float_), [n, count, 1])
    else:
        shift = op.Reshape(zeros, [n, count, 1])
    scales = op.Reshape(scales, [n, count, 1])
    if order is not None:  # the block of each row of the matrix
        if zeros is not None:
            raise unsupported(node, "zero points beside g_idx, which ONNX Runtime's providers take differently")
        steps, scales = op.Slice(op.Reshape(steps, [n, -1, 1]), [0], [k], [1]), op.Gather(scales, order, axis=1)
    w = op.Mul(op.Sub(op.Cast(steps, to=float_), shift), scales)
    w = op.Slice(op.Reshape(w, [n, -1]), [0], [k], [1])
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
