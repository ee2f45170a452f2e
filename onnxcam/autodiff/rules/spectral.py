"""The Fourier transform."""

from __future__ import annotations

import onnx_ir as ir

from onnxcam.autodiff.rules.arithmetic import cast_to
from onnxcam.autodiff.table import Gradients, V, rule
from onnxcam.graph.emitter import Emitter


@rule("DFT")
def dft(op: Emitter, node: ir.Node, dy: V, x: V, length: V | None = None, axis: V | None = None) -> Gradients:
    """y = F x: dx = F* dy, and n F⁻¹ = F* for a transform of length n.

    For a onesided spectrum the forward transform omits the mirrored bins, and the inverse counts them twice.
    """
    inverse, onesided = node.attributes.get_int("inverse", 0), node.attributes.get_int("onesided", 0)
    (y,) = node.outputs
    along = op.const([node.attributes.get_int("axis", 1)]) if _is_old(node) else op.const([-2])
    along = along if axis is None else op.Reshape(axis, [1])
    many = op.Gather(op.Shape(x if inverse == onesided == 0 else y), along)
    if length is not None:
        many = op.Reshape(length, [1])
    elif onesided and not inverse:
        many = op.Gather(op.Shape(x), along)
    if inverse:
        dx = op.Div(_transform(op, node, dy, axis, 0, onesided), cast_to(op, many, dy))
        if onesided:
            dx = op.Mul(dx, _multiplicity(op, many, along, dy))
        bins = op.Gather(op.Shape(x), along)
        dx = _fit(op, dx, bins, along) if onesided or length is not None else dx
    else:
        full = _fit(op, dy, many, along) if onesided else dy
        dx = op.Mul(_transform(op, node, full, axis, 1, 0), cast_to(op, many, dy))
        dx = dx if length is None else _fit(op, dx, op.Gather(op.Shape(x), along), along)
    return op.Slice(dx, [0], op.dim(x, -1), [-1]), None, None


def _is_old(node: ir.Node) -> bool:
    """Whether the axis is an attribute, as before opset 20."""
    version = node.version or (node.graph.opset_imports.get("") if node.graph is not None else None)
    return version is not None and version < 20


def _transform(op: Emitter, node: ir.Node, x: V, axis: V | None, inverse: int, onesided: int) -> V:
    settings = {"axis": node.attributes.get_int("axis", 1)} if _is_old(node) else {}
    operands = [x] if axis is None else [x, None, axis]
    return op.DFT(*operands, inverse=inverse, onesided=onesided, **settings)


def _fit(op: Emitter, z: V, length: V, axis: V) -> V:
    """Cut or pad *z* to *length* along *axis*."""
    cut = op.Slice(z, [0], length, axis)
    missing = op.Sub(length, op.Gather(op.Shape(cut), axis))
    return op.Pad(cut, op.Concat([0], missing, axis=0), None, axis)


def _multiplicity(op: Emitter, length: V, axis: V, like: V) -> V:
    """Return the multiplicity of each bin of half a spectrum: 2, except 1 for the first and the middle bin."""
    bins = op.Range(0, op.Squeeze(op.Add(op.Div(length, 2), 1), [0]), 1)
    alone = op.Or(op.Equal(bins, 0), op.Equal(op.Mul(bins, 2), length))
    ones = op.Expand(1, op.Shape(op.Shape(like)))
    shape = op.ScatterElements(ones, op.Where(op.Less(axis, 0), op.Add(axis, op.Shape(op.Shape(like))), axis), [-1])
    return op.Reshape(op.Sub(2.0, op.flag(alone, like)), shape)
