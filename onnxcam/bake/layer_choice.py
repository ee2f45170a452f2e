"""The maps of several targets in one pass, each at the layer of its level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.bake.plan import RepeatedTargets, TargetGroup, images_of
from onnxcam.errors import MethodError, ModelError
from onnxcam.graph.emitter import Emitter
from onnxcam.methods.base import GraphMethod, Method
from onnxcam.methods.repeated import emit_maps
from onnxcam.model.prepared import PreparedModel
from onnxcam.structure.layer import Layer
from onnxcam.structure.layout import picture_layout

__all__ = ["drawn"]


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

    Each is at the layer of its group, or at the first of *layers*. Maps of smaller layers are enlarged to the largest.
    """
    if not (isinstance(method, GraphMethod) and method.gradient_cam):
        raise MethodError(f"{method.id} is not baked into detectors; these are: layercam, gradcam, hirescam and others")
    groups = [one if one.layer is not None else replace(one, layer=layers[0]) for one in targets.groups]
    sizes = [_size(one.layer) for one in groups if one.layer is not None]
    size = _picture_size(subject) if enlarge else max(sizes, key=np.prod)
    count = op.Mul(op.dim(subject.image, 0), op.const(np.array([targets.count])))
    maps = [
        _real(op, _maps(op, subject, method, one, targets.count, settings or {}), one.rows, count) for one in groups
    ]
    places = op.Concat(*(one.rows for one in groups), axis=0)
    if len(set(sizes)) == 1:
        large = _enlarged(op, _ordered(op, maps, places, count), sizes[0], size)
    else:
        each = [_enlarged(op, flat, own, size) for flat, own in zip(maps, sizes, strict=True)]
        large = _ordered(op, each, places, count)
    stacked: ir.Value = op.Reshape(large, [-1, targets.count, *size])
    stacked.shape = ir.Shape([subject.batch, targets.count, *size])
    return stacked


def _real(op: Emitter, flat: ir.Value, rows: ir.Value, count: ir.Value) -> ir.Value:
    """Return the maps *flat*, [M, h, w], with zeros for those that are of no target, at the places *count*."""
    return op.Where(op.Reshape(op.Less(rows, count), [-1, 1, 1]), flat, 0.0)


def _ordered(op: Emitter, maps: Sequence[ir.Value], places: ir.Value, count: ir.Value) -> ir.Value:
    """Return *maps*, [M, h, w] each, at their *places* among *count* maps; others are the last one of the first group.

    A group ends with a map of no target, where it may not be all.
    """
    every = op.Concat(*maps, axis=0) if len(maps) > 1 else maps[0]
    spare = op.Sub(op.dim(maps[0], 0), op.const(np.array([1])))
    numbers = op.Range(0, op.Squeeze(op.dim(every, 0), [0]), 1)
    rows = op.ScatterElements(op.Expand(spare, op.Add(count, op.const(np.array([1])))), places, numbers, axis=0)
    found: ir.Value = op.Gather(every, op.Slice(rows, [0], count, [0]), axis=0)
    return found


def _maps(
    op: Emitter,
    subject: PreparedModel,
    method: GraphMethod,
    group: TargetGroup,
    count: int,
    settings: Mapping[str, Any],
) -> ir.Value:
    """Return the maps of a *group*, [M, h, w]; *count* is the number of targets of each image."""
    assert group.layer is not None
    images = images_of(op, subject, group.rows, count)
    flat = emit_maps(op, subject.image, method, group.layer, group.seeds, images, settings, group.windows)
    if flat is None:
        raise ModelError(
            "the model mixes the rows of images between its last layers and its scores, so its detections cannot be "
            "explained in one pass; export it without its last steps, such as NonMaxSuppression, and bake that"
        )
    return flat


def _enlarged(op: Emitter, flat: ir.Value, own: tuple[int, ...], size: tuple[int, ...]) -> ir.Value:
    """Return maps [M, h, w] in *size*, by bilinear interpolation: a product with a matrix for each axis."""
    rows, columns = (_bilinear(*pair) for pair in zip(own, size, strict=True))
    large = flat if rows is None else op.MatMul(op.const(rows), flat)
    return large if columns is None else op.MatMul(large, op.const(np.ascontiguousarray(columns.T)))


def _bilinear(cells: int, pixels: int) -> NDArray[np.float32] | None:
    """Return the weights [pixels, cells] of linear interpolation between the middles of cells; None where equal."""
    if cells == pixels:
        return None
    at = ((np.arange(pixels) + 0.5) * cells / pixels - 0.5).clip(0, cells - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(cells))).astype(np.float32)


def _size(layer: Layer) -> tuple[int, ...]:
    return tuple(layer.layout.size(layer.value))


def _picture_size(subject: PreparedModel) -> tuple[int, ...]:
    layout = picture_layout(subject.image)
    size = () if layout is None else tuple(layout.size(subject.image))
    if len(size) != 2 or not all(isinstance(length, int) for length in size):
        raise ModelError("the size of the input is open; a detector is baked for one size: fix it in the export")
    return size
