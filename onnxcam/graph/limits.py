"""Limits of a model, checked before it is opened: depth, number of nodes, complete tensors, no recursion.

ONNX Runtime refuses most of these models too, but onnxcam would fail before it, after minutes or out of memory.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

import onnx
import onnx_ir as ir
from google.protobuf.message import Message

from onnxcam.errors import ModelError

__all__ = ["CALLS", "DEPTH", "NODES", "RESERVED", "check", "check_ends", "not_text"]

DEPTH = 30  # nested bodies; protobuf reads 100 levels of messages, three for each body
NODES = 200_000  # after inlining of functions
CALLS = 5000  # of one function
RESERVED = "onnxcam"
"""The domain of temporary operators while a graph is built."""

_Graph: TypeAlias = "onnx.GraphProto | onnx.FunctionProto"
_FunctionKey: TypeAlias = "tuple[str, str, str]"


def check(proto: onnx.ModelProto, where: str) -> None:
    """Raise ModelError if *proto* exceeds a limit; *where* names it in the message."""
    for place, graph in enumerate((proto.graph, *proto.functions)):
        for inner in _graphs(graph, where):
            _check_graph(inner, where, inside=place > 0)
    _check_calls(proto, where)


def check_ends(model: ir.Model, where: str) -> None:
    """Raise ModelError for a model without inputs or without outputs."""
    for values, what in ((model.graph.inputs, "inputs"), (model.graph.outputs, "outputs")):
        if not any(what == "outputs" or not value.is_initializer() for value in values):
            raise ModelError(f"{where} has no {what}; export the model again")


def not_text(message: Message, path: str = "") -> str:
    """Return the field of *message* with a string that is not UTF-8, such as ``graph.node[3].op_type``, or ``""``."""
    for field, value in message.ListFields():
        many = not isinstance(value, str | bytes | int | float | Message)
        for place, part in enumerate(value if many else [value]):
            here = f"{path}.{field.name}[{place}]" if many else f"{path}.{field.name}"
            if isinstance(part, Message):
                found = not_text(part, here)
                if found:
                    return found
            elif (field.type == field.TYPE_STRING or field.name in ("s", "strings")) and not _is_text(part):
                return here.removeprefix(".")
    return ""


def _is_text(data: str | bytes) -> bool:
    """Whether *data* is text; protobuf returns strings that are not UTF-8 as bytes."""
    try:
        return isinstance(data, str) or data.decode() is not None
    except UnicodeDecodeError:
        return False


def _graphs(graph: _Graph, where: str) -> Iterator[_Graph]:
    """Yield *graph* and its bodies at any depth."""
    stack = [(graph, 0)]
    while stack:
        inner, depth = stack.pop()
        if depth > DEPTH:
            raise ModelError(f"{where} has bodies nested deeper than {DEPTH}; no runtime reads such a model")
        yield inner
        for node in inner.node:
            for attribute in node.attribute:
                if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
                    stack += [(body, depth + 1) for body in (attribute.g, *attribute.graphs)]


def _check_graph(graph: _Graph, where: str, inside: bool) -> None:
    for tensor in getattr(graph, "initializer", ()):
        _check_tensor(tensor, f"initializer {tensor.name!r} of {where}")
    for node in graph.node:
        while len(node.output) > 1 and not node.output[-1]:  # left out, which says as much as nothing
            del node.output[-1]
        if node.domain == RESERVED:
            raise ModelError(f"node {node.name!r} of {where} has the domain {RESERVED!r}, which no model may have")
        for attribute in node.attribute:
            if attribute.ref_attr_name and not inside:
                raise ModelError(
                    f"attribute {attribute.name!r} of node {node.name!r} ({node.op_type}) of {where} refers to "
                    f"{attribute.ref_attr_name!r} of a function, and the node is in none; export the model again"
                )
            if attribute.type in _CHECKED:
                _check_attribute(attribute, node, where)


def _check_attribute(attribute: onnx.AttributeProto, node: onnx.NodeProto, where: str) -> None:
    what = f"attribute {attribute.name!r} of node {node.name!r} ({node.op_type}) of {where}"
    if not node.domain and not _is_text(attribute.s):
        raise ModelError(f"{what} is no UTF-8 text; export the model again")
    for tensor in [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]:
        _check_tensor(tensor, what)


_CHECKED = frozenset((onnx.AttributeProto.STRING, onnx.AttributeProto.TENSOR, onnx.AttributeProto.TENSORS))


def _check_tensor(tensor: onnx.TensorProto, what: str) -> None:
    """Raise ModelError unless *tensor* holds as many values as its type and shape require."""
    try:
        dtype = ir.DataType(tensor.data_type)
    except ValueError:
        dtype = ir.DataType.UNDEFINED
    external = tensor.data_location == onnx.TensorProto.EXTERNAL
    if dtype == ir.DataType.UNDEFINED or (external and dtype == ir.DataType.STRING):
        raise ModelError(f"{what} has no data type that can be stored ({tensor.data_type}); export the model again")
    if any(length < 0 for length in tensor.dims):
        raise ModelError(f"{what} has a negative length in its shape {list(tensor.dims)}; export the model again")
    size = math.prod(tensor.dims)
    if external:
        held, needed = _external_bytes(tensor, what), math.ceil(size * dtype.bitwidth / 8)
        held = needed if held is None else held
    elif tensor.HasField("raw_data"):
        held, needed = len(tensor.raw_data), math.ceil(size * dtype.bitwidth / 8)
    else:
        held, needed = _held(tensor), _needed(size, dtype)
    if held != needed:
        unit = "bytes" if external or tensor.HasField("raw_data") else "values"
        raise ModelError(
            f"{what} holds {held} {unit}, and {dtype.name.lower()} {list(tensor.dims)} takes {needed}; "
            "export the model again"
        )


def _held(tensor: onnx.TensorProto) -> int:
    fields = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
    return sum(map(len, fields)) + len(tensor.string_data)


def _needed(size: int, dtype: ir.DataType) -> int:
    """Return the entries of a typed field for *size* numbers: two for a complex one, bytes for packed ones."""
    if dtype in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128):
        return 2 * size
    packed = dtype != ir.DataType.STRING and dtype.bitwidth < 8
    return math.ceil(size * dtype.bitwidth / 8) if packed else size


def _external_bytes(tensor: onnx.TensorProto, what: str) -> int | None:
    """Return the declared length of *tensor* in its file, in bytes; None if it is not declared."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if not entries.get("location"):
        raise ModelError(f"{what} names no file for its external data; export the model again")
    for key in ("offset", "length"):
        value = str(entries.get(key) or "0")
        if not (value.isascii() and value.isdigit() and len(value) < 20):
            raise ModelError(f"{what} has the {key} {value[:40]!r} in its file, which is no number of bytes")
    return int(entries.get("length") or 0) or None


def _check_calls(proto: onnx.ModelProto, where: str) -> None:
    """Raise ModelError for recursive functions, calls of the wrong arity, and too many nodes."""
    functions = {_key(function): function for function in proto.functions}
    bodies = {key: _counted(function, functions, where) for key, function in functions.items()}
    nodes, times = _counted(proto.graph, functions, where)
    waiting = Counter(called for _, calls in bodies.values() for called in calls)
    ready = [key for key in bodies if not waiting[key]]
    while ready:
        key = ready.pop()
        count, calls = bodies.pop(key)
        nodes += times[key] * count
        if times[key] > CALLS:
            raise ModelError(f"{where} calls its function {key[1]!r} {times[key]} times; onnxcam inlines {CALLS}")
        for called, often in calls.items():
            times[called] += times[key] * often
            waiting[called] -= 1
            if not waiting[called]:
                ready.append(called)
    if bodies:
        raise ModelError(f"function {next(iter(bodies))[1]!r} of {where} calls itself; export the model again")
    if nodes > NODES:
        raise ModelError(f"{where} has {nodes} nodes, those of its functions included; onnxcam works on {NODES}")


def _counted(
    graph: _Graph, functions: dict[_FunctionKey, onnx.FunctionProto], where: str
) -> tuple[int, Counter[_FunctionKey]]:
    """Return the number of nodes in *graph* and its bodies, and the number of calls of each function."""
    count, calls = 0, Counter[_FunctionKey]()
    for inner in _graphs(graph, where):
        count += len(inner.node)
        for node in inner.node if functions else ():
            key = (node.domain, node.op_type, node.overload)
            if key in functions:
                calls[key] += 1
                _check_arity(node, functions[key], where)
    return count, calls


def _check_arity(node: onnx.NodeProto, function: onnx.FunctionProto, where: str) -> None:
    for given, taken, what in ((node.input, function.input, "inputs"), (node.output, function.output, "outputs")):
        if len(given) > len(taken):
            raise ModelError(
                f"node {node.name!r} of {where} calls function {function.name!r} with {len(given)} {what}, "
                f"which has {len(taken)}; export the model again"
            )


def _key(function: onnx.FunctionProto) -> _FunctionKey:
    return function.domain, function.name, function.overload
