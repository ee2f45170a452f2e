"""Normalisation by running statistics, over axes, groups or neighbouring channels; softmax."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxcam.autodiff.rules.arithmetic import cast_to, nonzero, training_mode
from onnxcam.autodiff.slices import softmax_axis
from onnxcam.autodiff.table import Gradients, V, rule
from onnxcam.graph.emitter import Emitter


@rule("BatchNormalization")
def batch_normalization(op: Emitter, node: ir.Node, dy: V, x: V, scale: V, b: V, mean: V, var: V) -> Gradients:
    """y = f (x - mean) + b with f = scale / √(var + ε), one number for each channel: dx = dy f."""
    if node.attributes.get_int("training_mode", 0):
        raise training_mode(node)
    shifted = op.Add(var, node.attributes.get_float("epsilon", 1e-5))
    root = op.Sqrt(shifted)
    factor = op.Div(scale, root)

    def spread() -> V:
        return _channel_sum(op, op.Mul(dy, op.Sub(x, channelwise(op, mean, x))), x, scale)

    return (
        op.Mul(dy, channelwise(op, factor, x)),
        lambda: op.Div(spread(), root),
        lambda: _channel_sum(op, dy, x, b),
        lambda: op.Neg(op.Mul(_channel_sum(op, dy, x, mean), factor)),
        lambda: op.Mul(op.Mul(spread(), op.Div(factor, shifted)), -0.5),
    )


def channelwise(op: Emitter, v: V, x: V) -> V:
    """Return *v* [C] so that it broadcasts against *x* [N, C, ...]."""
    return op.Unsqueeze(cast_to(op, v, x), op.axes(x, 1, -1))


def _channel_sum(op: Emitter, z: V, x: V, v: V) -> V:
    """Return the sum of *z*, of the shape of *x* [N, C, ...], over all but the channels, in the dtype of *v*."""
    return cast_to(op, op.ReduceSum(z, op.Concat([0], op.axes(x, 2), axis=0), keepdims=0), v)


@rule("LayerNormalization", broadcast=True, many=True, along=softmax_axis)
def layer_normalization(
    op: Emitter, node: ir.Node, dys: Sequence[V | None], x: V, scale: V, b: V | None = None
) -> Gradients:
    """y = scale x̂ + b with x̂ = (x - μ) inv over the trailing axes, and inv = 1 / √(var + ε).

    μ and inv may be outputs too.
    """
    axis, epsilon = node.attributes.get_int("axis", -1), node.attributes.get_float("epsilon", 1e-5)
    dy, d_mean, d_inv = (*dys, None, None)[:3]
    standard, inv = standardise(op, x, op.Shape(x, start=axis), axis, epsilon)
    dx = None
    if dy is not None or d_inv is not None:
        dx = _standardised(op, None if dy is None else op.Mul(dy, scale), d_inv, standard, inv, axis)
    if d_mean is not None:
        share = op.Expand(op.Div(cast_to(op, d_mean, x), _length(op, x, axis)), op.Shape(x))
        dx = share if dx is None else op.Add(dx, share)
    if dy is None:
        return dx, None, None
    return dx, lambda: op.Mul(dy, standard), dy


def standardise(op: Emitter, x: V, lengths: V, axis: int, epsilon: float) -> tuple[V, V]:
    """Return x̂ = (x - μ) / √(var + ε) over the axes from *axis* on, of *lengths*, and 1 / √(var + ε)."""
    ones = op.Expand(op.const(1, x.dtype or ir.DataType.FLOAT), lengths)
    standard, _, inv = op.LayerNormalization(x, ones, axis=axis, epsilon=epsilon, outputs=3)
    standard.shape = x.shape
    return standard, cast_to(op, inv, x)


def _standardised(op: Emitter, g: V | None, d_inv: V | None, standard: V, inv: V, axis: int) -> V:
    """dx = inv (g - mean(g) - x̂ (mean(g x̂) + inv d_inv / n)).

    g and d_inv are the cotangents of x̂ and inv.
    """
    over = trailing(op, standard, axis)
    along = None if g is None else op.ReduceMean(op.Mul(g, standard), over)
    if d_inv is not None:
        stretch = op.Div(op.Mul(inv, cast_to(op, d_inv, standard)), _length(op, standard, axis))
        along = stretch if along is None else op.Add(along, stretch)
    parallel = op.Mul(standard, along)
    if g is None:
        return op.Neg(op.Mul(inv, parallel))
    return op.Mul(inv, op.Sub(op.Sub(g, op.ReduceMean(g, over)), parallel))


def trailing(op: Emitter, x: V, axis: int) -> V | list[int]:
    """Return the axes of *x* from *axis* on."""
    return list(range(axis, 0)) if axis < 0 else op.axes(x, axis)


def _length(op: Emitter, x: V, axis: int) -> V:
    """Return the number of entries along the axes from *axis* on, in the dtype of *x*."""
    return cast_to(op, op.ReduceProd(op.Shape(x, start=axis), keepdims=0), x)


@rule("RMSNormalization", broadcast=True)
def rms_normalization(op: Emitter, node: ir.Node, dy: V, x: V, scale: V) -> Gradients:
    """y = scale x̂ with x̂ = x / r, r = √(mean(x²) + ε): dx = (g - x̂ mean(g x̂)) / r with g = dy scale."""
    over = trailing(op, x, node.attributes.get_int("axis", -1))
    square = op.Add(op.ReduceMean(op.Mul(x, x), over), node.attributes.get_float("epsilon", 1e-5))
    root = op.Sqrt(square)
    standard = op.Div(x, root)
    g = op.Mul(dy, scale)
    dx = op.Div(op.Sub(g, op.Mul(standard, op.ReduceMean(op.Mul(g, standard), over))), root)
    return dx, lambda: op.Mul(dy, standard)


@rule("InstanceNormalization")
def instance_normalization(op: Emitter, node: ir.Node, dy: V, x: V, scale: V, b: V) -> Gradients:
    """As `layer_normalization` over the spatial axes of each channel, but scale and b are a channel each."""
    standard, inv = standardise(op, x, op.Shape(x, start=2), 2, node.attributes.get_float("epsilon", 1e-5))
    dx = _standardised(op, op.Mul(dy, channelwise(op, scale, x)), None, standard, inv, 2)
    return dx, lambda: _channel_sum(op, op.Mul(dy, standard), x, scale), lambda: _channel_sum(op, dy, x, b)


@rule("GroupNormalization")
def group_normalization(op: Emitter, node: ir.Node, dy: V, x: V, scale: V, b: V) -> Gradients:
    """As `instance_normalization`, but over the channels of a group together."""
    folded, standard, inv = grouped(op, node, x)
    g = op.Reshape(op.Mul(dy, channelwise(op, scale, x)), folded)
    dx = op.Reshape(_standardised(op, g, None, standard, inv, -1), op.Shape(x))
    return (
        dx,
        lambda: _channel_sum(op, op.Mul(dy, op.Reshape(standard, op.Shape(x))), x, scale),
        lambda: _channel_sum(op, dy, x, b),
    )


def grouped(op: Emitter, node: ir.Node, x: V) -> tuple[list[int], V, V]:
    """Return the shape of *x* with its groups as rows, and there x̂ and 1 / √(var + ε)."""
    groups, epsilon = node.attributes.get_int("num_groups"), node.attributes.get_float("epsilon", 1e-5)
    folded = [0, groups, -1]
    length = op.Div(op.ReduceProd(op.Shape(x, start=1)), groups)
    return folded, *standardise(op, op.Reshape(x, folded), length, -1, epsilon)


@rule("MeanVarianceNormalization")
def mean_variance_normalization(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = (x - μ) / σ over the axes: dx = (dy - mean(dy) - y mean(dy y)) / σ."""
    (y,) = node.outputs
    axes = list(node.attributes.get_ints("axes", [0, 2, 3]))
    centred = op.Sub(x, op.ReduceMean(x, axes))
    sigma = op.Add(op.Sqrt(op.ReduceMean(op.Mul(centred, centred), axes)), 1e-9)
    parallel = op.Mul(y, op.ReduceMean(op.Mul(dy, y), axes))
    return (op.Div(op.Sub(op.Sub(dy, op.ReduceMean(dy, axes)), parallel), sigma),)


@rule("LpNormalization")
def lp_normalization(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = x / ‖x‖: dx = (dy - ‖x‖' Σ dy y) / ‖x‖, where ‖x‖' is y for p = 2, sign(x) for p = 1."""
    (y,) = node.outputs
    axes = [node.attributes.get_int("axis", -1)]
    one = node.attributes.get_int("p", 2) == 1
    norm = (op.ReduceL1 if one else op.ReduceL2)(x, axes)
    along = op.ReduceSum(op.Mul(dy, y), axes)
    return (op.Div(op.Sub(dy, op.Mul(op.Sign(x) if one else y, along)), nonzero(op, norm)),)


@rule("LRN")
def lrn(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = x s^-β with s = bias + α avg(x²) over channels nearby: dx = dy s^-β - 2 α β x avg'(dy y / s).

    avg' is the transpose of avg: the same window, mirrored.
    """
    alpha, beta = node.attributes.get_float("alpha", 1e-4), node.attributes.get_float("beta", 0.75)
    size = node.attributes.get_int("size")
    before, after = (size - 1) // 2, size // 2
    s = op.Mul(_neighbours(op, op.Mul(x, x), x, before, after), alpha)
    s = op.Add(s, node.attributes.get_float("bias", 1.0))
    back = _neighbours(op, op.Div(op.Mul(dy, node.outputs[0]), s), x, after, before)
    return (op.Sub(op.Mul(dy, op.Pow(s, -beta)), op.Mul(op.Mul(x, back), 2 * alpha * beta)),)


def _neighbours(op: Emitter, z: V, x: V, before: int, after: int) -> V:
    """Return the average of *z*, of the shape of *x*, over neighbouring channels, zero-padded."""
    flat = op.Reshape(z, op.Concat([0, 1], op.Shape(x, start=1, end=2), [-1], axis=0))
    kernel = [before + 1 + after, 1]
    window = op.AveragePool(flat, kernel_shape=kernel, pads=[before, 0, after, 0], count_include_pad=1)
    return op.Reshape(window, op.Shape(x))


@rule("Softmax", along=softmax_axis)
def softmax(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """dx = y (dy - Σ dy y)."""
    y = node.outputs[0] if not _guarded(node.outputs[0]) else _or_zeros(op, node.outputs[0])
    axis = node.attributes.get_int("axis", -1)
    return (op.Mul(y, op.Sub(dy, op.ReduceSum(op.Mul(dy, y), [axis]))),)


def _guarded(y: V) -> bool:
    """Whether the model replaces the NaN of a softmax whose inputs are all -∞, as masked attention does."""
    users = {use.node.op_type: use.node for use in y.uses()}
    return bool(users.keys() & {"Where", "IsNaN"}) or ("Cast" in users and _guarded(users["Cast"].outputs[0]))


def _or_zeros(op: Emitter, y: V) -> V:
    return op.Where(op.IsNaN(y), 0.0, y)


@rule("LogSoftmax")
def log_softmax(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y = x - ln Σ e^x: dx = dy - e^y Σ dy."""
    axis = node.attributes.get_int("axis", -1)
    return (op.Sub(dy, op.Mul(op.Exp(node.outputs[0]), op.ReduceSum(dy, [axis]))),)
