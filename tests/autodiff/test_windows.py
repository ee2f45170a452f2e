"""A window of a cotangent, at a place known at run time, gives the gradient of the whole cotangent: at borders too."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from onnxcam.autodiff import STANDARD, vjp
from onnxcam.autodiff.differentiate import set_outputs
from onnxcam.autodiff.window_elements import KnownPlace, elements
from onnxcam.autodiff.window_pass import carried
from onnxcam.engine import Session
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import all_tensors, load, to_proto
from tests.autodiff.cases import normal

CHANNELS, SIZE = 4, 16

HEADS = {
    "one 3 × 3": "y = Conv <pads = [1, 1, 1, 1]> (x, w3)",
    "two, rectified": "a = Conv <pads = [1, 1, 1, 1]> (x, w3) b = Relu (a) y = Conv <pads = [1, 1, 1, 1]> (b, w3)",
    "stride 2": "a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w3) b = Sigmoid (a) y = Conv (b, w1)",
    "stride 2, uneven pads": "y = Conv <pads = [0, 0, 1, 1], strides = [2, 2]> (x, w3)",
    "SAME_UPPER": 'a = Conv <auto_pad = "SAME_UPPER", strides = [2, 1]> (x, w3) y = Tanh (a)',
    "dilated": "y = Conv <pads = [2, 2, 2, 2], dilations = [2, 2]> (x, w3)",
    "depthwise": "a = Conv <pads = [2, 2, 2, 2], group = 4> (x, w5) b = LeakyRelu (a) y = Conv (b, w1)",
    "residual": "a = Conv <pads = [1, 1, 1, 1]> (x, w3) b = Add (a, x) y = Mul (b, scale)",
    "softmax of channels": "a = Conv (x, w1) b = Softmax <axis = 1> (a) y = Conv <pads = [1, 1, 1, 1]> (b, w3)",
    "rows of anchors": """a = Conv <pads = [1, 1, 1, 1]> (x, w3) t = Transpose <perm = [0, 2, 3, 1]> (a)
        r = Reshape (t, rows) y = Softmax <axis = 2> (r)""",
    "anchors before cells": """a = Conv (x, w1) r = Reshape (a, apart) t = Transpose <perm = [0, 1, 3, 4, 2]> (r)
        f = Reshape (t, rows) y = Sigmoid (f)""",
    "two levels": """a = Conv <strides = [2, 2]> (x, w1) b = Relu (a) c = Conv <pads = [1, 1, 1, 1]> (x, w3)
        f = Reshape (b, flat) g = Reshape (c, flat) y = Concat <axis = 2> (f, g)""",
    "channels of two branches": """a = Conv <pads = [1, 1, 1, 1]> (x, w3) b = Conv (x, w1) c = Sigmoid (b)
        y = Concat <axis = 1> (a, c)""",
    "a place is needed whole": "a = Conv (x, w1) b = GlobalAveragePool (a) c = Mul (a, b) y = Conv (c, w1)",
    "a linear layer on rows": """t = Transpose <perm = [0, 2, 3, 1]> (x) r = Reshape (t, tokens) h = MatMul (r, linear)
        y = Add (h, bias)""",
}
"""Heads of detectors, from x [N, 4, 16, 16] to y."""

NUMBERS = {
    "rows": [0, -1, 2],
    "apart": [0, 2, 2, SIZE, SIZE],
    "flat": [0, CHANNELS, -1],
    "tokens": [0, -1, CHANNELS],
    "both": [0, 2 * CHANNELS, -1],
}
WEIGHTS = {
    "w1": (CHANNELS, CHANNELS, 1, 1),
    "w3": (CHANNELS, CHANNELS, 3, 3),
    "w5": (CHANNELS, 1, 5, 5),
    "scale": (1, CHANNELS, 1, 1),
    "linear": (CHANNELS, 6),
    "bias": (6,),
}


def network(head: str, images: int, dtype: type) -> onnx.ModelProto:
    """Return the *head* for *images*, in *dtype*."""
    kind = "double" if dtype is np.float64 else "float"
    model = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 20]>
        g ({kind}[{images}, {CHANNELS}, {SIZE}, {SIZE}] x) => ({kind}[] y) {{ {head} }}""")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    used = {name for node in model.graph.node for name in node.input}
    values = {name: 0.5 * normal(*size, seed=i).astype(dtype) for i, (name, size) in enumerate(WEIGHTS.items())}
    values |= {name: np.array(numbers) for name, numbers in NUMBERS.items()}
    given = [onnx.numpy_helper.from_array(value, name) for name, value in values.items() if name in used]
    model.graph.initializer.extend(given)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def windowed(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[tuple[str, list[int]]]]:
    """Return *model* with the gradients dx of targets, given as image, place, weight; and where windows end."""
    loaded = load(model)
    graph, op = loaded.graph, Emitter(loaded.graph)
    tensors = all_tensors(graph)
    x, y = tensors["x"], tensors["y"]
    assert x.dtype is not None
    given = [
        ir.Value(name=name, shape=ir.Shape([None]), type=ir.TensorType(kind))
        for name, kind in (("image", ir.DataType.INT64), ("place", ir.DataType.INT64), ("weight", x.dtype))
    ]
    graph.inputs.extend(given)
    image, place, weight = given
    (seed,) = elements(op, y, image, [(place, weight)])
    ends = carried(op, [(y, seed)], [x], STANDARD)
    sizes = [(value.name or "", [span.size for span in window.spans[1:] if span]) for value, window in ends]
    if {name for name, _ in sizes} == {"x"}:
        set_outputs(op, {"dx": op.total(*(window.dense(op, x) for _, window in ends))}, replace=True)
    return to_proto(loaded), sizes


def places(shape: tuple[int, ...]) -> list[int]:
    """Return flat indices of corners, edges and the middle of a tensor of *shape*."""
    some = [sorted({0, 1, n // 2, n - 1}) for n in shape]
    return [int(np.ravel_multi_index(at, shape)) for at in itertools.product(*some)]


def whole(model: onnx.ModelProto, x: NDArray[np.floating], images: list[int], at: list[int]) -> NDArray[np.floating]:
    """Return the gradients by the whole cotangents."""
    gradient = vjp(model, ["y"], ["x"])
    run = ReferenceEvaluator(gradient) if x.dtype == np.float64 else None
    session = Session(load(gradient), "cpu") if run is None else None
    y = ReferenceEvaluator(model).run(None, {"x": x})[0]
    found = []
    for image, place in zip(images, at, strict=True):
        dy = np.zeros(y.shape, y.dtype)
        dy[image].reshape(-1)[place] = 2
        feeds = {"x": x, "y.cotangent": dy}
        dx = run.run(["x.gradient"], feeds)[0] if run is not None else session.run(feeds)["x.gradient"]  # type: ignore[union-attr]
        found.append(dx[image])
    return np.array(found)


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("name", [name for name in HEADS if name != "a place is needed whole"])
def test_the_gradient_is_that_of_the_whole_cotangent(name: str, images: int) -> None:
    model = network(HEADS[name], images, np.float64)
    x = normal(images, CHANNELS, SIZE, SIZE, seed=7).astype(np.float64)
    made, _ = windowed(model)
    shape = ReferenceEvaluator(model).run(None, {"x": x})[0].shape[1:]
    at = places(shape)
    of = [n % images for n in range(len(at))]
    feeds = {"x": x, "image": np.array(of), "place": np.array(at), "weight": np.full(len(at), 2.0)}
    (dx,) = ReferenceEvaluator(made).run(["dx"], feeds)
    np.testing.assert_allclose(dx, whole(model, x, of, at), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", [name for name in HEADS if name != "a place is needed whole"])
def test_onnx_runtime_agrees(name: str) -> None:
    model = network(HEADS[name], 2, np.float32)
    x = normal(2, CHANNELS, SIZE, SIZE, seed=7).astype(np.float32)
    shape = ReferenceEvaluator(model).run(None, {"x": x})[0].shape[1:]
    at = places(shape)
    of = [n % 2 for n in range(len(at))]
    feeds = {"x": x, "image": np.array(of), "place": np.array(at), "weight": np.full(len(at), 2, np.float32)}
    dx = Session(load(windowed(model)[0]), "cpu").run(feeds)["dx"]
    np.testing.assert_allclose(dx, whole(model, x, of, at), rtol=1e-4, atol=1e-5)


def test_the_gradient_is_that_of_differences() -> None:
    model = network(HEADS["rows of anchors"], 1, np.float64)
    x, step = (normal(1, CHANNELS, SIZE, SIZE, seed=seed).astype(np.float64) for seed in (7, 8))
    at, forward = np.array([0, 17, 300]), ReferenceEvaluator(model)
    feeds = {"x": x, "image": np.zeros(3, int), "place": at, "weight": np.ones(3)}
    (dx,) = ReferenceEvaluator(windowed(model)[0]).run(["dx"], feeds)
    ahead, behind = (forward.run(None, {"x": x + h * step})[0].reshape(-1)[at] for h in (1e-6, -1e-6))
    np.testing.assert_allclose((dx * step).sum(axis=(1, 2, 3)), (ahead - behind) / 2e-6, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("one 3 × 3", [3, 3]),
        ("two, rectified", [5, 5]),
        ("stride 2", [3, 3]),
        ("dilated", [5, 5]),
        ("channels of two branches", [3, 3]),
        ("a linear layer on rows", [1, 1]),
    ],
)
def test_a_window_has_the_size_of_the_field_of_view(name: str, sizes: list[int]) -> None:
    assert windowed(network(HEADS[name], 2, np.float32))[1] == [("x", sizes)]


def test_known_places_drop_levels_and_join_branches() -> None:
    """Two elements of the second level and of both branches are one window; the first level gets none."""
    branches = "p = Conv <pads = [1, 1, 1, 1]> (x, w3) q = Conv <pads = [2, 2, 2, 2], group = 4> (x, w5) "
    branches += "b = Concat <axis = 1> (p, q) l = Conv <strides = [2, 2]> (x, w1) m = Concat <axis = 1> (l, l) "
    flat = "f = Reshape (m, both) g = Reshape (b, both) y = Concat <axis = 2> (f, g)"
    loaded = load(network(branches + flat, 1, np.float32))
    op, tensors = Emitter(loaded.graph), all_tensors(loaded.graph)
    images, score, other = (op.const(np.array([n])) for n in (0, 64 + 17, 4 * 320 + 64 + 17))
    weight = op.const(np.ones(1, np.float32))
    places = [KnownPlace([(low, low + 3), (64, 319)], [low == 0, True]) for low in (0, 4)]
    seeds = elements(op, tensors["y"], images, [(score, weight), (other, weight)], places)
    ((value, window),) = carried(op, [(tensors["y"], seed) for seed in seeds], [tensors["x"]], STANDARD)
    assert value.name == "x"
    assert [span and span.size for span in window.spans] == [1, None, 5, 5]


def test_a_window_ends_where_most_of_a_tensor_is_needed() -> None:
    chain = "a = Conv <pads = [2, 2, 2, 2], group = 4> (x, w5) "
    chain += "b = Conv <pads = [2, 2, 2, 2], group = 4> (a, w5) c = Conv <pads = [2, 2, 2, 2], group = 4> (b, w5) "
    _, ends = windowed(network(chain + "y = Conv (c, w1)", 1, np.float32))
    assert ends == [("a", [9, 9])]  # 13 × 13 is more than half of 16 × 16


def test_a_window_ends_before_an_operator_without_window() -> None:
    _, ends = windowed(network(HEADS["a place is needed whole"], 1, np.float32))
    assert sorted(name for name, _ in ends) == ["b", "x"]
