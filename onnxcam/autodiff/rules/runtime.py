"""Operators of ONNX Runtime other than fusions: of domain com.microsoft, and one of the default domain."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.rules.compose import WINDOW, channels_back, channels_first, composed, copied, unsupported
from onnxcam.autodiff.table import COMPOSITIONS, Gradients, V, rule
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import gradient_dtype, rank

MICROSOFT = "com.microsoft"
LINEAR = 20  # the first opset whose GridSample calls bilinear sampling "linear"


@composed("SimplifiedLayerNormalization", domain="")
def simplified_layer_normalization(op: Emitter, node: ir.Node, x: V, scale: V) -> V:
    """y = scale x / √(mean x² + ε) over the axes from `axis` on."""
    epsilon = float(node.attributes.get_float("epsilon", 1e-5))
    return op.RMSNormalization(x, scale, axis=node.attributes.get_int("axis", -1), epsilon=epsilon)


@composed("DequantizeLinear", "GridSample", "QuantizeLinear", "Trilu")
def renamed(op: Emitter, node: ir.Node, *inputs: V | None) -> V:
    """y is the output of the standard operator of the same name."""
    return op.emit(node.op_type, inputs, attributes=copied(node, *node.attributes))


@composed("GatherND")
def gather_nd(op: Emitter, node: ir.Node, x: V, indices: V) -> V:
    """y is the entries, or slices, of x at *indices*."""
    return op.GatherND(x, op.Cast(indices, to=int(ir.DataType.INT64)))


@composed("ExpandDims")
def expand_dims(op: Emitter, node: ir.Node, x: V, axis: V) -> V:
    """y is x with one more axis, of length 1."""
    return op.Unsqueeze(x, op.Reshape(op.Cast(axis, to=int(ir.DataType.INT64)), [1]))


@composed("Pad")
def pad(op: Emitter, node: ir.Node, x: V, pads: V, value: V | None = None) -> V:
    """y is x, padded; *pads* may be one row of a matrix, *value* a vector of one number."""
    value = None if value is None else op.Reshape(value, np.empty(0, np.int64))
    return op.Pad(x, op.Reshape(pads, [-1]), value, **copied(node, "mode"))


@composed("ConvTransposeWithDynamicPads")
def conv_transpose_with_dynamic_pads(op: Emitter, node: ir.Node, x: V, w: V, pads: V, b: V | None = None) -> V:
    """y = ConvTranspose(x, w, b) cropped by *pads*, known at run time."""
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    if auto != "NOTSET":
        raise unsupported(node, f"auto_pad {auto!r}")
    y = op.ConvTranspose(x, w, b, **copied(node, "dilations", "group", "kernel_shape", "output_padding", "strides"))
    n = rank(x) - 2
    ends = op.Sub(op.Shape(y, start=2), op.Slice(pads, [n], [2 * n], [0]))
    return op.Slice(y, op.Slice(pads, [0], [n], [0]), ends, list(range(2, n + 2)))


@composed("CropAndResize")
def crop_and_resize(op: Emitter, node: ir.Node, x: V, boxes: V, images: V, size: V) -> V:
    """y[r] is the crop boxes[r] = (y1, x1, y2, x2) of image images[r], in relative coordinates, corners aligned."""
    dtype = gradient_dtype(x)
    axes = []
    for axis in (0, 1):  # y, then x
        low, high = (op.Slice(boxes, [axis + i], [axis + i + 1], [1]) for i in (0, 2))
        steps = op.Sub(op.Squeeze(op.Slice(size, [axis], [axis + 1], [0]), [0]), op.const(1, size.dtype))
        steps = op.Cast(steps, to=int(dtype))
        one = op.Equal(steps, 0.0)  # of one pixel the middle is taken
        share = op.Div(op.Range(0.0, op.Add(steps, 1.0), 1.0), op.Where(one, 1.0, steps))
        share = op.Where(one, 0.5, share)
        axes.append(op.Sub(op.Mul(op.Add(low, op.Mul(op.Sub(high, low), share)), 2.0), 1.0))
    ys, xs = op.Unsqueeze(axes[0], [2, 3]), op.Unsqueeze(axes[1], [1, 3])
    flat = op.Mul(ys, 0.0)
    grid = op.Concat(op.Add(flat, xs), op.Add(ys, op.Mul(xs, 0.0)), axis=3)
    mode = node.attributes.get_string("mode", "bilinear")
    if mode == "bilinear" and (op.graph.opset_imports.get("") or 0) >= LINEAR:
        mode = "linear"
    picked = op.Gather(x, images)
    y = op.GridSample(picked, grid, align_corners=1, padding_mode="border", mode=mode)
    inside = op.And(op.LessOrEqual(op.Abs(ys), 1.0), op.LessOrEqual(op.Abs(xs), 1.0))
    outer = float(node.attributes.get_float("extrapolation_value", 0.0))
    return op.Where(op.Squeeze(op.Unsqueeze(inside, [1]), [4]), y, op.const(outer, dtype))


@rule("Inverse", domain=MICROSOFT)
def inverse(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = x⁻¹: dx = -yᵀ dy yᵀ."""
    dims = rank(x)
    turned = op.Transpose(node.outputs[0], perm=[*range(dims - 2), dims - 1, dims - 2])
    return (op.Neg(op.MatMul(turned, op.MatMul(dy, turned))),)


COMPOSITIONS.shapes[MICROSOFT, "Inverse"] = lambda node: node.inputs[0].shape  # type: ignore[union-attr]


@composed("CDist")
def cdist(op: Emitter, node: ir.Node, a: V, b: V) -> V:
    """y[i, j] = ‖a[i] - b[j]‖, or its square."""
    metric = node.attributes.get_string("metric", "sqeuclidean")
    if metric not in ("euclidean", "sqeuclidean"):
        raise unsupported(node, f"metric {metric!r}")
    reduce = op.ReduceL2 if metric == "euclidean" else op.ReduceSumSquare
    return reduce(op.Sub(op.Unsqueeze(a, [1]), op.Unsqueeze(b, [0])), [2], keepdims=0)


@composed("UnfoldTensor")
def unfold_tensor(op: Emitter, node: ir.Node, x: V) -> V:
    """y is all windows of `size` along axis `dim`, a step apart; the last axis is that of a window."""
    get, dims = node.attributes.get_int, rank(x)
    axis, size = get("dim", -1) % dims, get("size")
    firsts = op.Range(0, op.Sub(op.Squeeze(op.dim(x, axis), [0]), size - 1), get("step", 1))
    windows = op.Gather(x, op.Add(op.Unsqueeze(firsts, [1]), op.Range(0, size, 1)), axis=axis)
    return op.Transpose(windows, perm=[i for i in range(dims + 1) if i != axis + 1] + [axis + 1])


@composed("NhwcMaxPool")
def nhwc_max_pool(op: Emitter, node: ir.Node, x: V) -> V:
    """y = MaxPool(x), channels last."""
    image = channels_first(op, x)
    return channels_back(op, op.MaxPool(image, **copied(node, *WINDOW, "ceil_mode")), rank(x))


@composed("ScaledSiLU")
def scaled_silu(op: Emitter, node: ir.Node, x: V, scale: V | None = None) -> V:
    """y = z sigmoid(z), z = α x."""
    z = op.Mul(x, float(node.attributes.get_float("alpha", 1.0)) if scale is None else scale)
    return op.Mul(z, op.Sigmoid(z))


@composed("GatedAdd")
def gated_add(op: Emitter, node: ir.Node, x: V, y: V, gate: V, weight: V | None = None) -> V:
    """z = x + y gate."""
    if weight is not None:
        raise unsupported(node, "a projected gate")
    return op.Add(x, op.Mul(y, gate))
