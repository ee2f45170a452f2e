"""Types, shapes and ages: half precision, double, empty batches, scalars, repeated inputs, and operators as of old."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.autodiff import vjp
from onnxcam.testing import evaluate, run
from tests.autodiff.cases import distinct, normal, uniform

HALF = """
<ir_version: 10, opset_import: ["" : 18]>
g (TYPE[N, 3, 8, 8] x) => (TYPE[N, 3] y) <TYPE[4, 3, 3, 3] w, TYPE[4] b, TYPE[4, 3] m>
{
    c = Conv<pads = [1, 1, 1, 1]>(x, w, b)
    r = Relu(c)
    h = HardSwish(r)
    q = GlobalAveragePool(h)
    f = Flatten(q)
    y = MatMul(f, m)
}
"""
WEIGHTS = {"w": normal(4, 3, 3, 3), "b": normal(4), "m": normal(4, 3)}


def network(kind: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(HALF.replace("TYPE", kind))
    dtype = onnx.helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
    for name, weight in WEIGHTS.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight.astype(dtype), name))
    return model


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "gradient", "guided-backprop"])
def test_half_precision_gives_the_same_map(method: str) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    expected, actual = (
        Explainer(network(kind), method=method, preprocess="unit")(photo, target=1).raw for kind in ("float", "float16")
    )
    np.testing.assert_allclose(actual, expected, atol=5e-3 * np.abs(expected).max())


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_half_precision_stays_finite(scale: float) -> None:
    x, dy = normal(2, 3, 8, 8) * np.float32(scale), normal(2, 3)
    expected = run(vjp(network("float")), {"x": x, "y.cotangent": dy})["x.gradient"]
    narrow = {"x": x.astype(np.float16), "y.cotangent": dy.astype(np.float16)}
    actual = run(vjp(network("float16")), narrow)["x.gradient"]
    assert actual.dtype == np.float16
    np.testing.assert_allclose(actual, expected, atol=2e-2 * np.abs(expected).max())


def test_half_precision_adds_up_in_single() -> None:
    """Windows that overlap, indices that repeat: ONNX Runtime's CPU provider adds no float16 at places."""
    model = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["" : 18]>
    g (float16[1, 1, 4] x, int64[3] i) => (float16[1, 1, 3] y)
    { m = MaxPool<kernel_shape = [2]>(x) y = Gather<axis = 2>(m, i) }
    """)
    x, i = np.asarray([[[1, 3, 2, 0]]], np.float16), np.asarray([0, 1, 1])
    dy = np.asarray([[[1, 2, 4]]], np.float16)
    found = run(vjp(model, inputs=["x"]), {"x": x, "i": i, "y.cotangent": dy})["x.gradient"]
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, [[[0, 7, 0, 0]]])


def test_double() -> None:
    x, dy = normal(2, 3, 8, 8), normal(2, 3)
    expected = run(vjp(network("float")), {"x": x, "y.cotangent": dy})["x.gradient"]
    wide = {"x": x.astype(np.float64), "y.cotangent": dy.astype(np.float64)}
    actual = evaluate(vjp(network("double")), wide)["x.gradient"]
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected, atol=1e-5 * np.abs(expected).max())


def test_mixed_precision() -> None:
    """Casts between: float32 outside, float16 inside; gradients are of their tensors' types."""
    model = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["" : 18]>
    g (float[2, 3] x, float16[3, 3] w) => (float[2, 3] y)
    { h = Cast<to = 10>(x) m = MatMul(h, w) s = Sigmoid(m) y = Cast<to = 1>(s) }
    """)
    x, w, dy = normal(2, 3), normal(3, 3).astype(np.float16), normal(2, 3, seed=1)
    results = run(vjp(model), {"x": x, "w": w, "y.cotangent": dy})
    s = 1 / (1 + np.exp(-x @ w.astype(np.float32)))
    g = dy * s * (1 - s)
    assert results["x.gradient"].dtype == np.float32
    assert results["w.gradient"].dtype == np.float16
    np.testing.assert_allclose(results["x.gradient"], g @ w.T.astype(np.float32), atol=5e-3)
    np.testing.assert_allclose(results["w.gradient"], x.T @ g, atol=5e-3)


def test_bfloat16_on_the_reference() -> None:
    """ONNX Runtime's CPU provider has hardly an operator of this type."""
    model = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["" : 18]>
    g (bfloat16[4] x) => (bfloat16[4] y) { m = Mul(x, x) y = Relu(m) }
    """)
    bfloat16 = onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.BFLOAT16)
    x = np.asarray([1, -2, 3, -4], bfloat16)
    results = evaluate(vjp(model), {"x": x, "y.cotangent": np.ones(4, bfloat16)})
    np.testing.assert_array_equal(results["x.gradient"].astype(np.float32), [2, -4, 6, -8])


def test_an_empty_batch() -> None:
    feeds = {"x": np.zeros((0, 3, 8, 8), np.float32), "y.cotangent": np.zeros((0, 3), np.float32)}
    assert run(vjp(network("float")), feeds)["x.gradient"].shape == (0, 3, 8, 8)


def test_scalars() -> None:
    model = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["" : 18]>
    g (float x, float[3] v) => (float y) { p = Mul(x, v) s = ReduceSum<keepdims = 0>(p) y = Exp(s) }
    """)
    v = np.asarray([0.1, 0.2, 0.3], np.float32)
    results = run(vjp(model), {"x": np.asarray(2, np.float32), "v": v, "y.cotangent": np.asarray(1, np.float32)})
    np.testing.assert_allclose(results["x.gradient"], 0.6 * np.exp(1.2), rtol=1e-5)
    np.testing.assert_allclose(results["v.gradient"], np.full(3, 2 * np.exp(1.2)), rtol=1e-5)
    assert results["x.gradient"].shape == ()


def test_one_tensor_as_every_input_of_unnamed_nodes() -> None:
    model = onnx.parser.parse_model("""
    <ir_version: 10, opset_import: ["" : 18]>
    g (float[2, 2] x) => (float[6, 2] y) { m = MatMul(x, x) s = Sum(x, m, x) y = Concat<axis = 0>(s, x, x) }
    """)
    assert all(not node.name for node in model.graph.node)
    x, dy = normal(2, 2), normal(6, 2)
    actual = run(vjp(model), {"x": x, "y.cotangent": dy})["x.gradient"]
    g = dy[:2]
    np.testing.assert_allclose(actual, g @ x.T + x.T @ g + 2 * g + dy[2:4] + dy[4:], rtol=1e-5)


X, C = distinct(2, 3, 4), distinct(1, 2, 4, 4)
FOUR = np.asarray([1, 1, 2, 2], np.float32)
NORM = {"s": uniform(2, low=0.5, high=1.5), "b": normal(2), "m": normal(2), "v": uniform(2, low=0.5, high=1.5)}
OLD: dict[str, tuple[int, str, dict[str, Any], dict[str, Any]]] = {
    # what each opset called it: opset, operator, constants behind the first input, attributes
    "softmax 7, over all axes from 1": (7, "Softmax", {}, {}),
    "softmax 11, over all axes from 1": (11, "Softmax", {}, {}),
    "softmax 11, axis 0": (11, "Softmax", {}, {"axis": 0}),
    "softmax 11, last axis": (11, "Softmax", {}, {"axis": -1}),
    "softmax 13": (13, "Softmax", {}, {"axis": 1}),
    "log softmax 9": (9, "LogSoftmax", {}, {"axis": 1}),
    "upsample 7": (7, "Upsample", {}, {"scales": [1.0, 1.0, 2.0, 2.0], "mode": "nearest"}),
    "upsample 9": (9, "Upsample", {"r": FOUR}, {"mode": "nearest"}),
    "upsample 9, linear": (9, "Upsample", {"r": FOUR}, {"mode": "linear"}),
    "resize 10": (10, "Resize", {"r": FOUR}, {"mode": "nearest"}),
    "resize 10, by halves": (10, "Resize", {"r": np.asarray([1, 1, 1.5, 2.5], np.float32)}, {"mode": "nearest"}),
    "resize 10, smaller": (10, "Resize", {"r": np.asarray([1, 1, 0.6, 0.5], np.float32)}, {"mode": "nearest"}),
    "resize 10, linear": (10, "Resize", {"r": FOUR}, {"mode": "linear"}),
    "resize 11": (11, "Resize", {"roi": np.zeros(8, np.float32), "r": FOUR}, {"mode": "linear"}),
    "resize 13": (13, "Resize", {"roi": None, "r": FOUR}, {"mode": "linear"}),
    "batch normalization 7": (7, "BatchNormalization", NORM, {}),
    "batch normalization 9": (9, "BatchNormalization", NORM, {"epsilon": 1e-3}),
    "dropout 7": (7, "Dropout", {}, {"ratio": 0.3}),
    "dropout 10": (10, "Dropout", {}, {}),
    "dropout 12": (12, "Dropout", {"ratio": np.float32(0.4)}, {}),
    "clip 6": (7, "Clip", {}, {"min": -0.72, "max": 0.81}),
    "clip 6, one bound": (10, "Clip", {}, {"min": -0.72}),
    "clip 11": (11, "Clip", {"low": np.float32(-0.72)}, {}),
    "pad 2": (10, "Pad", {}, {"pads": [0, 1, 0, 1, 0, 2], "mode": "reflect"}),
    "pad 11": (11, "Pad", {"pads": np.asarray([0, 1, 0, 1, 0, 2]), "fill": np.float32(3)}, {}),
    "slice 1": (9, "Slice", {}, {"axes": [1, 2], "starts": [1, 0], "ends": [3, -1]}),
    "slice 10": (10, "Slice", {"starts": np.asarray([3]), "ends": np.asarray([0]), "axes": np.asarray([2]),
                               "steps": np.asarray([-2])}, {}),
    "squeeze 11": (11, "Squeeze", {}, {"axes": [0]}),
    "unsqueeze 11": (11, "Unsqueeze", {}, {"axes": [0, 2]}),
    "reduce sum 11": (11, "ReduceSum", {}, {"axes": [1], "keepdims": 0}),
    "reduce sum 11, all": (11, "ReduceSum", {}, {}),
    "reduce mean 13": (13, "ReduceMean", {}, {"axes": [0, 2]}),
    "reduce max 11": (11, "ReduceMax", {}, {"axes": [-1], "keepdims": 0}),
    "split 2": (11, "Split", {}, {"axis": 2, "split": [1, 3]}),
    "average pool 7": (7, "AveragePool", {}, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "max pool 8": (8, "MaxPool", {}, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "flatten 9": (9, "Flatten", {}, {"axis": 2}),
    "hard swish spelt out": (13, "HardSigmoid", {}, {"alpha": 0.3}),
}  # fmt: skip
IMAGES = ("upsample", "resize", "batch", "average", "max pool", "squeeze 11")


def old_model(name: str) -> tuple[onnx.ModelProto, np.ndarray]:
    opset, operator, constants, attributes = OLD[name]
    x = C if name.startswith(IMAGES) else X
    results = ["y", "y1"] if operator == "Split" else ["y"]
    inputs = ["x", *(key if value is not None else "" for key, value in constants.items())]
    info = [onnx.helper.make_tensor_value_info(key, onnx.TensorProto.FLOAT, None) for key in results]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, inputs, results, **attributes)],
        "old",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
        info,
        [onnx.numpy_helper.from_array(np.asarray(v), key) for key, v in constants.items() if v is not None],
    )
    return onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", opset)]), x


@pytest.mark.parametrize("name", OLD)
def test_operators_as_they_were(name: str) -> None:
    """The gradient, against differences of the model at its own opset on ONNX Runtime."""
    model, x = old_model(name)
    ys = run(model, {"x": x})
    us = {key: normal(*y.shape, seed=i) for i, (key, y) in enumerate(ys.items())}
    results = run(vjp(model), {"x": x, **{f"{key}.cotangent": u for key, u in us.items()}})
    for key, y in ys.items():
        np.testing.assert_allclose(results[key], y, rtol=1e-5, atol=1e-6)
    v = normal(*x.shape, seed=5)
    ends = [run(model, {"x": x + np.float32(step) * v}) for step in (4e-3, -4e-3)]
    slope = sum(float(np.vdot(u.astype(float), ends[0][key] - ends[1][key])) for key, u in us.items()) / 8e-3
    gradient = results["x.gradient"]
    scale = max(abs(slope), float(np.linalg.norm(gradient)), 1e-2)
    assert gradient.shape == x.shape
    assert abs(float(np.vdot(v, gradient)) - slope) / scale < 2e-3


def test_a_dropout_mask_that_is_asked_for() -> None:
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 12]>
    g (float[3] x) => (float[3] y, bool[3] mask) { y, mask = Dropout(x) }
    """)
    results = run(vjp(model, ["y"]), {"x": normal(3), "y.cotangent": np.ones(3, np.float32)})
    np.testing.assert_array_equal(results["x.gradient"], np.ones(3))
