"""Older opsets: what they say computes the same, and what they cannot say is an error."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxcam.bake.lower import lower_opset
from onnxcam.errors import ModelError
from onnxcam.graph.io import load, to_proto

X = np.random.default_rng(0).normal(size=(2, 4, 6, 6)).astype(np.float32)
INT = TensorProto.INT64


def constant(name: str, numbers: Any, dtype: Any = np.int64) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(numbers, dtype), name)


def node(op: str, *more: str, outputs: int = 1, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, ["x", *more], [f"y{i}" for i in range(outputs)], "n", **attributes)


def model(made: onnx.NodeProto, opset: int, *constants: onnx.TensorProto, out: int = 1) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)]
    given = {"x", *(each.name for each in constants)}
    inputs += [helper.make_tensor_value_info(name, INT, [2]) for name in made.input if name and name not in given]
    outputs = [helper.make_tensor_value_info(name, out, None) for name in made.output]
    graph = helper.make_graph([made], "g", inputs, outputs, list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def lowered(source: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    opened = load(source)
    lower_opset(opened, opset)
    return to_proto(opened)


def run(made: onnx.ModelProto) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": X})


GRID = constant("grid", np.random.default_rng(1).uniform(-1, 1, (2, 5, 5, 2)), np.float32)


@pytest.mark.parametrize(
    ("made", "since", "opset"),
    [
        (model(node("ReduceMax", "a", keepdims=0), 18, constant("a", [-1, 1])), 18, 17),
        (model(node("ReduceL2", keepdims=1), 18), 18, 13),
        (model(node("Pad", "p", "", "a"), 18, constant("p", [1, 2, 3, 4]), constant("a", [3, 1])), 18, 14),
        (model(node("Pad", "p"), 18, constant("p", [0, 0, 1, 2, 0, 0, 3, 4])), 18, 17),
        (model(node("Split", outputs=2, num_outputs=2, axis=1), 18), 18, 17),
        (model(node("Split", "s", outputs=2, axis=1), 18, constant("s", [1, 3])), 18, 13),
        (model(node("Shape", start=-2, end=-1), 18, out=INT), 15, 13),
        (model(node("Shape"), 18, out=INT), 15, 13),
        (model(node("Reshape", "s", allowzero=1), 18, constant("s", [2, -1])), 14, 13),
        (model(node("GridSample", "grid", mode="linear"), 20, GRID), 20, 16),
        (model(node("Cast", to=TensorProto.INT32), 19, out=TensorProto.INT32), 19, 13),
    ],
)
def test_it_computes_the_same(made: onnx.ModelProto, since: int, opset: int) -> None:
    older = lowered(made, opset)
    assert older.opset_import[0].version == opset < since
    onnx.checker.check_model(older, full_check=True)
    for before, after in zip(run(made), run(older), strict=True):
        np.testing.assert_array_equal(after, before)
    assert [value.name for value in older.graph.output] == [value.name for value in made.graph.output]


def test_branches_are_lowered_too() -> None:
    inner = helper.make_graph(
        [helper.make_node("ReduceMean", ["x", "a"], ["m"], "inside")],
        "then",
        [],
        [helper.make_tensor_value_info("m", TensorProto.FLOAT, None)],
    )
    choice = helper.make_node("If", ["c"], ["y"], "n", then_branch=inner, else_branch=inner)
    yes = helper.make_node("Cast", ["one"], ["c"], "cast", to=TensorProto.BOOL)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([yes, choice], "g", [x], [y], [constant("a", [2, 3]), constant("one", 1)])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    np.testing.assert_array_equal(run(lowered(made, 15))[0], run(made)[0])


SCALE = constant("s", np.linspace(1, 2, 6), np.float32)


@pytest.mark.parametrize(
    ("made", "opset"),
    [
        (model(node("Gelu", approximate="tanh"), 20), 17),
        (model(node("Gelu"), 20), 13),
        (model(node("LayerNormalization", "s", axis=-1), 17, SCALE), 13),
        (model(node("HardSwish"), 14), 13),
        (model(node("Mish"), 18), 15),
    ],
)
def test_newer_operators_are_spelt_out(made: onnx.ModelProto, opset: int) -> None:
    older = lowered(made, opset)
    assert made.graph.node[0].op_type not in {each.op_type for each in older.graph.node}
    np.testing.assert_allclose(run(older)[0], run(made)[0], atol=1e-6)


@pytest.mark.parametrize(
    ("made", "opset", "why"),
    [
        (model(node("ReduceMax", "at"), 18), 17, r"node 'n' \(ReduceMax\): its axes are known at run time only"),
        (model(node("Pad", "p", "", "at"), 18, constant("p", [1, 1, 1, 1])), 17, "which axes it pads, and how far"),
        (model(node("Split", outputs=4, num_outputs=4, axis=2), 18), 17, "its parts may be unequal"),
        (model(node("DFT", "", "a"), 20, constant("a", 2)), 16, "it came with opset 17"),
        (model(node("Resize", "", "s", antialias=1), 18, constant("s", [1, 1, 2, 2], np.float32)), 17, "'antialias'"),
        (model(node("Reshape", "at", allowzero=1), 18), 13, "a zero in its shape, which is known at run time only"),
        (model(node("Relu"), 18), 12, "13 is the oldest"),
    ],
)
def test_what_an_older_opset_cannot_say(made: onnx.ModelProto, opset: int, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        lowered(made, opset)
