"""Types, shapes and ages: half precision, double, empty batches, scalars, repeated inputs, and operators as of old."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.autodiff import vjp
from onnxcam.methods import METHODS
from onnxcam.testing import evaluate, node_model, run
from tests.autodiff.cases import distinct, normal, uniform
from tests.optional import not_before
from tests.precision import network

ON_IMAGES = [
    id
    for id, method in METHODS.items()
    if not (method.needs_attention or method.needs_detections or method.needs_words or method.extra)
]


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "gradient", "guided-backprop"])
def test_half_precision_gives_the_same_map(method: str) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    expected, actual = (
        Explainer(network(kind), method=method, preprocess="unit")(photo, target=1).raw for kind in ("float", "float16")
    )
    np.testing.assert_allclose(actual, expected, atol=5e-3 * np.abs(expected).max())


@pytest.mark.parametrize("method", ON_IMAGES)
def test_half_precision_gives_maps_of_single_precision(method: str) -> None:
    x = np.random.default_rng(0).random((1, 3, 8, 8)).astype(np.float16)
    single, half = (Explainer(network(kind), method=method) for kind in ("float", "float16"))
    expected, actual = single.attribute(x.astype(np.float32), target=1), half.attribute(x, target=1)
    assert actual.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=5e-2 * np.abs(expected).max())


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_half_precision_stays_finite(scale: float) -> None:
    x, dy = normal(2, 3, 8, 8) * np.float32(scale), normal(2, 3)
    expected = run(vjp(network("float")), {"x": x, "y.cotangent": dy})["x.gradient"]
    narrow = {"x": x.astype(np.float16), "y.cotangent": dy.astype(np.float16)}
    actual = run(vjp(network("float16")), narrow)["x.gradient"]
    assert actual.dtype == np.float16
    np.testing.assert_allclose(actual, expected, atol=2e-2 * np.abs(expected).max())


SUMS: dict[str, tuple[dict[str, Any], tuple[str, ...], dict[str, Any]]] = {
    # operators whose gradient adds up at repeated places: ONNX Runtime does so in float32 only
    "MaxPool": ({"x": distinct(1, 2, 5, 5)}, (), {"kernel_shape": [3, 3]}),
    "Gather": ({"x": normal(4, 3), "i": np.asarray([1, 1, 3])}, (), {}),
    "GatherElements": ({"x": normal(4, 3), "i": np.asarray([[1, 1, 2], [1, 0, 2]])}, (), {}),
    "GatherND": ({"x": normal(4, 3), "i": np.asarray([[1], [1], [3]])}, (), {}),
    "Pad": ({"x": normal(1, 4), "pads": np.asarray([0, 2, 0, 1])}, ("pads",), {"mode": "reflect"}),
    "GridSample": ({"x": normal(1, 2, 3, 3), "g": uniform(1, 2, 2, 2, low=-0.9, high=0.9)}, (), {}),
}


@pytest.mark.parametrize("operator", SUMS)
def test_half_precision_sums(operator: str) -> None:
    inputs, constants, attributes = SUMS[operator]
    half = {name: x.astype(np.float16) if x.dtype == np.float32 else x for name, x in inputs.items()}
    results = []
    for kind, given in ((np.float32, inputs), (np.float16, half)):
        fixed = {name: given[name] for name in constants}
        model = node_model(operator, given, fixed, opset=20, **attributes)
        feeds = {name: x for name, x in given.items() if name not in constants}
        u = normal(*run(model, feeds)["y"].shape, seed=1).astype(kind)
        results.append(run(vjp(model, inputs=["x"]), {**feeds, "y.cotangent": u})["x.gradient"])
    assert results[1].dtype == np.float16
    np.testing.assert_allclose(results[1], results[0], atol=1e-2 * np.abs(results[0]).max())


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
    "log softmax 11, axis 1": (11, "LogSoftmax", {}, {"axis": 1}),
    "log softmax 13, last axis": (13, "LogSoftmax", {}, {}),
    "batch normalization 8, spatial": (8, "BatchNormalization", NORM, {"spatial": 1}),
    "batch normalization 14": (14, "BatchNormalization", NORM, {}),
    "batch normalization 15": (15, "BatchNormalization", NORM, {"momentum": 0.8}),
    "dropout 13": (13, "Dropout", {"ratio": np.float32(0.4), "training": np.asarray(False)}, {}),
    "clip 12, no bounds": (12, "Clip", {}, {}),
    "clip 13": (13, "Clip", {"low": None, "high": np.float32(0.81)}, {}),
    "pad 7, edge": (7, "Pad", {}, {"pads": [0, 1, 0, 1, 0, 2], "mode": "edge"}),
    "pad 13, cropping": (13, "Pad", {"pads": np.asarray([0, -1, 0, 1, 0, 2])}, {"mode": "constant"}),
    "pad 18, axes": (18, "Pad", {"pads": np.asarray([1, 2]), "fill": None, "axes": np.asarray([-1])}, {}),
    "pad 19, wrapped": (19, "Pad", {"pads": np.asarray([0, 1, 0, 1, 0, 2])}, {"mode": "wrap"}),
    "slice 7, no axes": (7, "Slice", {}, {"starts": [0, 1], "ends": [1, 9]}),
    "slice 11, backwards from the end": (11, "Slice", {"starts": np.asarray([-1]), "ends": np.asarray([-9]),
                                         "axes": np.asarray([-2]), "steps": np.asarray([-1])}, {}),
    "slice 13": (13, "Slice", {"starts": np.asarray([1], np.int32), "ends": np.asarray([3], np.int32)}, {}),
    "squeeze 7, all": (7, "Squeeze", {}, {}),
    "squeeze 13": (13, "Squeeze", {"axes": np.asarray([-4])}, {}),
    "unsqueeze 7": (7, "Unsqueeze", {}, {"axes": [1]}),
    "unsqueeze 13": (13, "Unsqueeze", {"axes": np.asarray([-1, 0])}, {}),
    "reduce sum 7": (7, "ReduceSum", {}, {"axes": [0, 2]}),
    "reduce sum 13": (13, "ReduceSum", {"axes": np.asarray([-1])}, {"keepdims": 0}),
    "reduce sum 13, nothing": (13, "ReduceSum", {}, {"noop_with_empty_axes": 1}),
    **{f"reduce {op} {opset}": (opset, f"Reduce{op}", {} if opset < 18 else {"axes": np.asarray([1, -1])},
                                {"axes": [1, 2]} if opset < 18 else {})
       for op in ("L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare") for opset in (7, 11, 13, 18)},
    "split 7": (7, "Split", {}, {"axis": 2}),
    "split 13": (13, "Split", {"parts": np.asarray([1, 3])}, {"axis": -1}),
    "split 18": (18, "Split", {}, {"axis": -1, "num_outputs": 2}),
    "split 18, uneven": (18, "Split", {}, {"axis": 1, "num_outputs": 2}),
    "top 7": (7, "TopK", {}, {"k": 2, "axis": -1}),
    "top 10": (10, "TopK", {"k": np.asarray([2])}, {"axis": 1}),
    "top 11, smallest": (11, "TopK", {"k": np.asarray([2])}, {"axis": 1, "largest": 0, "sorted": 1}),
    "gather 7": (7, "Gather", {"i": np.asarray([[0, 1], [1, 1]])}, {"axis": 1}),
    "gather 11, from behind": (11, "Gather", {"i": np.asarray([-1, 0])}, {"axis": -1}),
    "gather 13": (13, "Gather", {"i": np.asarray(1, np.int32)}, {}),
    "gather elements 11": (11, "GatherElements", {"i": np.asarray([[[0, 2, -1, 0]]])}, {"axis": 2}),
    "gather slices 12": (12, "GatherND", {"i": np.asarray([[0], [2]])}, {"batch_dims": 1}),
    "scatter 9": (9, "Scatter", {"i": np.asarray([[[0, 1, 0, 1]]]), "u": np.ones((1, 1, 4), np.float32)}, {"axis": 1}),
    "scatter elements 11": (11, "ScatterElements", {"i": np.asarray([[[-1, 0]]]), "u": np.ones((1, 1, 2), np.float32)},
                            {"axis": 2}),
    "scatter elements 16": (16, "ScatterElements", {"i": np.asarray([[[1, 0]]]), "u": np.ones((1, 1, 2), np.float32)},
                            {"axis": 2, "reduction": "add"}),
    "scatter slices 11": (11, "ScatterND", {"i": np.asarray([[1]]), "u": np.ones((1, 3, 4), np.float32)}, {}),
    "cast 7": (7, "Cast", {}, {"to": 1}),
    "cast 9": (9, "Cast", {}, {"to": 1}),
    "cast 13": (13, "Cast", {}, {"to": 1}),
    "cast 19": (19, "Cast", {}, {"to": 1}),
    "max pool 7, padded": (7, "MaxPool", {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "max pool 10, ceiling": (10, "MaxPool", {}, {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "max pool 11, dilated": (11, "MaxPool", {}, {"kernel_shape": [2, 2], "dilations": [2, 2]}),
    "max pool 12, same": (12, "MaxPool", {}, {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}),
    "max pool 22": (22, "MaxPool", {}, {"kernel_shape": [2, 2]}),
    "average pool 10, ceiling": (10, "AveragePool", {}, {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "average pool 11, padded": (11, "AveragePool", {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1],
                                                        "count_include_pad": 1}),
    "average pool 19, dilated": (19, "AveragePool", {}, {"kernel_shape": [2, 2], "dilations": [2, 2]}),
    "average pool 22": (22, "AveragePool", {}, {"kernel_shape": [2, 2]}),
    **{f"average pool by powers {opset}": (opset, "LpPool", {}, {"kernel_shape": [2, 2], "p": 3})
       for opset in (7, 11, 18)},
    **{f"average of depth {opset}": (opset, "DepthToSpace", {}, {"blocksize": 2}) for opset in (7, 11, 13)},
    "depth 11, columns": (11, "DepthToSpace", {}, {"blocksize": 2, "mode": "CRD"}),
    **{f"gemm {opset}": (opset, "Gemm", {"w": normal(5, 4), "b": normal(5) if opset < 11 else None},
                         {"transB": 1, "alpha": 0.7}) for opset in (7, 9, 11, 13)},
    "product 9": (9, "MatMul", {"w": normal(4, 5)}, {}),
    **{f"power {opset}": (opset, "Pow", {"e": np.float32(3)}, {}) for opset in (7, 12, 13, 15)},
    **{f"slope {opset}": (opset, "PRelu", {"s": uniform(3, 1)}, {}) for opset in (7, 9, 16)},
    **{f"largest {opset}": (opset, "Max", {"b": np.full((3, 1), 0.07, np.float32)}, {}) for opset in (8, 12, 13)},
    **{f"average {opset}": (opset, "Mean", {"b": normal(3, 1)}, {}) for opset in (8, 13)},
    "sum 8": (8, "Sum", {"b": normal(3, 1), "c": normal(4)}, {}),
    "remainder 10": (10, "Mod", {"b": np.float32(0.7)}, {"fmod": 1}),
    "running sum 11": (11, "CumSum", {"axis": np.asarray(1)}, {"reverse": 1}),
    **{f"repeat {opset}": (opset, "Expand", {"s": np.asarray([2, 2, 3, 4])}, {}) for opset in (8, 13)},
    "tile 7": (7, "Tile", {"r": np.asarray([1, 2, 1])}, {}),
    **{f"reshape {opset}": (opset, "Reshape", {"s": np.asarray([0, -1])}, {}) for opset in (7, 13, 14, 19)},
    **{f"concatenation {opset}": (opset, "Concat", {"b": normal(2, 3, 4)}, {"axis": 1}) for opset in (7, 11, 13)},
    **{f"elu {opset}": (opset, "Elu", {}, {"alpha": 0.5}) for opset in (7, 22)},
    **{f"gelu {opset}": (opset, "Gelu", {}, {"approximate": "tanh"}) for opset in (20,)},
    "hard swish 14": (14, "HardSwish", {}, {}),
    "resize 18, axes": (18, "Resize", {"roi": None, "r": np.asarray([1.5, 2], np.float32)},
                        {"mode": "linear", "axes": [2, 3]}),
    "resize 18, sizes": (18, "Resize", {"roi": None, "r": None, "s": np.asarray([3, 3])},
                         {"mode": "linear", "axes": [2, 3], "antialias": 1}),
    "resize 11, sizes": (11, "Resize", {"roi": np.zeros(0, np.float32), "r": np.zeros(0, np.float32),
                                        "s": np.asarray([1, 2, 7, 3])}, {"mode": "cubic"}),
    "resize 13, aligned": (13, "Resize", {"roi": None, "r": FOUR},
                           {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    **{f"convolution {opset}": (opset, "Conv", {"w": normal(3, 2, 2, 2)}, {"auto_pad": "SAME_LOWER"})
       for opset in (7, 11, 22)},
    **{f"convolution {opset}, transposed": (opset, "ConvTranspose", {"w": normal(2, 3, 2, 2)}, {"strides": [2, 2]})
       for opset in (7, 11, 22)},
    **{f"normalization of instances {opset}": (opset, "InstanceNormalization", {"s": NORM["s"], "b": NORM["b"]}, {})
       for opset in (7, 22)},
    "normalization of neighbours 7": (7, "LRN", {}, {"size": 3, "alpha": 0.1}),
    "normalization of layers 17": (17, "LayerNormalization", {"s": uniform(4, low=0.5), "b": normal(4)}, {}),
    **{f"norm {opset}": (opset, "LpNormalization", {}, {"axis": 1, "p": 2}) for opset in (7, 22)},
}  # fmt: skip
IMAGES = ("upsample", "resize", "batch", "average pool", "max pool", "squeeze", "convolution", "normalization of i",
          "normalization of n")  # fmt: skip


def old_model(name: str) -> tuple[onnx.ModelProto, np.ndarray]:
    opset, operator, constants, attributes = OLD[name]
    x = C if name.startswith(IMAGES) else X
    x = {"DepthToSpace": normal(1, 8, 2, 3), "Gemm": normal(2, 4)}.get(operator, x)
    kinds = {"Split": {"y": 1, "y1": 1}, "TopK": {"y": 1, "indices": 7}}.get(operator, {"y": 1})
    results = list(kinds)
    inputs = ["x", *(key if value is not None else "" for key, value in constants.items())]
    info = [onnx.helper.make_tensor_value_info(key, kind, None) for key, kind in kinds.items()]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, inputs, results, **attributes)],
        "old",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
        info,
        [onnx.numpy_helper.from_array(np.asarray(v), key) for key, v in constants.items() if v is not None],
    )
    return onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", opset)]), x


@pytest.mark.parametrize("lengths", ["known", "symbolic"])
@pytest.mark.parametrize("name", OLD)
def test_operators_as_they_were(name: str, lengths: str) -> None:
    """The gradient, against differences of the model at its own opset on ONNX Runtime."""
    if name == "norm 22":
        not_before("onnxruntime", "1.30", "it has no LpNormalization of opset 22")
    model, x = old_model(name)
    if lengths == "symbolic":
        for i, dim in enumerate(model.graph.input[0].type.tensor_type.shape.dim):
            dim.dim_param = f"x{i}"
    ys = run(model, {"x": x})
    us = {key: normal(*y.shape, seed=i) for i, (key, y) in enumerate(ys.items()) if y.dtype == np.float32}
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
