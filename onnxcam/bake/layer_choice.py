"""The maps of several targets in one pass, each at the layer of its level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.bake.plan import LayerAt, RepeatedTargets
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

    Each is at the layer of its level, or at the first of *layers*. Maps of smaller layers are enlarged to the largest.
    """
    if not (isinstance(method, GraphMethod) and method.gradient_cam):
        raise MethodError(f"{method.id} is not baked into detectors; these are: layercam, gradcam, hirescam and others")
    levels = targets.levels or [LayerAt(layer, None) for layer in layers[:1]]
    every = {level.layer.tensor: level.layer for level in levels}
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
    chosen = {
        level.layer.tensor: op.Cast(level.here, to=_FLOAT)
        for level in levels
        if level.here is not None and level.layer.tensor in usable
    }
    maps = {name: op.Cast(method.emit(one, **own), to=_FLOAT) for name, one in contexts.items()}
    size = picture if enlarge else max((_size(one.layer) for one in contexts.values()), key=np.prod)
    total = _sum(op, [(maps[name], chosen.get(name), _size(one.layer)) for name, one in contexts.items()], size)
    part.finish()
    stacked: ir.Value = op.Reshape(total, [-1, targets.count, *size])
    stacked.shape = ir.Shape([subject.batch, targets.count, *size])
    return stacked


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
