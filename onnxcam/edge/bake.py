"""Bake the explanation into the model: its own outputs, and `heatmap` beside them, in plain operators."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from onnxcam import heatmap
from onnxcam.autodiff.emit import Emitter
from onnxcam.autodiff.jacobian import add_output
from onnxcam.autodiff.subgraph import prune
from onnxcam.diagnose import choose_layer
from onnxcam.edge.stamp import stamp
from onnxcam.engine import Session
from onnxcam.errors import MethodError, ModelError, OutputError, PreprocessError, TargetError
from onnxcam.extras import CHOSEN, CLASS, HEATMAP, MAP, OVERLAY, SCORE
from onnxcam.graph import ModelLike, building, first_line, save
from onnxcam.layer import Choice
from onnxcam.layout import Grid, picture_layout
from onnxcam.methods import METHODS, explanation_graph, find_method, read_settings
from onnxcam.network import Network
from onnxcam.passes.opset import converted
from onnxcam.preprocess import Preprocess, Spec
from onnxcam.subject import Subject
from onnxcam.target import TOP, ClassAim, Task, parse
from onnxcam.target.classes import Classes
from onnxcam.target.wishes import Class, Top

PICTURE = "picture"
"""The input of a baked model that has the preprocessing inside."""
ALPHA = 0.5  # the weight of the colours in the overlay

Size = Literal["input", "layer"]


@dataclass(frozen=True)
class Baked:
    """What `bake` wrote."""

    path: Path
    inputs: Mapping[str, str]  # name: type and shape, of all inputs
    outputs: Mapping[str, str]  # of those that the model gained
    choice: Choice | None
    opset: int
    warnings: tuple[str, ...] = field(default=())


def bake(
    model: ModelLike,
    path: str | os.PathLike[str],
    method: str = "gradcam",
    *,
    layer: str | None = None,
    target: int | str = "top",
    map_size: Size = "input",
    uint8: bool = False,
    overlay: bool = False,
    preprocess: Spec | None = None,
    inside: bool = False,
    raw: bool = False,
    settings: Mapping[str, Any] | None = None,
    labels: Any = None,
    opset: int | None = None,
) -> Baked:
    """Write *model* with its explanation inside to *path*.

    The file has the model's own outputs, unchanged, and ``heatmap``: ReLU(map) / max of each picture, float32 in
    [0, 1], or with *uint8* 0 to 255, [N, h, w] at the size of the input or of the *layer*. It runs wherever the model
    runs.

    Args:
        model: A path, the file's bytes, an `onnx.ModelProto` or an `onnx_ir.Model`.
        path: The file to write.
        method: A method that is a graph.
        layer: As for `Explainer`.
        target: ``"top"`` for the class that the model puts first, ``"input"`` for one more input, ``onnxcam.class``
            (int64 [N]; −1: the model's own), or a fixed class, by index or label.
        map_size: ``"input"`` or ``"layer"``.
        uint8: Whether the heat map is uint8.
        overlay: Whether ``overlay``, uint8 [N, h, w, 3], is an output too: the picture with the colours over it. It
            needs the preprocessing *inside*.
        preprocess: As for `Explainer`; only its arithmetic is baked: pictures come in at the input's size.
        inside: Whether the model takes ``picture``, uint8 RGB [N, h, w, 3], in place of its tensor.
        raw: Whether ``onnxcam.map``, the flat map as the method gives it, float32 [N, h, w], and its class,
            ``onnxcam.class.chosen``, int64 [N], are outputs too.
        settings: Of the method.
        labels: As for `Explainer`.
        opset: An older opset to write, for an older runtime.

    Raises:
        MethodError: the method is a loop over passes; which can be baked, the message says.
        OnnxcamError: what `Explainer` raises.

    Example:
        >>> bake("model.onnx", "explained.onnx", "gradcam", uint8=True)
    """
    chosen = find_method(method)
    if not chosen.in_graph:
        able = ", ".join(each.id for each in METHODS.values() if each.in_graph)
        raise MethodError(f"{method} asks the network many times and cannot be baked into it; these can: {able}")
    own = read_settings(chosen, settings or {})
    if "aug" in own.get("smooth", ""):
        raise MethodError("smooth=aug asks the network many times and cannot be baked; use smooth=eigen, or none")
    if overlay and not inside:
        raise PreprocessError("the overlay lies over the picture: bake the preprocessing too, inside=True")
    with building():
        network = Network(model, "cpu", preprocess, labels)
        subject = network.open()
        network.read(subject)
        index = _class(network.task, target)
        choice = choose_layer(subject, ClassAim(), layer) if chosen.uses_layer else None
        made = subject.twin()
        graph = made.model.graph
        explanation_graph(made, chosen, [choice.layer.twin(graph)] if choice else [], ClassAim(), own)
        own_outputs = _explanation(graph)
        op = Emitter(graph)
        flat = _flat(op, made, own_outputs[MAP], chosen.at_layer)
        heat = _heat(op, made, flat, map_size)
        outputs = {HEATMAP: _quantised(op, heat) if uint8 else heat}
        if raw:
            outputs |= {MAP: flat, CHOSEN: own_outputs[CHOSEN]}
        tensors = list[ir.Value]()
        if inside:
            picture, tensor = _take_pictures(op, made, network.preprocessing)
            tensors.append(tensor)
            if overlay:
                outputs[OVERLAY] = _overlay(op, made, heat, picture)
        _finish(op, outputs, tensors, index)
        _forget(made.model)
        layer_name = choice.layer.name if choice else None
        stamp(made.model, network, method=chosen.id, layer=layer_name, target=target, index=index)
        final = _lowered(made.model, opset)
    _prove(final)
    try:
        save(final, path)
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror}; choose another file with -o") from None
    return Baked(
        Path(path),
        {value.name or "": _described(value) for value in final.graph.inputs},
        {value.name or "": _described(value) for value in final.graph.outputs if value.name in outputs},
        choice,
        final.opset_imports[""],
        tuple(network.warnings),
    )


def _class(task: Task, target: int | str) -> int | None:
    """Return the fixed class, `TOP` for the model's own, None for a run-time input."""
    if target == "input":
        return None
    if not isinstance(task, Classes):
        raise TargetError(f"classifiers are baked; this is {task.name}: `onnxcam explain` explains it")
    wish = parse(target, task.labels)
    if isinstance(wish, Top):
        return TOP
    if not isinstance(wish, Class):
        raise TargetError(f"target {target!r} cannot be baked; give top, input, a class index or a label")
    return int(task.goal(wish).feed)


def _explanation(graph: ir.Graph) -> dict[str, ir.Value]:
    """Take the explanation's own outputs out of the graph and return them by name; the names are free again."""
    found = {value.name: value for value in graph.outputs if value.name in (MAP, CHOSEN, SCORE)}
    graph.outputs[:] = [value for value in graph.outputs if value not in found.values()]
    for name, value in found.items():
        value.name = f"{name}.inside"
    return {name or "": value for name, value in found.items()}


def _flat(op: Emitter, subject: Subject, raw: ir.Value, at_layer: bool) -> ir.Value:
    """Return the map as the method gives it, float32 [N, h, w]: of a signed one the largest |value| over channels."""
    flat, shape, layout = op.Cast(raw, to=int(ir.DataType.FLOAT)), raw.shape, _pictures(subject)
    if not at_layer:
        flat = op.ReduceMax(op.Abs(flat), [layout.channel], keepdims=0)
        shape = ir.Shape([subject.batch, *layout.size(subject.image)])
    flat.shape = shape
    return flat


def _heat(op: Emitter, subject: Subject, flat: ir.Value, size: Size) -> ir.Value:
    """Return ReLU(map) / max of each picture, float32 [N, h, w] in [0, 1]."""
    layout, known = _pictures(subject), flat.shape
    if size == "input":
        lengths = [op.dim(subject.image, axis) for axis in layout.space]
        large = op.Concat(op.Shape(flat, start=0, end=1), op.const(np.array([1])), *lengths, axis=0)
        flat = op.Squeeze(op.Resize(op.Unsqueeze(flat, [1]), None, None, large, mode="linear"), [1])
    positive = op.Relu(flat)
    top = op.ReduceMax(positive, list(range(1, 1 + len(layout.space))), keepdims=1)
    heat = op.Div(positive, op.Where(op.Equal(top, 0.0), 1.0, top))
    heat.shape = ir.Shape([subject.batch, *(layout.size(subject.image) if size == "input" or not known else known[1:])])
    return heat


def _pictures(subject: Subject) -> Grid:
    layout = picture_layout(subject.image)
    if layout is None:
        raise ModelError(f"the input {subject.image.name!r} {subject.image.shape} is no picture; nothing to bake")
    return layout


def _quantised(op: Emitter, heat: ir.Value) -> ir.Value:
    made = op.Cast(op.Round(op.Mul(heat, 255.0)), to=int(ir.DataType.UINT8))
    made.shape = heat.shape
    return made


def _take_pictures(op: Emitter, subject: Subject, how: Preprocess) -> tuple[ir.Value, ir.Value]:
    """Replace the input by uint8 RGB [N, h, w, 3] and its arithmetic; return that input, and the tensor."""
    image, layout, graph = subject.image, _pictures(subject), op.graph
    lengths = [image.shape[axis] if image.shape is not None else None for axis in layout.space]
    picture = ir.Value(
        name=PICTURE, shape=ir.Shape([subject.batch, *lengths, 3]), type=ir.TensorType(ir.DataType.UINT8)
    )
    made = _arithmetic(op, picture, how, image)
    image.replace_all_uses_with(made)
    graph.inputs[list(graph.inputs).index(image)] = picture
    return picture, made


def _arithmetic(op: Emitter, picture: ir.Value, how: Preprocess, image: ir.Value) -> ir.Value:
    """Return the model's tensor of uint8 RGB [N, h, w, 3], as `Preprocess` makes it of a picture of its size."""
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


def _overlay(op: Emitter, subject: Subject, heat: ir.Value, picture: ir.Value) -> ir.Value:
    """Return the picture with the colours of *heat* over it, uint8 [N, h, w, 3], as `heatmap.overlay` draws it."""
    table = heatmap.colorize(np.linspace(0, 1, 256, dtype=np.float32)[None])[0].astype(np.float32)
    size = op.Concat(op.Shape(heat, start=0, end=1), op.const(np.array([1])), op.Shape(picture, start=1, end=3), axis=0)
    large = op.Squeeze(op.Resize(op.Unsqueeze(heat, [1]), None, None, size, mode="linear"), [1])
    places = op.Cast(op.Round(op.Mul(op.Clip(large, 0.0, 1.0), 255.0)), to=int(ir.DataType.INT64))
    colours = op.Gather(table, places, axis=0)
    mixed = op.Add(op.Mul(colours, ALPHA), op.Mul(op.Cast(picture, to=int(ir.DataType.FLOAT)), 1 - ALPHA))
    drawn = op.Cast(op.Round(mixed), to=int(ir.DataType.UINT8))
    drawn.shape = picture.shape
    return drawn


def _finish(op: Emitter, outputs: Mapping[str, ir.Value], tensors: Sequence[ir.Value], index: int | None) -> None:
    """Make *outputs* the graph's last ones, and fix the class.

    *tensors* are others that the graph uses by now.
    """
    graph = op.graph
    for name, value in outputs.items():
        add_output(op, value, name, shape=None if value.shape is None else list(value.shape))
    if index is not None:
        wanted = next(value for value in graph.inputs if value.name == CLASS)
        graph.inputs.remove(wanted)
        wanted.shape, wanted.const_value = ir.Shape([1]), ir.tensor(np.array([index]), name=CLASS)
        graph.register_initializer(wanted)
    op.place([*graph.outputs, *tensors])
    graph.sort()
    prune(graph)


def _forget(model: ir.Model) -> None:
    """Forget whose machine the file comes from."""
    for node in model.graph.all_nodes():
        node.doc_string = None
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)


def _lowered(model: ir.Model, opset: int | None) -> ir.Model:
    if opset is None or opset >= model.opset_imports[""]:
        return model
    try:
        return converted(model, opset)
    except Exception as error:
        raise ModelError(
            f"the baked model cannot be written in opset {opset}: {first_line(error)}; it is in opset "
            f"{model.opset_imports['']}"
        ) from None


def _prove(model: ir.Model) -> None:
    """EngineError where ONNX Runtime would not take the baked model."""
    Session(model.clone(), "cpu")


def _described(value: ir.Value) -> str:
    return f"{str(value.dtype or '?').lower()} {value.shape or '?'}"
