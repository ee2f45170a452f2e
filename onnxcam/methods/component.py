"""The principal component of a layer's channels, by powers of their Gram matrix: graphs have no SVD.

Notation as in `activation`; X [P, K] are the P positions of a layer, centred by channel.
"""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from onnxcam.graph.emitter import Emitter
from onnxcam.methods.context import MapContext

__all__ = [
    "SQUARINGS",
    "STEPS",
    "TINY",
    "centred",
    "dominant",
    "flattened",
    "leading",
    "outstanding",
    "principal_map",
    "projected",
    "signed",
]

SQUARINGS = 12
"""The number of squarings: the 4096th power of a matrix, where an eigenvalue 1 % below the largest is 1e-18 of it."""

STEPS = 24
"""The number of Lanczos iterations for a large matrix; the error falls as exp(-4 STEPS √gap)."""

TINY = 1e-30


def principal_map(context: MapContext, maps: ir.Value) -> ir.Value:
    """Return the projection of *maps* [N, K, *space] on their principal component, with the sign of their sum."""
    return signed(context, projected(context, maps), maps)


def projected(context: MapContext, maps: ir.Value) -> ir.Value:
    """Return the projection of *maps* [N, K, *space] on their principal component, [N, P], of either sign."""
    op = context.op
    x = centred(op, flattened(op, maps))  # [N, K, P]
    largest = op.ReduceMax(op.Abs(x), [1, 2], keepdims=1)
    scaled = op.Div(x, op.Max(largest, TINY))  # so that squares neither overflow nor vanish
    turned = op.Transpose(scaled, perm=[0, 2, 1])
    if _fewer_positions(context):
        v = _unit(op, op.MatMul(scaled, leading(op, op.MatMul(turned, scaled))))
    else:
        v = leading(op, op.MatMul(scaled, turned))
    return op.Squeeze(op.MatMul(op.Transpose(x, perm=[0, 2, 1]), v), [2])


def leading(op: Emitter, gram: ir.Value) -> ir.Value:
    """Return the unit eigenvector [N, n, 1] of the eigenvalue of *gram* [N, n, n], symmetric, largest in magnitude.

    A high power of it is λ u uᵀ: its largest row is u.
    """
    power = gram
    for _ in range(SQUARINGS):
        power = op.Div(power, op.Max(op.ReduceMax(op.Abs(power), [1, 2], keepdims=1), TINY))
        power = op.MatMul(power, power)
    row = op.ArgMax(op.ReduceMax(op.Abs(power), [2], keepdims=0), axis=1, keepdims=1)
    return _unit(op, op.Unsqueeze(op.GatherND(power, row, batch_dims=1), [2]))


def dominant(op: Emitter, matrix: ir.Value) -> ir.Value:
    """Return what `leading` returns, for a large *matrix*, whose powers would take too long.

    Lanczos iteration with full reorthogonalisation, done twice: one matrix-vector product a step. The start vector,
    sin i², is unlike any pattern in an image.
    """
    place = op.Cast(op.Range(0, op.Squeeze(op.dim(matrix, 1), [0]), 1), to=int(ir.DataType.FLOAT))
    v = _unit(op, op.MatMul(matrix, op.Unsqueeze(op.Sin(op.Mul(place, place)), [1])))
    basis = v
    for _ in range(STEPS - 1):
        new = along = op.MatMul(matrix, v)
        for _ in range(2):
            new = op.Sub(new, op.MatMul(basis, op.MatMul(op.Transpose(basis, perm=[0, 2, 1]), new)))
        sizes = [op.ReduceL2(w, [1], keepdims=1) for w in (new, along)]
        rounding = op.Greater(op.Mul(sizes[1], 1e-5), sizes[0])  # the basis spans the Krylov space
        v = op.Where(rounding, 0.0, _unit(op, new))
        basis = op.Concat(basis, v, axis=2)
    inside = op.MatMul(op.Transpose(basis, perm=[0, 2, 1]), op.MatMul(matrix, basis))
    return _unit(op, op.MatMul(basis, leading(op, inside)))


def signed(context: MapContext, flat: ir.Value, maps: ir.Value) -> ir.Value:
    """Return *flat* [N, P] as [N, *space], with the sign of its product with the sum of *maps* over the channels."""
    op = context.op
    total = op.ReduceSum(flattened(op, maps), [1], keepdims=0)
    return _turned(context, flat, op.Mul(flat, total))


def outstanding(context: MapContext, flat: ir.Value) -> ir.Value:
    """Return *flat* [N, P], of mean zero, as [N, *space], with the sign that makes its third moment positive.

    Then the few positions with large values are positive, an object for example, and the many of the background are
    not. The sum over channels gives such a sign only behind a ReLU: for normalised tokens it is constant.
    """
    op = context.op
    scaled = op.Div(flat, op.Max(op.ReduceMax(op.Abs(flat), [1], keepdims=1), TINY))
    return _turned(context, flat, op.Mul(op.Mul(scaled, scaled), scaled))


def _turned(context: MapContext, flat: ir.Value, signs: ir.Value) -> ir.Value:
    """Return *flat* [N, P] as [N, *space], negated where the sum of *signs* [N, P] is negative."""
    op = context.op
    along = op.ReduceSum(signs, [1], keepdims=1)
    return context.unfolded(op.Where(op.Less(along, 0.0), op.Neg(flat), flat))


def flattened(op: Emitter, maps: ir.Value) -> ir.Value:
    """Return *maps* as float32 [N, K, P]."""
    return op.Reshape(op.Cast(maps, to=int(ir.DataType.FLOAT)), [0, 0, -1])


def centred(op: Emitter, x: ir.Value) -> ir.Value:
    """Return *x* [N, K, P] minus the mean over its positions."""
    return op.Sub(x, op.ReduceMean(x, [2], keepdims=1))


def _unit(op: Emitter, v: ir.Value) -> ir.Value:
    return op.Div(v, op.Max(op.ReduceL2(v, [1], keepdims=1), TINY))


def _fewer_positions(context: MapContext) -> bool:
    """Whether the layer is known to have fewer positions than channels."""
    layer, lengths = context.layer, context.size()
    channels = None if layer.value.shape is None else layer.value.shape[layer.layout.channel]
    known = isinstance(channels, int) and all(isinstance(length, int) for length in lengths)
    return known and prod(lengths) < channels
