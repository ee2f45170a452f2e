"""Small networks that hold every part a model file may have: the seeds that mutations of graphs start from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Node = onnx.NodeProto
EXTERNAL = "weights.bin"


def _value(name: str, shape: list[int | str] | None, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def constant(name: str, value: object, dtype: type = np.int64) -> Node:
    """Return a Constant node."""
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value, dtype)))


def classifier(
    middle: list[Node] | None = None, functions: list[onnx.FunctionProto] | None = None, opset: int = 17
) -> onnx.ModelProto:
    """Return Conv, the *middle* from ``c`` to ``m``, ReLU, average, MatMul: four classes of images of 16 × 16."""
    chance = np.random.default_rng(0)
    weights = numpy_helper.from_array(chance.normal(size=(4, 3, 3, 3)).astype(np.float32), "w")
    head = numpy_helper.from_array(chance.normal(size=(4, 4)).astype(np.float32), "f")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1] * 4, strides=[1, 1]),
        *(middle or [helper.make_node("Identity", ["c"], ["m"])]),
        helper.make_node("Relu", ["m"], ["a"], name="relu"),
        helper.make_node("GlobalAveragePool", ["a"], ["g"]),
        helper.make_node("Flatten", ["g"], ["v"], axis=1),
        helper.make_node("MatMul", ["v", "f"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "net", [_value("x", ["N", 3, 16, 16])], [_value("y", ["N", 4])], [weights, head])
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid("f", 1)] if functions else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=functions or [])


def quantised() -> onnx.ModelProto:
    """QuantizeLinear and DequantizeLinear around an activation."""
    scale, zero = constant("s", 0.1, np.float32), constant("z", 0, np.int8)
    pair = [
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["m"]),
    ]
    return classifier([scale, zero, *pair])


def branched() -> onnx.ModelProto:
    """An If whose branches read the tensor outside."""
    bodies = [
        helper.make_graph([helper.make_node(op, ["c"], [f"b_{op}"])], op, [], [_value(f"b_{op}", None)])
        for op in ("Relu", "Sigmoid")
    ]
    test = [helper.make_node("ReduceSum", ["c"], ["t"], keepdims=0), constant("nought", 0, np.float32)]
    compared = helper.make_node("Greater", ["t", "nought"], ["cond"])
    return classifier(
        [*test, compared, helper.make_node("If", ["cond"], ["m"], then_branch=bodies[0], else_branch=bodies[1])]
    )


def looped() -> onnx.ModelProto:
    """A Loop that carries the tensor."""
    inputs = [_value("i", [], TensorProto.INT64), _value("go", [], TensorProto.BOOL), _value("in", None)]
    outputs = [_value("going", [], TensorProto.BOOL), _value("out", None)]
    nodes = [helper.make_node("Identity", ["go"], ["going"]), helper.make_node("Relu", ["in"], ["out"])]
    body = helper.make_graph(nodes, "body", inputs, outputs)
    return classifier([constant("times", 3), helper.make_node("Loop", ["times", "", "c"], ["m"], body=body)])


def scanned() -> onnx.ModelProto:
    """A Scan over the rows."""
    body = helper.make_graph(
        [helper.make_node("Relu", ["row"], ["done"])], "body", [_value("row", None)], [_value("done", None)]
    )
    scan = helper.make_node(
        "Scan", ["c"], ["m"], body=body, num_scan_inputs=1, scan_input_axes=[2], scan_output_axes=[2]
    )
    return classifier([scan])


def with_function() -> onnx.ModelProto:
    """A call of a function of the file's own, which calls another."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    inner = helper.make_function("f", "Inner", ["X"], ["Y"], [helper.make_node("Relu", ["X"], ["Y"])], opsets[:1])
    call = helper.make_node("Inner", ["X"], ["Y"], domain="f")
    outer = helper.make_function("f", "Outer", ["X"], ["Y"], [call], opsets)
    return classifier([helper.make_node("Outer", ["c"], ["m"], domain="f")], [inner, outer])


def reshaped() -> onnx.ModelProto:
    """Shapes that the graph computes: Shape, Gather, Concat, Reshape, Expand, Range, Slice."""
    middle = [
        helper.make_node("Shape", ["c"], ["sh"]),
        constant("zero", 0),
        constant("tail", [4, 16, 16]),
        constant("axis", [0]),
        helper.make_node("Gather", ["sh", "zero"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n", "axis"], ["n1"]),
        helper.make_node("Concat", ["n1", "tail"], ["shape"], axis=0),
        helper.make_node("Reshape", ["c", "shape"], ["r"]),
        constant("count", 16),
        constant("one", 1),
        helper.make_node("Range", ["zero", "count", "one"], ["ramp"]),
        helper.make_node("Cast", ["ramp"], ["ramp_f"], to=TensorProto.FLOAT),
        helper.make_node("Expand", ["ramp_f", "shape"], ["wide"]),
        helper.make_node("Add", ["r", "wide"], ["m"]),
    ]
    return classifier(middle)


def with_metadata() -> onnx.ModelProto:
    """What Ultralytics, torch and onnxcam write into models."""
    model = classifier()
    texts = {"stride": "32", "task": "classify", "imgsz": "[16, 16]", "names": "{0: 'a', 1: 'b', 2: 'c', 3: 'd'}"}
    helper.set_model_props(model, texts)
    for node in model.graph.node:
        entry = node.metadata_props.add()
        entry.key, entry.value = "pkg.torch.onnx.name_scopes", "['', 'block', 'block.conv']"
    return model


def old() -> onnx.ModelProto:
    """An opset of long ago."""
    return classifier(opset=11)


def external() -> onnx.ModelProto:
    """Weights in the file `EXTERNAL` beside it."""
    model = classifier()
    at = 0
    for tensor in model.graph.initializer:
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", EXTERNAL), ("offset", str(at)), ("length", str(len(tensor.raw_data)))):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
        at += len(tensor.raw_data)
        tensor.ClearField("raw_data")
    return model


def weights() -> bytes:
    """Return what the file `EXTERNAL` holds."""
    return b"".join(tensor.raw_data for tensor in classifier().graph.initializer)


NETWORKS: tuple[Callable[[], onnx.ModelProto], ...] = (
    classifier,
    quantised,
    branched,
    looped,
    scanned,
    with_function,
    reshaped,
    with_metadata,
    old,
    external,
)
