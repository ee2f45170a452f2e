"""The blocked layout of ONNX Runtime's CPU convolutions (domain com.microsoft.nchwc).

A tensor declared as [N, C, H, W] is stored as [N, C / B, H, W, B], with C padded to a multiple of B, the width of the
processor's vectors. Cotangents of blocked tensors are blocked too, so that rules of pointwise operators apply as they
are. ReorderInput and ReorderOutput convert from and to the plain layout; the rules do not need B.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.rules.compose import WINDOW, composed, copied, length
from onnxcam.autodiff.rules.fused import activated
from onnxcam.autodiff.table import COMPOSITIONS, Gradients, V, rule
from onnxcam.graph.emitter import Emitter

NCHWC = "com.microsoft.nchwc"
NARROWEST, WIDEST = 8, 16  # channels of a block, over all processors


def plain(op: Emitter, x: V, channels: int, channels_last: int = 0) -> V:
    """Return blocked *x* as [N, channels, H, W], or with its channels last."""
    y = op.ReorderOutput(x, domain=NCHWC, channels=channels, channels_last=channels_last)
    if x.shape is not None:
        n, _, *space = x.shape
        y.shape = ir.Shape([n, *space, channels] if channels_last else [n, channels, *space])
    return y


def blocked(op: Emitter, x: V, like: V | None = None, channels_last: int = 0) -> V:
    """Return *x* blocked, of the shape of *like*."""
    y = op.ReorderInput(x, domain=NCHWC, channels_last=channels_last)
    y.shape = None if like is None else like.shape
    return y


def takes_blocked(node: ir.Node, x: V, w: V) -> bool:
    """Whether a convolution reads *x* blocked: if each group has a block of channels, or one channel."""
    if node.attributes.get_int("group", 1) > 1 or length(w, 1) >= WIDEST:
        return True
    return length(w, 1) % NARROWEST == 0 and is_blocked(x)


def is_blocked(x: V) -> bool:
    """Whether *x* is blocked: an output of that domain, or of pointwise operators on blocked tensors."""
    node = x.producer()
    if node is None or node.domain != NCHWC:
        return node is not None and node.op_type in POINTWISE and any(is_blocked(y) for y in node.inputs if y)
    return node.op_type != "ReorderOutput"


def _reordered(node: ir.Node) -> ir.Shape:
    """Return the shape of a reorder's output; the convolutions that read it determine the padding of channels."""
    dims, last = list(node.inputs[0].shape or ()), node.attributes.get_int("channels_last", 0)  # type: ignore[union-attr]
    if node.op_type == "ReorderOutput":
        n, _, *space = dims
        given = node.attributes.get_int("channels", 0)
        return ir.Shape([n, *space, given] if last else [n, given, *space])
    n, c, *space = [dims[0], dims[-1], *dims[1:-1]] if last else dims
    kernels = [user.inputs[1] for user in node.outputs[0].consumers() if user.op_type == "Conv"]
    padded = [length(w, 1 if length(w, 1) > 1 else 0) for w in kernels if w is not None]
    width = padded[0] if padded else -(-c // NARROWEST) * NARROWEST if isinstance(c, int) else c
    return ir.Shape([n, width, *space])


COMPOSITIONS.shapes.update(dict.fromkeys(((NCHWC, "ReorderInput"), (NCHWC, "ReorderOutput")), _reordered))

POINTWISE = frozenset(
    "Add Clip Concat Gelu HardSigmoid HardSwish Identity LeakyRelu Mul QuickGelu Relu Reshape Sigmoid Sum Tanh".split()
)
"""Operators of other domains that ONNX Runtime applies to blocked tensors."""


@rule("ReorderInput", domain=NCHWC)
def reorder_input(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y is x, blocked."""
    last = node.attributes.get_int("channels_last", 0)
    axis = 3 if last else 1
    if x.shape is not None and isinstance(x.shape[axis], int):
        return (plain(op, dy, length(x, axis), last),)
    return (op.Slice(plain(op, dy, length(node.outputs[0], 1), last), [0], op.dim(x, axis), [axis]),)


@rule("ReorderOutput", domain=NCHWC)
def reorder_output(op: Emitter, node: ir.Node, dy: V, x: V) -> Gradients:
    """y is x, plain, without the channels that pad it."""
    last = node.attributes.get_int("channels_last", 0)
    missing = length(x, 1) - node.attributes.get_int("channels", 0)
    if missing:
        dy = op.Pad(dy, [0] * 7 + [missing] if last else [0] * 5 + [missing, 0, 0])
    return (blocked(op, dy, x, last),)


@composed("Conv", domain=NCHWC)
def conv(op: Emitter, node: ir.Node, x: V, w: V, b: V | None = None, z: V | None = None) -> V:
    """y = f(Conv(x, w, b) + z), all blocked, except an x with fewer channels than a block."""
    attributes = copied(node, *WINDOW)
    if attributes.get("group", 1) > 1 and length(w, 1) == 1:
        attributes["group"] = length(w, 0)
    inner = takes_blocked(node, x, w)
    source = plain(op, x, length(w, 1) * attributes.get("group", 1)) if inner else x
    y = op.Conv(source, _kernel(op, w, inner and length(w, 1) > 1), b, **attributes)
    y = blocked(op, y, node.outputs[0])
    return activated(op, node, y if z is None else op.Add(y, z), *node.attributes.get_floats("activation_params", ()))


def _kernel(op: Emitter, w: V, inner: bool) -> V:
    """Return *w* as [M, C, *kernel]; it is stored as [M / B, C / B, *kernel, B, B] or [M / B, C, *kernel, B]."""
    m, c, *kernel = (length(w, axis) for axis in range(4))
    w = op.Reshape(w, [1, m, c * kernel[0], kernel[1]])
    w.shape = ir.Shape([1, m, c * kernel[0], kernel[1]])
    w = op.Reshape(plain(op, w, m), [m, c, *kernel])
    w.shape = ir.Shape([m, c, *kernel])
    return plain(op, w, c) if inner else w


@composed("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", domain=NCHWC)
def pool(op: Emitter, node: ir.Node, x: V) -> V:
    """y is the pool of x."""
    names = (*WINDOW, "ceil_mode", "count_include_pad")
    attributes = {} if node.op_type.startswith("Global") else copied(node, *(set(names) - {"group"}))
    y = op.emit(node.op_type, [plain(op, x, length(x, 1))], attributes=attributes)
    return blocked(op, y, node.outputs[0])


@composed("Upsample", domain=NCHWC)
def upsample(op: Emitter, node: ir.Node, x: V) -> V:
    """y is x resized by whole scales."""
    attributes: dict[str, Any] = copied(node, "mode", "coordinate_transformation_mode")
    if attributes.get("mode", "nearest") == "nearest":
        attributes["nearest_mode"] = "floor"
    scales = op.const(np.asarray(node.attributes.get_ints("scales", ()), np.float32))
    return blocked(op, op.Resize(plain(op, x, length(x, 1)), None, scales, **attributes), node.outputs[0])
