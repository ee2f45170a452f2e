"""Graph of a baked model: heat map, overlay and preprocessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.differentiate import add_output
from onnxcam.bake.layer_choice import drawn
from onnxcam.bake.plan import BakePlan
from onnxcam.errors import ModelError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.subgraph import prune, values
from onnxcam.graph.taps import read_quantised
from onnxcam.media import colours, heatmap
from onnxcam.metadata.reserved import HEATMAP, MAP, OVERLAY, PICTURE, baked_names
from onnxcam.methods import Method, graph_map
from onnxcam.model.prepared import PreparedModel
from onnxcam.preprocess import Preprocess
from onnxcam.structure.layer import Choice, Layer
from onnxcam.structure.layout import GridLayout, picture_layout
from onnxcam.targets.aim import Aimed

__all__ = [
    "TINY",
    "MapSize",
    "explained",
]

TINY = float(np.finfo(np.float32).tiny)  # lower bound of the divisor, for maps of zeros

MapSize = Literal["input", "layer"]


def explained(
    subject: PreparedModel,
    method: Method,
    choice: Choice | None,
    plan: BakePlan,
    map_size: MapSize = "layer",
    settings: Mapping[str, Any] | None = None,
    *,
    uint8: bool = False,
    inside: Preprocess | None = None,
    overlay: bool = False,
    raw: bool = False,
) -> None:
    """Add the outputs of a baked model to *subject*, in place; arguments as for `bake`.

    *plan* says what is explained; *inside* is the preprocessing to bake.
    """
    graph = subject.model.graph
    layers = [choice.layer.in_graph(graph)] if choice else []
    op, own, names = Emitter(graph), list(graph), baked_names([value.name for value in values(graph)])
    emitted = plan.emit(op, subject)
    if emitted.repeated is not None:
        flat = drawn(op, subject, method, layers, emitted.repeated, settings, enlarge=map_size == "input")
        heat = _scaled(op, flat)
    else:
        maps = [_flat(op, subject, method, layers, target, settings) for target in emitted.targets]
        heat = _heat(op, subject, maps, map_size)
        flat = _joined(op, maps, stacked=emitted.stacked)
    shown = heat if emitted.stacked else _squeezed(op, heat)
    outputs = {names[HEATMAP]: _quantised(op, shown) if uint8 else shown, **emitted.outputs}
    if raw:
        outputs |= {MAP: flat, **emitted.raw}
    tensors = list[ir.Value]()
    if inside is not None:
        picture, tensor = _take_pictures(op, subject, inside, names[PICTURE])
        tensors.append(tensor)
        if overlay:
            outputs[names[OVERLAY]] = _overlay(op, subject, _first(op, heat), picture)
    _finish(op, outputs, tensors)
    read_quantised(graph, own)


def _flat(
    op: Emitter,
    subject: PreparedModel,
    method: Method,
    layers: Sequence[Layer],
    target: Aimed,
    settings: Mapping[str, Any] | None,
) -> ir.Value:
    """Return the raw map, float32 [N, h, w]; channels of the input are reduced as in `Explanation.map`."""
    raw = graph_map(op, subject, method, layers, target, settings)
    flat, shape, layout = op.Cast(raw, to=int(ir.DataType.FLOAT)), raw.shape, _pictures(subject)
    if not method.at_layer:
        axes = [layout.channel]
        summed = method.sums_channels
        flat = op.ReduceSum(flat, axes, keepdims=0) if summed else op.ReduceMax(op.Abs(flat), axes, keepdims=0)
        shape = ir.Shape([subject.batch, *layout.size(subject.image)])
    flat.shape = shape
    return flat


def _joined(op: Emitter, maps: Sequence[ir.Value], *, stacked: bool) -> ir.Value:
    """Return *maps* [N, h, w] as [N, K, h, w]; the only one as it is unless *stacked*."""
    if not stacked:
        return maps[0]
    joined = op.Concat(*(op.Unsqueeze(one, [1]) for one in maps), axis=1)
    known = maps[0].shape
    joined.shape = None if known is None else ir.Shape([known[0], len(maps), *known[1:]])
    return joined


def _squeezed(op: Emitter, maps: ir.Value) -> ir.Value:
    one, known = op.Squeeze(maps, [1]), maps.shape
    one.shape = None if known is None else ir.Shape([known[0], *known[2:]])
    return one


def _first(op: Emitter, maps: ir.Value) -> ir.Value:
    """Return the first of *maps* [N, K, h, w], [N, h, w]."""
    return _squeezed(op, maps) if maps.shape is None or maps.shape[1] == 1 else op.Gather(maps, op.const(0), axis=1)


def _heat(op: Emitter, subject: PreparedModel, flat: Sequence[ir.Value], size: MapSize) -> ir.Value:
    """Return ReLU(map) / max of each map, float32 [N, K, h, w] in [0, 1]."""
    layout, known = _pictures(subject), flat[0].shape
    maps = _joined(op, flat, stacked=True) if len(flat) > 1 else op.Unsqueeze(flat[0], [1])
    if size == "input":
        lengths = [op.dim(subject.image, axis) for axis in layout.space]
        large = op.Concat(op.Shape(flat[0], start=0, end=1), op.const(np.array([len(flat)])), *lengths, axis=0)
        maps = op.Resize(maps, None, None, large, mode="linear")
    heat = _scaled(op, maps)
    space = layout.size(subject.image) if size == "input" or not known else known[1:]
    heat.shape = ir.Shape([subject.batch, len(flat), *space])
    return heat


def _scaled(op: Emitter, maps: ir.Value) -> ir.Value:
    """Return ReLU(map) / max of each of *maps* [N, K, h, w]."""
    positive = op.Relu(maps)
    top = op.Clip(op.GlobalMaxPool(positive), TINY)  # supported by accelerators, unlike ReduceMax and Where
    heat: ir.Value = op.Div(positive, top)
    heat.shape = maps.shape
    return heat


def _pictures(subject: PreparedModel) -> GridLayout:
    layout = picture_layout(subject.image)
    if layout is None:
        raise ModelError(f"the input {subject.image.name!r} {subject.image.shape} is no image; nothing to bake")
    return layout


def _quantised(op: Emitter, heat: ir.Value) -> ir.Value:
    made = op.Cast(op.Round(op.Mul(heat, 255.0)), to=int(ir.DataType.UINT8))
    made.shape = heat.shape
    return made


def _take_pictures(op: Emitter, subject: PreparedModel, how: Preprocess, name: str) -> tuple[ir.Value, ir.Value]:
    """Replace the input by uint8 RGB [N, h, w, 3], called *name*, and preprocessing; return both tensors."""
    image, layout, graph = subject.image, _pictures(subject), op.graph
    lengths = [image.shape[axis] if image.shape is not None else None for axis in layout.space]
    picture = ir.Value(name=name, shape=ir.Shape([subject.batch, *lengths, 3]), type=ir.TensorType(ir.DataType.UINT8))
    made = _arithmetic(op, picture, how, image)
    image.replace_all_uses_with(made)
    graph.inputs[list(graph.inputs).index(image)] = picture
    made.name, made.shape, made.type = image.name, image.shape, image.type
    return picture, made


def _arithmetic(op: Emitter, picture: ir.Value, how: Preprocess, image: ir.Value) -> ir.Value:
    """Return the input tensor computed from uint8 RGB [N, h, w, 3], as `Preprocess` does without resizing."""
    pixels = op.Cast(picture, to=int(ir.DataType.FLOAT))
    if how.order == "gray":
        luma = np.array([0.299, 0.587, 0.114], np.float32)
        pixels = op.Round(op.ReduceSum(op.Mul(pixels, luma), [3], keepdims=1))
    elif how.order == "bgr":
        pixels = op.Gather(pixels, np.array([2, 1, 0]), axis=3)
    dtype = image.dtype or ir.DataType.FLOAT
    if dtype.is_integer() and how.takes_raw:
        shift = 128.0 if dtype == ir.DataType.INT8 else 0.0
        values = op.Sub(pixels, shift)
    else:
        low, high = how.range
        scale = (high - low) / 255 / np.array(how.std)
        shift = (low - np.array(how.mean)) / np.array(how.std)
        values = op.Add(op.Mul(pixels, scale.astype(np.float32)), shift.astype(np.float32))
        if how.units is not None:
            known, zero = how.units
            info = np.iinfo(dtype.numpy())
            values = op.Clip(op.Add(op.Round(op.Div(values, known)), float(zero)), float(info.min), float(info.max))
    values = op.Cast(values, to=int(dtype))
    return op.Transpose(values, perm=[0, 3, 1, 2]) if how.layout == "nchw" else values


def _overlay(op: Emitter, subject: PreparedModel, heat: ir.Value, picture: ir.Value) -> ir.Value:
    """Return *heat* drawn over the image, uint8 [N, h, w, 3], as by `heatmap.overlay`."""
    weights = colours.weights(colours.OVER, heatmap.STRONGEST)[:, None].astype(np.float32)
    shades = weights * colours.table(colours.OVER).astype(np.float32)
    size = op.Concat(op.Shape(heat, start=0, end=1), op.const(np.array([1])), op.Shape(picture, start=1, end=3), axis=0)
    large = op.Squeeze(op.Resize(op.Unsqueeze(heat, [1]), None, None, size, mode="linear"), [1])
    places = op.Cast(op.Round(op.Mul(op.Clip(large, 0.0, 1.0), 255.0)), to=int(ir.DataType.INT64))
    kept = op.Mul(op.Cast(picture, to=int(ir.DataType.FLOAT)), op.Gather(1 - weights, places, axis=0))
    mixed = op.Add(op.Gather(shades, places, axis=0), kept)
    drawn = op.Cast(op.Round(mixed), to=int(ir.DataType.UINT8))
    drawn.shape = picture.shape
    return drawn


def _finish(op: Emitter, outputs: Mapping[str, ir.Value], tensors: Sequence[ir.Value]) -> None:
    """Add *outputs* to the graph and place the new nodes; *tensors* are further new values that the graph uses."""
    graph = op.graph
    for name, value in outputs.items():
        add_output(op, value, name, shape=None if value.shape is None else list(value.shape))
    op.place([*graph.outputs, *tensors])
    graph.sort()
    prune(graph)
