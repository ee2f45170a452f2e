"""The explanation graph: a model with a method's map and the score as additional outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import onnx_ir as ir

from onnxcam.autodiff.differentiate import add_output, set_outputs
from onnxcam.errors import MethodError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import same
from onnxcam.graph.subgraph import used_values
from onnxcam.graph.taps import read_quantised
from onnxcam.metadata.reserved import ACTIVATION, AROUND, FEATURES, MAP, SCORE
from onnxcam.methods.base import NONE, SMOOTH, GraphMethod, Method
from onnxcam.methods.composite import fused
from onnxcam.methods.context import MapContext
from onnxcam.model.prepared import PreparedModel
from onnxcam.structure.layer import Layer, ancestors
from onnxcam.structure.layout import picture_layout
from onnxcam.targets.aim import Aim, Aimed

__all__ = ["channel_means", "explanation_graph", "graph_map", "head_graph"]


def explanation_graph(
    prepared: PreparedModel,
    method: Method,
    layers: Sequence[Layer],
    aim: Aim,
    settings: Mapping[str, Any] | None = None,
    *,
    signed: bool = False,
    features: bool = False,
) -> None:
    """Add the explanation of *method* to the model of *prepared*, in place.

    The model gains the input of *aim* and the outputs `MAP` and `SCORE`, and `CHOSEN` for a class; with *features* also
    `FEATURES`, if the method looks at one layer. For a procedure
    `MAP` is what it needs of one pass, if anything. *settings* are those of a graph method. A map has the size of the
    layer, or of the image, unless the method sets its shape; the maps of several *layers* are fused. For a method that
    uses the head, the tensors that bypass the layer are outputs too.

    Raises:
        MethodError: the method does not apply to the model or the target.
        GradientError: no path connects the layer, or the image, with the score.
        MissingRuleError: an operator between them has no gradient rule.
    """
    op, own = Emitter(prepared.model.graph), list(prepared.model.graph)
    if prepared.explained is not prepared.image and (method.at_layer or method.uses_layer or not method.in_graph):
        raise MethodError(
            f"{method.id} makes maps of images; what the input {prepared.explained.name!r} contributes "
            "say --method gradient-x-input and --method gradient"
        )
    target = aim.emit(op, prepared.batch)
    if method.uses_head and layers:
        op.graph.outputs.extend(x for x in _ways_around(op, prepared, layers[0], target) if x not in op.graph.outputs)
    if isinstance(method, GraphMethod):
        raw = graph_map(op, prepared, method, layers, target, settings, signed=signed)
        add_output(op, raw, MAP, shape=None if raw.shape is None else list(raw.shape))
    else:
        _require_one_layer(method, layers)
        if method.emit is not None:
            add_output(op, method.emit(_context(op, prepared, layers, target, signed=signed)), MAP)
    if features and len(layers) == 1:
        add_output(op, channel_means(op, layers[0]), FEATURES)
    set_outputs(op, {**target.outputs, SCORE: target.score}, shape=[prepared.batch])
    read_quantised(op.graph, own)


def channel_means(op: Emitter, layer: Layer) -> ir.Value:
    """Return the means of the channels of *layer* over the image, [N, C]."""
    maps = layer.layout.maps(op, layer.dequantised(op))
    return op.ReduceMean(maps, list(range(2, 2 + len(layer.layout.size(layer.value)))), keepdims=0)


def graph_map(
    op: Emitter,
    prepared: PreparedModel,
    method: Method,
    layers: Sequence[Layer],
    target: Aimed,
    settings: Mapping[str, Any] | None = None,
    *,
    signed: bool = False,
) -> ir.Value:
    """Emit the raw map of *method*, a graph method, for *target*; see `explanation_graph`, which places its nodes."""
    assert isinstance(method, GraphMethod)
    context = _context(op, prepared, layers, target, signed=signed)
    raw = _float32(op, _map(context, method, layers, settings or {}), method)
    shape = _shape(raw, prepared, method, layers, context.image)
    raw.shape = None if shape is None else ir.Shape(shape)
    return raw


def _context(
    op: Emitter, prepared: PreparedModel, layers: Sequence[Layer], target: Aimed, *, signed: bool
) -> MapContext:
    return MapContext(op, prepared.differentiable(), layers[0] if layers else None, target, signed=signed)


def _float32(op: Emitter, raw: ir.Value, method: Method) -> ir.Value:
    """Return a map of half precision in float32: float16 rounds many of its values to zero."""
    if not isinstance(raw, ir.Value):
        raise MethodError(f"{method.id} returned {type(raw).__name__}; return the map, a tensor that context.op emits")
    if raw.dtype not in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
        return raw
    wide = op.Cast(raw, to=int(ir.DataType.FLOAT))
    wide.shape = raw.shape
    return wide


def _map(context: MapContext, method: GraphMethod, layers: Sequence[Layer], settings: Mapping[str, Any]) -> ir.Value:
    """Return what *method* emits; of several *layers* the maps fused."""
    own = dict(settings)
    context = replace(context, eigen="eigen" in own.pop(SMOOTH, NONE))
    if len(layers) < 2:
        return method.emit(context, **own)
    if not method.at_layer:
        _require_one_layer(method, layers)
    return fused(context, method.emit, layers, **own)


def _require_one_layer(method: Method, layers: Sequence[Layer]) -> None:
    if len(layers) > 1:
        raise MethodError(f"{method.id} does not look at several layers; name one, or use --method gradcam")


def _shape(
    raw: ir.Value, prepared: PreparedModel, method: GraphMethod, layers: Sequence[Layer], image: ir.Value
) -> list[Any] | None:
    """Return the shape of a map: at a layer [N, *space], else the input's; None where it is not known."""
    layout = layers[0].layout if layers else picture_layout(image)
    if not method.at_layer or layout is None:
        _require_rank(raw, image.shape, method, "the shape of the input")
        return None if image.shape is None else list(image.shape)
    space = layout.size(layers[0].value if layers else image)
    _require_rank(raw, [prepared.batch, *space], method, "[N, *space]")
    return [prepared.batch, *(space if raw.shape is None else raw.shape[1:])]


def _require_rank(raw: ir.Value, like: Sequence[Any] | ir.Shape | None, method: Method, words: str) -> None:
    if raw.shape is not None and like is not None and len(raw.shape) != len(like):
        raise MethodError(f"the map of {method.id} has the shape {raw.shape}; it must have {len(like)} axes: {words}")


def head_graph(prepared: PreparedModel, layer: Layer, aim: Aim) -> None:
    """Cut the model of *prepared* at *layer*, in place: from the input `ACTIVATION` (and that of *aim*) to `SCORE`.

    Of a classifier the class `CHOSEN` and the model's own output of scores are outputs too. A tensor that
    bypasses the layer becomes an input, named `AROUND` plus its name. The image and other inputs stay if the head still
    uses them, for a shape for example.
    """
    graph = prepared.model.graph
    op, own = Emitter(graph), list(graph.inputs)
    target = aim.emit(op, prepared.batch)
    cut = {x: f"{AROUND}{x.name}" for x in _ways_around(op, prepared, layer, target)}
    for value, name in {**cut, layer.value: ACTIVATION}.items():
        given = ir.Value(name=name, shape=value.shape, type=value.type)
        value.replace_all_uses_with(given, replace_graph_outputs=True)
        graph.inputs.append(given)
    own_scores = None if target.scores is None else target.scores.output
    graph.outputs[:] = [y for y in graph.outputs if y.name == own_scores]
    set_outputs(op, {**target.outputs, SCORE: target.score}, shape=[prepared.batch])
    for value in own:
        if not value.uses():
            graph.inputs.remove(value)


def _ways_around(op: Emitter, prepared: PreparedModel, layer: Layer, target: Aimed) -> list[ir.Value]:
    """Return the floating-point tensors [N, …] computed from the image that bypass *layer* on the way to the score."""
    nodes = [*op.graph, *op.pending((), [target.score])]
    seen, behind, needed = _reached(nodes, prepared.image), _reached(nodes, layer.value), ancestors(target.score)
    between = [node for node in nodes if any(y in behind and y in needed for y in node.outputs)]
    taken = dict.fromkeys(x for node in between for x in used_values(node) if x in seen and x not in behind)
    return [x for x in taken if x is not None and x is not prepared.image and _is_real_batch(x, prepared.batch)]


def _reached(nodes: Sequence[ir.Node], source: ir.Value) -> set[ir.Value | None]:
    """Return *source* and all values that *nodes* compute from it; *nodes* are in topological order."""
    found: set[ir.Value | None] = {source}
    for node in nodes:
        if not found.isdisjoint(used_values(node)):
            found.update(node.outputs)
    return found


def _is_real_batch(x: ir.Value, batch: int | ir.SymbolicDim | None) -> bool:
    node, real = x.producer(), x.dtype is not None and x.dtype.is_floating_point()
    placed = node is not None and node.graph is not None
    return placed and real and batch is not None and bool(x.shape) and same(x.shape[0], batch)  # type: ignore[index]
