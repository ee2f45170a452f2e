"""Operators that only move elements: reshapes, transposes, concatenations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff import core
from onnxcam.autodiff.cotangents import zeros_like
from onnxcam.autodiff.slices import permuted_axis, reshaped_axis
from onnxcam.autodiff.table import Gradients, V, rule
from onnxcam.autodiff.window_elements import reshaped
from onnxcam.autodiff.windows import Window, static_lengths
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import rank


def _reshaped(op: Emitter, node: ir.Node, dy: Window) -> list[Window | None] | None:
    """Return the window of x that has the elements of *dy*."""
    x, (y,) = node.inputs[0], node.outputs
    part = None if x is None else reshaped(op, dy, x, y)
    return None if part is None else [part, None]


@rule("Reshape", "Flatten", sparse=True, along=reshaped_axis, window=_reshaped)
def reshape(op: Emitter, node: ir.Node, dy: core.Cotangent, x: V, shape: V | None = None) -> Gradients:
    """The elements keep their order: dx is dy in the shape of x."""
    (y,) = node.outputs
    return dy if _still_one_hot(dy, x, y) else op.reshape_like(core.dense(op, dy, y), x), None


@rule("Squeeze", sparse=True, along=reshaped_axis, window=_reshaped)
def squeeze(op: Emitter, node: ir.Node, dy: core.Cotangent, x: V, axes: V | None = None) -> Gradients:
    """Dx is dy with the axes of length 1 inserted."""
    (y,) = node.outputs
    if _still_one_hot(dy, x, y):
        return dy, None
    g = core.dense(op, dy, y)
    return op.reshape_like(g, x) if axes is None else op.Unsqueeze(g, axes), None


def _still_one_hot(dy: core.Cotangent, x: V, y: V) -> bool:
    """Whether *dy*, one-hot for y, is one-hot for x too: both are [N, C, 1, …], with or without the ones."""
    channels = y.shape[1] if y.shape is not None and core.is_column(y) else None
    return isinstance(dy, core.OneHot) and isinstance(channels, int) and core.is_column(x, channels)


@rule("Unsqueeze", along=reshaped_axis, window=_reshaped)
def unsqueeze(op: Emitter, node: ir.Node, dy: V, x: V, axes: V) -> Gradients:
    """Dx is dy without the axes of length 1."""
    return op.Squeeze(dy, axes), None


@rule("Transpose", along=permuted_axis)
def transpose(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """dx: dy with its axes in the inverse order; no order means reversed, its own inverse."""
    order = node.attributes.get_ints("perm", None)
    return (op.Transpose(dy) if order is None else op.Transpose(dy, perm=np.argsort(order).tolist()),)


@rule("Expand", broadcast=True)
def expand(op: Emitter, node: ir.Node, dy: V, x: V, shape: V) -> Gradients:
    """Sum dy over the axes along which x was repeated, as for every broadcasting operator."""
    return dy, None


@rule("Tile")
def tile(op: Emitter, node: ir.Node, dy: V, x: V, repeats: V) -> Gradients:
    """Give each axis d r of dy the shape [r, d], and sum over r."""
    pairs = op.Concat(op.Unsqueeze(repeats, [1]), op.Unsqueeze(op.Shape(x), [1]), axis=1)
    count = op.Squeeze(op.Shape(pairs, end=1), [0])
    return op.ReduceSum(op.Reshape(dy, op.Reshape(pairs, [-1])), op.Range(0, op.Mul(count, 2), 2), keepdims=0), None


def _split(op: Emitter, node: ir.Node, dy: Window) -> list[Window | None] | None:
    """Return what of *dy* is in each part."""
    axis = node.attributes.get_int("axis") % rank(node.outputs[0])
    span, found, begin = dy.spans[axis], list[Window | None](), 0
    for x in node.inputs:
        lengths = None if x is None else static_lengths(x)
        if x is None or lengths is None or axis == 0:
            return None
        end = begin + lengths[axis - 1]
        if span is None:
            part = Window.of(op.Slice(dy.value, [begin], [end], [axis]), dy.spans, x)
            found.append(part)
        elif span.bounds is not None and (span.bounds[1] + span.size <= begin or span.bounds[0] >= end):
            found.append(None)
        else:
            spans = tuple(span.shifted(begin) if i == axis else other for i, other in enumerate(dy.spans))
            found.append(Window(dy.value, spans).inside(op, x, [axis]))
        begin = end
    return found


@rule("Concat", window=_split)
def concat(op: Emitter, node: ir.Node, dy: V, *xs: V) -> Gradients:
    """Split dy into the parts."""
    if len(xs) == 1:
        return (dy,)
    axis = node.attributes.get_int("axis")
    sizes = op.Concat(*[op.dim(x, axis) for x in xs], axis=0)
    return tuple(op.Split(dy, sizes, axis=axis, outputs=len(xs)))


@rule("Split", many=True)
def split(op: Emitter, node: ir.Node, dys: Sequence[V | None], x: V, sizes: V | None = None) -> Gradients:
    """Join the cotangents of the parts; zeros for unused parts."""
    parts = [zeros_like(op, y) if dy is None else dy for dy, y in zip(dys, node.outputs, strict=True)]
    return op.Concat(*parts, axis=node.attributes.get_int("axis", 0)), None


@rule("DepthToSpace")
def depth_to_space(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """SpaceToDepth, whose depth is ordered [block, block, channel]; mode CRD wants [channel, block, block]."""
    size = node.attributes.get_int("blocksize")
    if node.attributes.get_string("mode", "DCR") == "DCR":
        return (op.SpaceToDepth(dy, blocksize=size),)
    return (_blocks_to_depth(op, dy, x, size),)


def _blocks_to_depth(op: Emitter, dy: V, x: V, size: int) -> V:
    """[N, C, H b, W b] → [N, C b b, H, W] with the depth ordered [channel, block, block]."""
    blocks = op.Reshape(dy, op.Concat([0, 0], op.dim(x, 2), [size], op.dim(x, 3), [size], axis=0))
    return op.reshape_like(op.Transpose(blocks, perm=[0, 1, 3, 5, 2, 4]), x)


@rule("SpaceToDepth")
def space_to_depth(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """DepthToSpace in the same order: DCR, or what opset 28 gives as the mode."""
    attributes = node.attributes
    mode = attributes.get_string("mode", "DCR")
    return (op.DepthToSpace(dy, blocksize=attributes.get_int("blocksize"), mode=mode),)


@rule("Trilu")
def trilu(op: Emitter, node: ir.Node, dy: V, x: V, k: V | None = None) -> Gradients:
    """The same triangle of dy."""
    return op.Trilu(dy, k, upper=node.attributes.get_int("upper", 1)), None


@rule("ReverseSequence")
def reverse_sequence(op: Emitter, node: ir.Node, dy: V, x: V, lengths: V) -> Gradients:
    """Reversing is its own inverse."""
    axes = {name: node.attributes.get_int(name, default) for name, default in (("batch_axis", 1), ("time_axis", 0))}
    return op.ReverseSequence(dy, lengths, **axes), None
