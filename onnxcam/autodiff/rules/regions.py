"""Deformable convolution and pooling of regions (DeformConv, RoiAlign), which sample between elements."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.cotangents import full_like
from onnxcam.autodiff.rules.sampling import LINEAR, Coordinate, Samples, samples
from onnxcam.autodiff.table import Gradients, V, rule
from onnxcam.graph.emitter import Emitter


@rule("DeformConv")
def deform_conv(
    op: Emitter, node: ir.Node, dy: V, x: V, w: V, offset: V, b: V | None = None, mask: V | None = None
) -> Gradients:
    """y = w columns + b; columns are samples of x at the kernel's positions plus offsets, times the mask."""
    group, parts = node.attributes.get_int("group", 1), node.attributes.get_int("offset_group", 1)
    planes = op.Concat(op.Mul(op.dim(x, 0), parts), op.Div(op.dim(x, 1), parts), axis=0)  # these share offsets
    image = op.Reshape(x, op.Concat(planes, op.Shape(x, start=2), axis=0))
    near = _deformed(op, node, x, w, offset, op.Shape(dy, start=2), parts)
    weights = op.Reshape(w, op.Concat([group, -1], op.ReduceProd(op.Shape(w, start=1), keepdims=1), axis=0))
    flat = op.Reshape(dy, op.Concat([0, group, -1], op.ReduceProd(op.Shape(dy, start=2), keepdims=1), axis=0))
    columns = op.MatMul(op.Transpose(weights, perm=[0, 2, 1]), flat)
    columns = op.Reshape(columns, op.Concat(planes, [-1], axis=0))  # to where each sample was taken
    factor = None if mask is None else op.Reshape(mask, op.Concat(op.Shape(near.places, end=1), [1, -1], axis=0))
    masked = columns if factor is None else op.Mul(columns, factor)

    def sampled() -> V:
        return op.ReduceSum(op.Mul(near.neighbours(image), near.weight()), [3], keepdims=0)

    def to_weights() -> V:
        values = sampled() if factor is None else op.Mul(sampled(), factor)
        values = op.Reshape(values, op.Concat(op.dim(x, 0), op.Shape(weights, end=1), op.dim(weights, 2), [-1], axis=0))
        products = op.MatMul(flat, op.Transpose(values, perm=[0, 1, 3, 2]))
        return op.Reshape(op.ReduceSum(products, [0], keepdims=0), op.Shape(w))

    def to_offset() -> V:
        products = near.products(masked, image)
        axes = [near.along(i, products) for i in (0, 1)]
        taps = op.ReduceProd(op.Shape(w, start=2), keepdims=1)
        rows = [op.Unsqueeze(op.Reshape(axis, op.Concat([0], taps, [-1], axis=0)), [2]) for axis in axes]
        return op.Reshape(op.Concat(*rows, axis=2), op.Shape(offset))

    return (
        lambda: op.Reshape(near.back(masked, image), op.Shape(x)),
        to_weights,
        to_offset,
        None if b is None else lambda: op.ReduceSum(dy, [0, 2, 3], keepdims=0),
        None if mask is None else lambda: op.Reshape(op.ReduceSum(op.Mul(columns, sampled()), [1]), op.Shape(mask)),
    )


def _deformed(op: Emitter, node: ir.Node, x: V, w: V, offset: V, size: V, parts: int) -> Samples:
    """Return the neighbours of all samples, [N parts, taps positions]."""
    taps = op.ReduceProd(op.Shape(w, start=2), keepdims=1)
    shifts = op.Reshape(offset, op.Concat([-1], taps, [2], size, axis=0))
    axes = []
    for i in (0, 1):
        stride, dilation = (node.attributes.get_ints(name, [1, 1])[i] for name in ("strides", "dilations"))
        pad = node.attributes.get_ints("pads", [0, 0, 0, 0])[i]
        length = op.Squeeze(op.Slice(size, [i], [i + 1]), [0])
        outer = op.Sub(op.Mul(op.Range(0, length, 1), stride), pad)
        inner = op.Mul(op.Range(0, op.Squeeze(op.dim(w, i + 2), [0]), 1), dilation)
        places = op.Add(op.Unsqueeze(inner, [1]), op.Unsqueeze(outer, [0]))  # [kernel, positions] of this axis
        places = op.Unsqueeze(places, [1, 3] if i == 0 else [0, 2])
        shape = op.Concat(op.Shape(w, start=2), size, axis=0)
        places = op.Reshape(op.Expand(places, shape), op.Concat(taps, size, axis=0))
        moved = op.Add(op.Gather(shifts, i, axis=2), op.flag(places, x))
        axes.append(Coordinate(op.Reshape(moved, [0, -1]), op.dim(x, i + 2)))
    return samples(op, axes, LINEAR, "zeros")


@rule("RoiAlign")
def roi_align(op: Emitter, node: ir.Node, dy: V, x: V, rois: V, images: V) -> Gradients:
    """y: means or maxima of samples of x on a grid in each bin of a region; regions have no gradient."""
    near, share = _aligned(op, node, x, rois, images)
    flat = op.Reshape(op.Transpose(x, perm=[1, 0, 2, 3]), op.Concat([1], op.dim(x, 1), [-1], axis=0))
    rows = op.Reshape(op.Transpose(dy, perm=[1, 0, 2, 3]), op.Concat([1], op.dim(x, 1), [-1, 1], axis=0))
    if node.attributes.get_string("mode", "avg") == "avg":
        dx = near.back(op.Reshape(op.Mul(rows, share), [0, 0, -1]), flat)
    else:  # the maximum is that of weighted neighbours
        weight = op.Mul(near.weight(), op.Reshape(op.flag(op.Greater(share, 0.0), x), [1, 1, -1, 1]))
        parts = op.Mul(near.neighbours(flat), weight)
        bins = op.Reshape(parts, op.Concat([0, 0], op.Shape(rows, start=2, end=3), [-1], axis=0))
        wins = op.flag(op.Equal(bins, op.ReduceMax(bins, [3])), x)
        wins = op.Mul(wins, op.Div(rows, op.ReduceSum(wins, [3])))
        dx = near.add_up(op.Mul(op.Reshape(wins, op.Shape(parts)), weight), flat)
    shape = op.Concat(op.dim(x, 1), op.dim(x, 0), op.Shape(x, start=2), axis=0)
    return op.Transpose(op.Reshape(dx, shape), perm=[1, 0, 2, 3]), None, None


def _aligned(op: Emitter, node: ir.Node, x: V, rois: V, images: V) -> tuple[Samples, V]:
    """Return the neighbours of all samples [1, P, 4] in all images, and their shares of the bin, [1, 1, B, S]."""
    corners = op.Split(rois, axis=1, num_outputs=4, outputs=4)
    bins = [_bins(op, node, x, corners[1 - i], corners[3 - i], i) for i in (0, 1)]
    others = [2, 4], [1, 3]  # the axes of the result that belong to the other axis of the image
    at, share = ([op.Unsqueeze(bins[i][k], others[i]) for i in (0, 1)] for k in (0, 1))
    shape = op.Shape(op.Add(*at))
    axes = [Coordinate(op.Reshape(op.Expand(z, shape), [1, -1]), op.dim(x, i + 2)) for i, z in enumerate(at)]
    near = samples(op, axes, LINEAR, "border")
    first = op.Mul(images, op.ReduceProd(op.Shape(x, start=2), keepdims=0))
    rows = op.Reshape(near.places, op.Concat(op.dim(rois, 0), [-1], axis=0))
    places = op.Reshape(op.Add(rows, op.Unsqueeze(first, [1])), [1, -1])
    count = op.Gather(shape, [3, 4])
    shares = op.Reshape(op.Mul(*share), op.Concat([1, 1, -1], op.ReduceProd(count, keepdims=1), axis=0))
    return Samples(op, places, near.weights, near.slopes), shares


def _bins(op: Emitter, node: ir.Node, x: V, start: V, end: V, i: int) -> tuple[V, V]:
    """Return the samples' coordinates along an axis and their shares of the bin, [regions, bins, samples]."""
    attributes = node.attributes
    bins = attributes.get_int(("output_height", "output_width")[i], 1)
    ratio, scale = attributes.get_int("sampling_ratio", 0), attributes.get_float("spatial_scale", 1.0)
    half = attributes.get_string("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    size = op.Mul(op.Sub(end, start), scale)
    extent = op.Div(size if half else op.Max(size, 1.0), float(bins))
    first = op.Sub(op.Mul(start, scale), 0.5 if half else 0.0)
    count = full_like(op, extent, float(ratio)) if ratio else op.Ceil(extent)
    most = op.Cast(op.ReduceMax(count, keepdims=0), to=int(ir.DataType.INT64))
    s = op.flag(op.Range(0, most, 1), x)
    share = op.Unsqueeze(op.Div(op.flag(op.Less(s, count), x), op.Max(count, 1.0)), [1])
    inside = op.Unsqueeze(op.Div(op.Add(s, 0.5), op.Max(count, 1.0)), [1])
    steps = op.const(np.arange(bins)[:, None], x.dtype or ir.DataType.FLOAT)
    at = op.Add(op.Mul(op.Add(inside, steps), op.Unsqueeze(extent, [2])), op.Unsqueeze(first, [2]))
    length = op.flag(op.dim(x, i + 2), x)
    seen = op.And(op.GreaterOrEqual(at, -1.0), op.LessOrEqual(at, length))
    return op.Max(op.Min(at, op.Sub(length, 1.0)), 0.0), op.mask(share, seen)
