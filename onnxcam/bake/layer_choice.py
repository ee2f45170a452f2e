"""The choice of the layer in the graph: for each image the last layer whose gradient covers most of a place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxcam.bake.plan import Emitted, LayersAt
from onnxcam.errors import ModelError
from onnxcam.graph.emitter import Emitter
from onnxcam.methods.context import MapContext
from onnxcam.model.prepared import PreparedModel
from onnxcam.structure.layer import Layer
from onnxcam.structure.layout import picture_layout
from onnxcam.targets.aim import Aimed

__all__ = ["drawn_among"]

_FLOAT = int(ir.DataType.FLOAT)

Draw = Callable[[Sequence[Layer], Aimed], ir.Value]
"""From layers and a target to the raw map [N, h, w]."""


def drawn_among(op: Emitter, subject: PreparedModel, emitted: Emitted, draw: Draw) -> list[ir.Value]:
    """Return the map of each target at the layer that its place decides, all of one size, [N, h, w].

    The rule is that of `onnxcam.structure.choose.widest`. Maps of smaller layers are enlarged to the largest.
    """
    layers = {layer.tensor: layer for among in emitted.among for at in among for layer in at.layers}
    size = max((_size(layer) for layer in layers.values()), key=np.prod)
    picture = _picture_size(subject)
    return [
        _drawn(op, subject, target, among, draw, size, picture)
        for target, among in zip(emitted.targets, emitted.among, strict=True)
    ]


def _drawn(
    op: Emitter,
    subject: PreparedModel,
    target: Aimed,
    among: Sequence[LayersAt],
    draw: Draw,
    size: tuple[int, ...],
    picture: tuple[int, ...],
) -> ir.Value:
    """Return the sum of the maps at all layers, each times 1 where its layer is chosen, else 0."""
    wanted: dict[str, tuple[Layer, list[ir.Value]]] = {}
    context = MapContext(op, subject.differentiable(), None, target)
    for at in among:
        for layer, chosen in zip(at.layers, _chosen(context, at, picture), strict=True):
            wanted.setdefault(layer.tensor, (layer, []))[1].append(op.And(chosen, at.here))
    parts = []
    for layer, times in wanted.values():
        factor = op.Reshape(op.total(*(op.Cast(one, to=_FLOAT) for one in times)), [-1, 1, 1])
        parts.append(op.Mul(_enlarged(op, draw([layer], target), _size(layer), size), factor))
    total = op.total(*parts)
    total.shape = ir.Shape([subject.batch, *size])
    return total


def _chosen(context: MapContext, at: LayersAt, picture: tuple[int, ...]) -> list[ir.Value]:
    """Return for each layer whether it is the one, bool [N]."""
    op = context.op
    if len(at.layers) == 1:
        return [at.here]
    pairs = [_shares(replace(context, chosen_layer=layer), at.box, picture) for layer in at.layers]
    inside, whole = (op.Concat(*(op.Unsqueeze(one, [1]) for one in each), axis=1) for each in zip(*pairs, strict=True))
    blank = op.Equal(op.ReduceMax(inside, [1], keepdims=1), 0.0)
    shares = op.Where(blank, whole, inside)
    enough = op.Min(op.ReduceMax(shares, [1], keepdims=1), op.const(np.float32(0.5)))
    first = op.ArgMax(op.Cast(op.GreaterOrEqual(shares, enough), to=_FLOAT), axis=1, keepdims=0)
    return [op.Equal(first, place) for place in range(len(at.layers))]


def _shares(context: MapContext, box: ir.Value, picture: tuple[int, ...]) -> tuple[ir.Value, ir.Value]:
    """Return the share of the cells in *box*, and that of all, where the gradient is not zero, [N] each."""
    op, space = context.op, _size(context.layer)
    gradient = op.Cast(context.activation_gradient(), to=_FLOAT)
    alive = op.Cast(op.Greater(op.ReduceMax(op.Abs(gradient), [1], keepdims=0), 0.0), to=_FLOAT)
    x1, y1, x2, y2 = op.Split(box, [1, 1, 1, 1], axis=1, outputs=4)
    rows, columns = (_within(op, *each) for each in ((y1, y2, space[0], picture[0]), (x1, x2, space[1], picture[1])))
    region = op.Mul(op.Unsqueeze(rows, [2]), op.Unsqueeze(columns, [1]))
    count = op.ReduceSum(region, [1, 2], keepdims=0)
    covered = op.Div(op.ReduceSum(op.Mul(alive, region), [1, 2], keepdims=0), op.Max(count, 1.0))
    some = op.ReduceMax(alive, [1, 2], keepdims=0)
    return op.Where(op.Greater(count, 0.0), covered, some), op.ReduceMean(alive, [1, 2], keepdims=0)


def _within(op: Emitter, low: ir.Value, high: ir.Value, cells: int, pixels: int) -> ir.Value:
    """Return 1 for the cells whose middle pixel is between *low* and *high*, [N, 1] each, else 0, [N, cells]."""
    at = np.minimum(np.arange(cells) * pixels // cells + pixels // (2 * cells), pixels - 1) + np.float32(0.5)
    middles = op.const(at[None].astype(np.float32))
    return op.Cast(op.And(op.GreaterOrEqual(middles, low), op.LessOrEqual(middles, high)), to=_FLOAT)


def _enlarged(op: Emitter, flat: ir.Value, own: tuple[int, ...], size: tuple[int, ...]) -> ir.Value:
    if own == size:
        return flat
    large = op.Concat(op.Shape(flat, start=0, end=1), [1, *size], axis=0)
    return op.Squeeze(op.Resize(op.Unsqueeze(flat, [1]), None, None, large, mode="linear"), [1])


def _size(layer: Layer) -> tuple[int, ...]:
    return tuple(layer.layout.size(layer.value))


def _picture_size(subject: PreparedModel) -> tuple[int, ...]:
    layout = picture_layout(subject.image)
    size = () if layout is None else tuple(layout.size(subject.image))
    if len(size) != 2 or not all(isinstance(length, int) for length in size):
        raise ModelError("the size of the input is open; a detector is baked for one size: fix it in the export")
    return size
