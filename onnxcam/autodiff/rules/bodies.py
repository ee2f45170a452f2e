"""Operators without a rule that ONNX defines by a body of other operators: the body is their composition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
import onnx_ir as ir

from onnxcam.autodiff.rules.compose import composed, unsupported
from onnxcam.autodiff.table import ROWS, V
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.fold import FOLD_LIMIT, constant
from onnxcam.graph.subgraph import bodies, captured, copy_graph, graphs


def by_body(op: Emitter, node: ir.Node, *inputs: V | None) -> tuple[V | None, ...]:
    """Emit the body of *node*: return a value for each of its outputs, None for those left out."""
    body = _body(op, node)
    results = list(body.output)
    del body.output[:]  # omitted outputs are not computed
    outside = captured(*bodies(node))
    body.input.extend(x.name for x in outside)
    function = ir.serde.deserialize_function(body)
    optional = [None] * (len(body.input) - len(inputs) - len(outside))
    made: dict[V | None, V | None] = dict(zip(function.inputs, [*inputs, *optional, *outside], strict=True))
    defaults = onnx.defs.get_schema(node.op_type, op.opset).attributes
    for inner in function:
        settings = _settings(inner, node, defaults)
        if inner.op_type == "Identity":
            made[inner.outputs[0]] = made[inner.inputs[0]]
        elif inner.op_type == "Constant":
            made[inner.outputs[0]] = op.const(_value(inner, settings))
        else:
            attributes = {key: _plain(op, attr, made) for key, attr in settings.items()}
            operands = [made.get(x) for x in inner.inputs]
            ys = op.emit(inner.op_type, operands, len(inner.outputs), inner.domain, attributes)
            made.update(zip(inner.outputs, ys if isinstance(ys, tuple) else [ys], strict=True))
    named = {x.name: y for x, y in made.items() if x is not None}
    return tuple(named.get(name) for name in results)


def _body(op: Emitter, node: ir.Node) -> onnx.FunctionProto:
    """Return the body of *node* in its opset; it may depend on attributes and on the types of inputs."""
    schema: Any = onnx.defs.get_schema(node.op_type, op.opset)  # whose stub lacks the bodies
    newest = _newest(schema.context_dependent_function_opset_versions, op.opset)
    if newest is not None:
        if any(x is not None and x.type is None for x in node.inputs):
            raise unsupported(node, "inputs of unknown types; declare them in the model's value_info")
        types = [b"" if x is None else ir.serde.serialize_value(x).type.SerializeToString() for x in node.inputs]
        proto = ir.serde.serialize_node(node).SerializeToString()
        data = schema.get_context_dependent_function_with_opset_version(newest, proto, types)
        return onnx.FunctionProto.FromString(data)
    newest = _newest(schema.function_opset_versions, op.opset)
    if newest is None:
        raise unsupported(node, f"opset {op.opset}, where ONNX defines no body for it")
    return onnx.FunctionProto.FromString(schema.get_function_with_opset_version(newest))


def _newest(versions: list[int], opset: int) -> int | None:
    return max((version for version in versions if version <= opset), default=None)


def _settings(inner: ir.Node, node: ir.Node, defaults: Mapping[str, Any]) -> dict[str, ir.Attr]:
    """Return the attributes of *inner*, with references to attributes of *node* resolved, defaults included."""
    settings = {}
    for key, attribute in inner.attributes.items():
        if not attribute.is_ref():
            settings[key] = attribute
            continue
        name = attribute.ref_attr_name or ""
        default = defaults[name].default_value if name in defaults else onnx.AttributeProto()
        if name in node.attributes:
            settings[key] = node.attributes[name]
        elif default.type != onnx.AttributeProto.UNDEFINED:
            settings[key] = ir.serde.deserialize_attribute(default)
    return settings


def _value(inner: ir.Node, settings: Mapping[str, ir.Attr]) -> Any:
    """Return the value of the Constant *inner*."""
    ((name, attribute),) = settings.items()
    given = attribute if name == "value" else ir.Attr(name, attribute.type, attribute.value)
    return constant(ir.Node("", "Constant", [], [given]).outputs[0])


def _plain(op: Emitter, attribute: ir.Attr, places: Mapping[V | None, V | None]) -> Any:
    """Return an attribute for the emitter; in a graph, replace the captured values by the given ones."""
    if attribute.type is not ir.AttributeType.GRAPH:
        return list(attribute.value) if isinstance(attribute.value, tuple) else attribute.value
    copy = copy_graph(attribute.as_graph(), op.name("onnxcam.body"))
    new = {x: _inside(op, copy, places[x]) for x in captured(copy)}
    for graph in graphs(copy):
        for node in graph:
            for i, x in enumerate(node.inputs):
                if x in new:
                    node.replace_input_with(i, new[x])
        graph.outputs[:] = [new.get(y) or y for y in graph.outputs]
    return copy


def _inside(op: Emitter, graph: ir.Graph, x: V | None) -> V | None:
    """Return *x*; a copy in *graph* if it is a small constant, as shape inference ignores outer constants."""
    tensor = None if x is None or x.producer() is not None else x.const_value
    if x is None or tensor is None or tensor.size > FOLD_LIMIT:
        return x
    name = op.name(f"{graph.name}.const")
    inside = ir.Value(name=name, shape=x.shape, type=x.type, const_value=ir.Tensor(tensor.numpy(), name=name))
    graph.register_initializer(inside)
    return inside


def _defined_by_a_body() -> set[str]:
    schemas: Any = onnx.defs.get_all_schemas()
    return {s.name for s in schemas if s.domain == "" and (s.has_function or s.has_context_dependent_function)}


composed(*sorted(name for name in _defined_by_a_body() if ("", name) not in ROWS), domain="")(by_body)
