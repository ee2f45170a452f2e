"""A one-hot cotangent goes through a matrix as one of its rows."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.core import Cotangent, OneHot, backward
from onnxcam.autodiff.differentiate import add_output
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import load, to_proto
from onnxcam.testing import node_model, run
from tests.autodiff.cases import normal
from tests.optional import not_before

INDEX, VALUE = np.asarray([3, 0]), normal(2, seed=5)


def gradients(model: onnx.ModelProto, wanted: str, sparse: bool, weighted: bool) -> tuple[set[str], np.ndarray]:
    """Return the operators that the gradient of *wanted* takes, and its value at a one-hot cotangent of y."""
    graph = (twin := load(model)).graph
    op = Emitter(graph)
    y = graph.outputs[0]
    index = ir.Value(name="index", shape=ir.Shape(["N"]), type=ir.TensorType(ir.DataType.INT64))
    value = ir.Value(name="value", shape=ir.Shape(["N"]), type=ir.TensorType(ir.DataType.FLOAT))
    graph.inputs.extend([index, value])
    hot = OneHot(index, value if weighted else None)
    seed: Cotangent = hot if sparse else hot.dense(op, y)
    x = next(x for x in [*graph.inputs, *graph.initializers.values()] if x.name == wanted)
    (gradient,) = backward(op, {y: seed}, [x], STANDARD)
    assert gradient is not None
    forward = set(graph)
    add_output(op, gradient, "dx", like=x)
    op.place(graph.outputs)
    feeds = {**FEEDS, "index": INDEX, "value": VALUE}
    names = {node.op_type for node in graph if node not in forward}
    return names, run(to_proto(twin), {x.name: feeds[x.name] for x in graph.inputs})["dx"]


FEEDS: dict[str, Any] = {"a": normal(2, 3), "a3": normal(1, 2, 3), "at": normal(3, 2)}
FEEDS |= {"x1": normal(2, 3, 1, 1), "x2": normal(2, 3, 2, 2)}
W, C = normal(3, 4), normal(4, seed=1)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("op", "inputs", "settings"),
    [
        ("Gemm", {"b": W, "c": C}, {}),
        ("Gemm", {"b": W.T, "c": C}, {"transB": 1, "alpha": 0.5, "beta": 2.0}),
        ("MatMul", {"b": W}, {}),
    ],
)
def test_a_one_hot_cotangent_is_a_row(op: str, inputs: dict, settings: dict, weighted: bool) -> None:
    model = node_model(op, {"a": FEEDS["a"], **inputs}, inputs, **settings)
    operators, row = gradients(model, "a", True, weighted)
    _, expected = gradients(model, "a", False, weighted)
    assert "Gather" in operators
    assert operators.isdisjoint({"Gemm", "MatMul", "Range"})
    np.testing.assert_allclose(row, expected, rtol=1e-6)
    for weight in inputs:
        np.testing.assert_allclose(
            gradients(model, weight, True, weighted)[1], gradients(model, weight, False, weighted)[1], rtol=1e-6
        )


HEADS = {
    "conv": "y = Conv(x1, w)",
    "conv of all of x": "y = Conv<strides = [2, 2]>(x2, w)",
    "squeeze": "z = Conv(x1, w) y = Squeeze(z, axes)",
    "squeeze all": "z = Conv(x1, w) y = Squeeze(z)",
    "reshape": "z = Conv(x2, w) y = Reshape(z, shape)",
    "flatten": "z = Conv(x1, w) y = Flatten(z)",
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_through_a_convolution_over_all_of_x_it_is_a_row_too(name: str, weighted: bool) -> None:
    body, x = HEADS[name], "x2" if "x2" in HEADS[name] else "x1"
    model, w = headed(body, x, normal(4, *FEEDS[x].shape[1:], seed=3))
    operators, row = gradients(model, x, True, weighted)
    assert "Gather" in operators
    assert operators.isdisjoint({"Conv", "ConvTranspose", "Range"})
    np.testing.assert_allclose(row, w[INDEX] * (VALUE[:, None, None, None] if weighted else 1), rtol=1e-6)
    for wanted in (x, "w"):
        found, expected = (gradients(model, wanted, sparse, weighted)[1] for sparse in (True, False))
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("body", "shape"),
    [("y = Conv<pads = [1, 1, 1, 1]>(x1, w)", (4, 3, 3, 3)), ("y = Conv<group = 3>(x2, w)", (6, 1, 2, 2))],
)
def test_through_another_convolution_it_is_made_dense(body: str, shape: tuple[int, ...]) -> None:
    x = "x1" if "x1" in body else "x2"
    model, _ = headed(body, x, normal(*shape, seed=3))
    operators, dx = gradients(model, x, True, True)
    assert operators & {"Conv", "ConvTranspose"}
    np.testing.assert_allclose(dx, gradients(model, x, False, True)[1], rtol=1e-6)


def headed(body: str, x: str, w: np.ndarray) -> tuple[onnx.ModelProto, np.ndarray]:
    """Return a model of *x* to as many scores as *w* has kernels, and these."""
    shape, column = ", ".join(map(str, FEEDS[x].shape)), f"float[2, {len(w)}, 1, 1]"
    y, inner = (f"float[2, {len(w)}]", f"<{column} z>") if " y = " in body else (column, "")
    text = f"""
    <ir_version: 8, opset_import: ["": 18]>
    g (float[{shape}] {x}) => ({y} y) {inner} {{ {body} }}
    """
    model = onnx.parser.parse_model(text)
    arrays = {"w": w, "axes": np.asarray([2, 3]), "shape": np.asarray([2, len(w)])}
    used = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items() if name in body]
    model.graph.initializer.extend(used)
    return model, w


def test_a_one_hot_cotangent_of_a_transposed_operand_is_made_dense() -> None:
    model = node_model("Gemm", {"at": FEEDS["at"], "b": W}, {"b": W}, transA=1)
    np.testing.assert_allclose(gradients(model, "at", True, True)[1], gradients(model, "at", False, True)[1], rtol=1e-6)


@pytest.mark.parametrize("across", [0, 1])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_of_quantised_weights_only_the_row_is_made_real(axis: int | None, across: int) -> None:
    not_before("onnxruntime", "1.31", "GatherSliceToSplitFusion gives two nodes one name")
    q = np.random.default_rng(0).integers(-127, 127, (4, 3) if across else (3, 4), np.int8)
    scales = np.float32(0.1) if axis is None else np.linspace(0.1, 0.4, q.shape[axis], dtype=np.float32)
    zeros = np.zeros_like(scales, np.int8) + np.int8(3)
    text = f"""
    <ir_version: 8, opset_import: ["": 18]>
    g (float[2, 3] a) => (float[2, 4] y) {{
        w = DequantizeLinear<axis = {axis or 0}>(q, s, z)
        y = Gemm<transB = {across}>(a, w)
    }}
    """
    model = onnx.parser.parse_model(text)
    arrays = {"q": q, "s": np.asarray(scales), "z": np.asarray(zeros)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    operators, row = gradients(model, "a", True, False)
    assert operators >= {"Gather", "DequantizeLinear"}
    assert operators.isdisjoint({"Gemm", "MatMul"})
    np.testing.assert_allclose(row, gradients(model, "a", False, False)[1], rtol=1e-5)
