"""The maps of several targets in one pass; for each the last layer counts whose gradient covers most of its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.bake.plan import LayersAt, RepeatedTargets
from onnxcam.bake.repeated import RepeatedContext, RepeatedPart, can_repeat, gradients_of
from onnxcam.errors import MethodError, ModelError
from onnxcam.graph.emitter import Emitter
from onnxcam.methods.base import NONE, SMOOTH, GraphMethod, Method
from onnxcam.model.prepared import PreparedModel
from onnxcam.structure.layer import Layer
from onnxcam.structure.layout import picture_layout
from onnxcam.targets.aim import Aimed

__all__ = ["drawn"]

_FLOAT = int(ir.DataType.FLOAT)


def drawn(
    op: Emitter,
    subject: PreparedModel,
    method: Method,
    layers: Sequence[Layer],
    targets: RepeatedTargets,
    settings: Mapping[str, Any] | None,
    *,
    enlarge: bool,
) -> ir.Value:
    """Return the maps of *targets*, [N, K, h, w], of the size of the image where they are to be *enlarged*.

    Each is at the layer that its place decides, by the rule of `onnxcam.structure.choose.widest`, or at *layers*. Maps
    of smaller layers are enlarged to the largest.
    """
    if not (isinstance(method, GraphMethod) and method.gradient_cam):
        raise MethodError(f"{method.id} is not baked into detectors; these are: layercam, gradcam, hirescam and others")
    every = {layer.tensor: layer for at in targets.among for layer in at.layers} or {x.tensor: x for x in layers}
    usable = [x.tensor for x in every.values() if can_repeat(op.graph, [x.value], list(targets.seeds), subject.image)]
    if not usable:
        raise ModelError(
            "the model mixes the rows of images between its last layers and its scores, so its detections cannot be "
            "explained in one pass; export it without its last steps, such as NonMaxSuppression, and bake that"
        )
    every = {name: every[name] for name in usable}
    part = RepeatedPart(
        op, subject.image, [layer.value for layer in every.values()], list(targets.seeds), targets.count
    )
    gradients = gradients_of(part, targets.seeds)
    first = next(iter(targets.seeds))
    aimed = Aimed(first, targets.seeds[first], targets.seeds[first])
    own = dict(settings or {})
    eigen = "eigen" in own.pop(SMOOTH, NONE)
    contexts = {
        name: RepeatedContext(
            op, subject.image, Layer(part.of(layer.value), layer.layout), aimed, eigen, gradients=gradients
        )
        for name, layer in every.items()
    }
    picture = _picture_size(subject)
    chosen = _times(op, targets.among, contexts, picture)
    maps = {name: op.Cast(method.emit(one, **own), to=_FLOAT) for name, one in contexts.items()}
    size = picture if enlarge else max((_size(one.layer) for one in contexts.values()), key=np.prod)
    total = _sum(op, [(maps[name], chosen.get(name), _size(one.layer)) for name, one in contexts.items()], size)
    part.finish()
    stacked: ir.Value = op.Reshape(total, [-1, targets.count, *size])
    stacked.shape = ir.Shape([subject.batch, targets.count, *size])
    return stacked


def _times(
    op: Emitter, among: Sequence[LayersAt], contexts: Mapping[str, RepeatedContext], picture: tuple[int, ...]
) -> dict[str, ir.Value]:
    """Return for each layer 1 where it is chosen, else 0, [N · K]; nothing where there is no choice."""
    found: dict[str, list[ir.Value]] = {}
    for at in among if len(contexts) > 1 else ():
        layers = [layer for layer in at.layers if layer.tensor in contexts]
        for layer, chosen in zip(layers, _chosen(op, replace(at, layers=layers), contexts, picture), strict=True):
            found.setdefault(layer.tensor, []).append(op.Cast(op.And(chosen, at.here), to=_FLOAT))
    return {name: op.total(*each) for name, each in found.items()}


def _sum(
    op: Emitter, parts: Sequence[tuple[ir.Value, ir.Value | None, tuple[int, ...]]], size: tuple[int, ...]
) -> ir.Value:
    """Return the sum of maps [N · K, h, w], each times its factor [N · K], in *size*.

    Maps of one size are added before they are enlarged.
    """
    groups: dict[tuple[int, ...], list[ir.Value]] = {}
    for flat, factor, own in parts:
        taken = flat if factor is None else op.Mul(flat, op.Reshape(factor, [-1, 1, 1]))
        groups.setdefault(own, []).append(taken)
    return op.total(*(_enlarged(op, op.total(*each), own, size) for own, each in groups.items()))


def _chosen(
    op: Emitter, at: LayersAt, contexts: Mapping[str, RepeatedContext], picture: tuple[int, ...]
) -> list[ir.Value]:
    """Return for each layer whether it is the one, bool [N · K]."""
    if len(at.layers) == 1:
        return [at.here]
    pairs = [_shares(contexts[layer.tensor], at.box, picture) for layer in at.layers]
    inside, whole = (op.Concat(*(op.Unsqueeze(one, [1]) for one in each), axis=1) for each in zip(*pairs, strict=True))
    blank = op.Equal(op.ReduceMax(inside, [1], keepdims=1), 0.0)
    shares = op.Where(blank, whole, inside)
    enough = op.Min(op.ReduceMax(shares, [1], keepdims=1), op.const(np.float32(0.5)))
    first = op.ArgMax(op.Cast(op.GreaterOrEqual(shares, enough), to=_FLOAT), axis=1, keepdims=0)
    return [op.Equal(first, place) for place in range(len(at.layers))]


def _shares(context: RepeatedContext, box: ir.Value, picture: tuple[int, ...]) -> tuple[ir.Value, ir.Value]:
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
