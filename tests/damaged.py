"""Small models, and what to do to them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def value(name: str, shape: list[object], dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def constant(name: str, number: object, dtype: type = np.int64) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(number, dtype)))


def classifier(
    middle: list[onnx.NodeProto] | None = None, functions: list[onnx.FunctionProto] | None = None
) -> onnx.ModelProto:
    """Return a classifier whose nodes *middle* make tensor m of tensor c."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(4, 3, 3, 3)), "f": np.ones((4, 3))}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="first", pads=[1] * 4),
        *([helper.make_node("Identity", ["c"], ["m"])] if middle is None else middle),
        helper.make_node("Relu", ["m"], ["a"]),
        helper.make_node("GlobalAveragePool", ["a"], ["g"]),
        helper.make_node("Flatten", ["g"], ["v"]),
        helper.make_node("MatMul", ["v", "f"], ["y"]),
    ]
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", [value("x", ["N", 3, 32, 32])], [value("y", ["N", 3])], tensors)
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid("f", 1)] if functions else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=functions or [])


def added(*makers: onnx.NodeProto) -> onnx.ModelProto:
    """Return a classifier that adds the largest element of the tensor r, which *makers* make."""
    cast = helper.make_node("Cast", ["r"], ["real"], to=TensorProto.FLOAT)
    largest = helper.make_node("ReduceMax", ["real"], ["largest"], keepdims=0)
    return classifier([*makers, cast, largest, helper.make_node("Add", ["c", "largest"], ["m"])])


def ranged(limit: int, step: int = 1) -> onnx.ModelProto:
    made = helper.make_node("Range", ["start", "limit", "step"], ["r"], name="count")
    return added(constant("start", 0), constant("limit", limit), constant("step", step), made)


def looping(condition: str, trips: int | None) -> onnx.ModelProto:
    """Return a classifier with a Loop that goes on for *trips* trips, or until its *condition* says no.

    ``going`` is the condition of the trip before, ``same`` a copy of it, ``always`` a constant, ``less`` a comparison.
    """
    conditions = {"same": [helper.make_node("Identity", ["going"], ["same"])]}
    conditions["always"] = [helper.make_node("Identity", ["yes"], ["always"])]
    conditions["less"] = [helper.make_node("Less", ["trip", "limit"], ["less"])]
    body = helper.make_graph(
        [*conditions.get(condition, []), helper.make_node("Identity", ["before"], ["after"])],
        "body",
        [value("trip", [], TensorProto.INT64), value("going", [], TensorProto.BOOL), value("before", [])],
        [value(condition, [], TensorProto.BOOL), value("after", [])],
    )
    return added(
        constant("yes", True, np.bool_),
        constant("limit", 7),
        constant("one", 1.0, np.float32),
        *([] if trips is None else [constant("trips", trips)]),
        helper.make_node("Loop", ["" if trips is None else "trips", "yes", "one"], ["r"], name="round", body=body),
    )


def referring() -> onnx.AttributeProto:
    return onnx.AttributeProto(name="group", type=onnx.AttributeProto.INT, ref_attr_name="g")


def function(name: str, *called: str, inputs: int = 1) -> onnx.FunctionProto:
    """Return a function that calls others one after the other, or Relu."""
    nodes = [
        helper.make_node(each, [f"t{k}"], [f"t{k + 1}"], domain="f" if each != "Relu" else "")
        for k, each in enumerate(called or ["Relu"])
    ]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    names = ["t0", *(f"u{k}" for k in range(inputs - 1))]
    return helper.make_function("f", name, names, [f"t{len(nodes)}"], nodes, opsets)


def calling(*functions: onnx.FunctionProto, inputs: int = 1) -> onnx.ModelProto:
    call = helper.make_node(functions[-1].name, ["c"] * inputs, ["m"], name="call", domain="f")
    return classifier([call], list(functions))


def nested(depth: int) -> onnx.ModelProto:
    """Return a classifier with bodies inside bodies."""
    model = classifier([constant("yes", True, np.bool_), helper.make_node("If", ["yes"], ["m"])])
    node = model.graph.node[2]
    for k in range(depth):
        other = helper.make_graph([helper.make_node("Identity", ["c"], [f"e{k}"])], f"e{k}", [], [value(f"e{k}", [])])
        node.attribute.append(helper.make_attribute("then_branch", other))
        body = node.attribute.add(name="else_branch", type=onnx.AttributeProto.GRAPH).g
        body.name = f"body{k}"
        body.output.append(value(f"o{k}", []))
        node = body.node.add(op_type="If", input=["yes"], output=[f"o{k}"])
    node.op_type, node.input[0] = "Identity", "c"
    return model


def nested_bytes(depth: int) -> bytes:
    """Return a model of so many bodies that protobuf does not write it."""
    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))  # a node's attribute's graph
    return classifier().SerializeToString() + field(7, graph)


def field(number: int, content: bytes) -> bytes:
    """Return *content* as a field of a protobuf message."""
    length, size = b"", len(content)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def changed(change: Callable[[onnx.GraphProto], object]) -> onnx.ModelProto:
    model = classifier()
    change(model.graph)
    return model


def without_inputs() -> onnx.ModelProto:
    model = classifier()
    del model.graph.input[:]
    model.graph.node.insert(0, constant("x", np.ones((1, 3, 8, 8)), np.float32))
    return model


def renamed(old: str, new: str) -> onnx.ModelProto:
    model = classifier()
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    return model


def replaced(old: bytes, new: bytes) -> bytes:
    return classifier().SerializeToString().replace(old, new)


def tensor(name: str, **fields: object) -> onnx.ModelProto:
    """Return a classifier in which the initializer *name* has other *fields*."""
    model = classifier()
    weight = next(weight for weight in model.graph.initializer if weight.name == name)
    for key, content in fields.items():
        weight.ClearField(key)  # type: ignore[arg-type]
        if isinstance(content, list):
            getattr(weight, key).extend(content)
        elif content is not None:
            setattr(weight, key, content)
    return model


def external(dtype: int = TensorProto.FLOAT, **told: str) -> onnx.ModelProto:
    model = tensor("f", raw_data=None, data_type=dtype, data_location=TensorProto.EXTERNAL)
    for key, text in told.items():
        model.graph.initializer[1].external_data.add(key=key, value=text)
    return model


def attributed(name: str, content: object) -> onnx.ModelProto:
    return changed(lambda graph: graph.node[0].attribute.append(helper.make_attribute(name, content)))


def chain(count: int) -> onnx.ModelProto:
    names = ["c", *(f"t{k}" for k in range(count - 1)), "m"]
    return classifier([helper.make_node("Relu", [x], [y]) for x, y in pairwise(names)])


EXPANSION = [function("f0"), *(function(f"f{k}", *[f"f{k - 1}"] * 10) for k in range(1, 8))]


def opened(model: onnx.ModelProto | bytes, folder: Path) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    (folder / "w.bin").write_bytes(bytes(5000))
    return path
