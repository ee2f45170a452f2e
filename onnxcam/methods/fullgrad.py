"""FullGrad: the contributions of the input and of every bias to the score."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.core import backward, connected, dependents
from onnxcam.autodiff.rulesets import past_rounding
from onnxcam.errors import MethodError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import rank
from onnxcam.methods.base import method
from onnxcam.methods.context import MapContext
from onnxcam.structure.layout import GridLayout, Layout, picture_layout
from onnxcam.structure.propagate import layouts

__all__ = ["enlarged", "fullgrad"]

_BIASED = frozenset("Conv ConvTranspose Gemm LayerNormalization InstanceNormalization GroupNormalization".split())
"""Operators that add their third input."""


@method("fullgrad", at_layer=True, uses_layer=False, additive=True)
def fullgrad(context: MapContext) -> ir.Value:
    """M = Σ_c ψ(∂y/∂x x)_c + Σ_layers Σ_k ψ(∂y/∂z b)_k, ψ: |·|, scaled to [0, 1], enlarged to the input's size.

    Srinivas & Fleuret, Full-Gradient Representation for Neural Network Visualization, 1905.00780. z is any tensor with
    spatial axes to which the graph adds a constant b: in convolutions, normalisations, or Add. It uses all layers. The
    input must be floating point, and the biases visible: ONNX Runtime's optimiser and its quantiser (QOperator format)
    hide them inside other operators.

    Example:
        >>> onnxcam.explain("model.onnx", "cat.jpg", method="fullgrad")
    """
    op, image = context.op, context.image
    layout = picture_layout(image)
    if layout is None or image.dtype is None or not image.dtype.is_floating_point():
        raise MethodError(
            f"fullgrad needs an image of floating point; input {image.name!r} is {image.dtype} {image.shape}; "
            "use --method gradcam"
        )
    biases = list(_biases(op, image))
    wanted = [image, *(z for z, _, _ in biases)]
    seeds = {context.target.value: context.target.seed}
    gradients = backward(op, seeds, wanted, past_rounding(STANDARD, seeds))
    if not any(gradients):
        connected(image, None, seeds, STANDARD)
    parts = []
    for (_, b, grid), g in zip([(image, image, layout), *biases], gradients, strict=True):
        if g is not None:
            parts.append(enlarged(op, _rescaled(op, grid.maps(op, op.Mul(g, b))), image, layout))
    return op.Squeeze(op.total(*parts), [1])


def enlarged(op: Emitter, maps: ir.Value, image: ir.Value, layout: GridLayout) -> ir.Value:
    """Return *maps* [N, K, *space] at the size of *image*, bilinearly."""
    size = op.Concat(op.Shape(maps, start=0, end=2), *[op.dim(image, axis) for axis in layout.space], axis=0)
    return op.Resize(maps, None, None, size, mode="linear")


def _biases(op: Emitter, image: ir.Value) -> Iterator[tuple[ir.Value, ir.Value, Layout]]:
    """Yield each tensor z with spatial axes to which a constant is added, that constant, and the layout of z."""
    found, active = layouts(op.graph, image, STANDARD), dependents(op.graph, [image], STANDARD)
    for node in op.graph:
        z = node.outputs[0]
        layout = found.get(z)
        if z not in active or layout is None or all(length == 1 for length in layout.size(z)):
            continue
        if node.domain or node.op_type.startswith("QLinear"):
            raise MethodError(
                f"fullgrad does not see the bias inside {node.op_type} (node {node.name!r}); explain the file as "
                "it was before it was optimised or quantised, or use --method gradcam"
            )
        b = _bias(op, node, active)
        if b is not None:
            yield z, b, layout


def _bias(op: Emitter, node: ir.Node, active: set[ir.Value]) -> ir.Value | None:
    """Return the constant that *node* adds to its first output, in a shape that broadcasts; None for none."""
    inputs, z = [*node.inputs, None, None], node.outputs[0]
    if node.op_type in ("Add", "Sub"):
        fixed = [x for x in node.inputs if x is not None and x not in active]
        if not fixed:
            return None
        return op.Neg(fixed[0]) if node.op_type == "Sub" and fixed[0] is inputs[1] else fixed[0]
    if node.op_type == "BatchNormalization":
        _, scale, b, mean, var = node.inputs
        root = op.Sqrt(op.Add(var, node.attributes.get_float("epsilon", 1e-5)))
        return _per_channel(op, op.Sub(b, op.Div(op.Mul(mean, scale), root)), z)
    b = inputs[2]
    if node.op_type not in _BIASED or b is None or b in active:
        return None
    return b if node.op_type in ("Gemm", "LayerNormalization") else _per_channel(op, b, z)


def _per_channel(op: Emitter, b: ir.Value, z: ir.Value) -> ir.Value:
    return op.Reshape(b, [1, -1, *[1] * (rank(z) - 2)])


def _rescaled(op: Emitter, maps: ir.Value) -> ir.Value:
    """Return Σ_k |maps_k|, each scaled to [0, 1] over the axes of space: [N, 1, *space]."""
    size, space = op.Abs(maps), op.axes(maps, 2)
    above = op.Sub(size, op.ReduceMin(size, space, keepdims=1))
    top = op.ReduceMax(above, space, keepdims=1)
    return op.ReduceSum(op.Div(above, op.Where(op.Equal(top, 0.0), 1.0, top)), [1], keepdims=1)
