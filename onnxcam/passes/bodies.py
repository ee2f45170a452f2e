"""Operators that ONNX defines by a body are replaced by it."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

DOMAIN = "onnxcam.bodies"


def inline_bodies(model: ir.Model, known: Container[tuple[str, str]]) -> bool:
    """Put the bodies of operators that are not *known* by (domain, name) in their place; tell whether there were any.

    Bodies may depend on the node's attributes and its inputs' types, so each node is a function of its own.
    """
    version = model.opset_imports.get("")
    if version is None:
        return False
    for node in list(model.graph.all_nodes()):
        if node.domain == "" and ("", node.op_type) not in known and onnx.defs.has(node.op_type, version):
            body = _body(node, version)
            if body is not None:
                _call(model, node, body)
    if not any(domain == DOMAIN for domain, *_ in model.functions):
        return False
    InlinePass(lambda function: function.domain == DOMAIN)(model)
    model.opset_imports.pop(DOMAIN, None)
    for node in list(model.graph.all_nodes()):  # what stood for outputs left out
        if node.graph is not None and not any(y.name for y in node.outputs):
            node.graph.remove(node, safe=True)
    return True


def _body(node: ir.Node, version: int) -> onnx.FunctionProto | None:
    """Return the newest body of *node* up to opset *version*, None where ONNX defines none."""
    schema: Any = onnx.defs.get_schema(node.op_type, version)  # whose stub lacks the bodies
    if schema.has_context_dependent_function:
        newest = _newest(schema.context_dependent_function_opset_versions, version)
        if newest is None or any(x is not None and x.type is None for x in node.inputs):
            return None
        proto = ir.serde.serialize_node(node)
        types = [_type(x) for x in node.inputs]
        data = schema.get_context_dependent_function_with_opset_version(newest, proto.SerializeToString(), types)
        return onnx.FunctionProto.FromString(data)
    newest = _newest(schema.function_opset_versions, version) if schema.has_function else None
    return None if newest is None else onnx.FunctionProto.FromString(schema.get_function_with_opset_version(newest))


def _newest(versions: list[int], version: int) -> int | None:
    return max((v for v in versions if v <= version), default=None)


def _type(x: ir.Value | None) -> bytes:
    return b"" if x is None else ir.serde.serialize_value(x).type.SerializeToString()


def _call(model: ir.Model, node: ir.Node, body: onnx.FunctionProto) -> None:
    """Make *node* a call of the function *body*."""
    given = onnx.defs.get_schema(node.op_type, model.opset_imports[""]).attributes
    for name, attribute in given.items():  # a body refers to attributes, also where they are left out
        if name not in node.attributes and attribute.default_value.type and name in body.attribute:
            node.attributes[name] = ir.serde.deserialize_attribute(attribute.default_value)
    del body.output[len(node.outputs) :]
    made = {name for inner in body.node for name in inner.output}
    for name in body.output:
        if name not in made:  # it is left out in the node, too
            nothing = body.node.add(op_type="Constant", output=[name])
            nothing.attribute.add(name="value_int", type=onnx.AttributeProto.INT, i=0)
    _push_constants(body)
    function = ir.serde.deserialize_function(body)
    function.domain, function.name = DOMAIN, f"{node.op_type}_{len(model.functions)}"
    node.domain, node.op_type = DOMAIN, function.name
    del function.opset_imports[""]
    function.opset_imports[""] = model.opset_imports[""]
    model.opset_imports[DOMAIN] = 1
    model.functions[function.identifier()] = function


def _push_constants(body: onnx.FunctionProto) -> None:
    """Copy constants into the subgraphs that use them: shape inference does not see them from there."""
    constants = {node.output[0]: node for node in body.node if node.op_type == "Constant"}
    subgraphs = [attribute.g for node in body.node for attribute in node.attribute if attribute.HasField("g")]
    for graph in subgraphs:
        used = {name for node in graph.node for name in node.input if name in constants}
        for node in graph.node:
            for i, name in enumerate(node.input):
                node.input[i] = f"{name}_inside" if name in used else name
        kept = list(graph.node)
        del graph.node[:]
        for name in sorted(used):
            graph.node.add().CopyFrom(constants[name])
            graph.node[-1].output[0] = f"{name}_inside"
        graph.node.extend(kept)
