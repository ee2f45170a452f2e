"""Inputs of other layouts: pictures without an axis of pictures, and more bands than four."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcam import Explainer
from onnxcam.errors import OnnxcamError
from onnxcam.graph.io import load
from onnxcam.model.prepared import PreparedModel
from onnxcam.structure.layout import GridLayout, picture_layout
from onnxcam.testing import run

SQUARE = (slice(16, 32), slice(40, 56))  # rows and columns


def classifier(x: str, body: str, classes: str = "1, 4", channels: int = 3) -> onnx.ModelProto:
    """Return a classifier of "bright somewhere" whose *body* makes chw, [3, H, W], of x."""
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["": 18]>
    net ({x} x) => (float[{classes}] y)
    <float[2, {channels}, 1, 1] w = {{{", ".join(["1"] * channels + ["-1"] * channels)}}},
     float[2, 4] v = {{0, 1, -1, 0, 0, 0, 0, 0}}, int64[1] zero = {{0}}, float[1] third = {{-1.5}}>
    {{
        {body}
        b = Unsqueeze(chw, zero)
        c = Conv<strides = [4, 4]>(b, w)
        d = Add(c, third)
        r = Relu(d)
        g = GlobalAveragePool(r)
        f = Flatten(g)
        s = MatMul(f, v)
        {"y = Squeeze(s, zero)" if classes == "4" else "y = Identity(s)"}
    }}
    """)


HWC = "h = Cast<to = 1>(x) k = Constant<value_float = 0.00392>() u = Mul(h, k) chw = Transpose<perm = [2, 0, 1]>(u)"
SINGLE = {
    "rows, columns, colours": ("uint8[64, 64, 3]", HWC),
    "open size": ("uint8[height, width, 3]", HWC),
    "colours, rows, columns": ("float[3, 64, 64]", "chw = Identity(x)"),
}


def picture() -> np.ndarray:
    image = np.full((64, 64, 3), 20, np.uint8)
    image[SQUARE] = 235
    return image


@pytest.mark.parametrize("classes", ["1, 4", "4"])
@pytest.mark.parametrize("case", SINGLE)
@pytest.mark.parametrize("method", ["gradcam", "gradient", "occlusion"])
def test_a_picture_without_an_axis_of_pictures(case: str, classes: str, method: str) -> None:
    model = classifier(*SINGLE[case], classes)
    preprocess = "unit" if case == "colours, rows, columns" else None
    found = Explainer(model, method=method, preprocess=preprocess)(picture(), 1)
    assert found.map.shape == (64, 64)
    inside = found.map[SQUARE].mean()
    assert inside > 2 * found.map.mean()


@pytest.mark.parametrize("case", SINGLE)
def test_the_lifted_network_computes_the_same(case: str) -> None:
    model = classifier(*SINGLE[case], "4")
    dtype = np.uint8 if "uint8" in SINGLE[case][0] else np.float32
    shape = (3, 64, 64) if case == "colours, rows, columns" else (64, 64, 3)
    x = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    (plain,) = run(model, {"x": x}).values()
    prepared = PreparedModel.open(model)
    assert prepared.batch == 1
    found = Explainer(model).network.look(x[None], None, {}).outputs["y"]
    np.testing.assert_allclose(found, plain[None], rtol=1e-5)
    assert [value.name for value in prepared.twin().model.graph.inputs] == ["x"]


def test_a_table_of_numbers_is_no_picture() -> None:
    """Rank 3 alone does not make a picture: nothing here adds an axis in front."""
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["": 18]>
    net (float[N, points, 3] x) => (float[N, 2] y) <float[3, 2] w = {1, 2, 3, 4, 5, 6}, int64[1] one = {1}>
    { m = ReduceMean<keepdims = 0>(x, one) y = MatMul(m, w) }
    """)
    assert len(PreparedModel.open(model).image.shape or ()) == 3
    with pytest.raises(OnnxcamError):
        Explainer(model)


LAYOUTS = {
    "float[N, 64, 48, 13] x": ("t = Transpose<perm = [0, 3, 1, 2]>(x) c = Conv(t, w)", 13, GridLayout(3, (1, 2))),
    "float[N, 13, 64, 48] x": ("c = Conv(x, w)", 13, GridLayout(1, (2, 3))),
    "float[N, 8, 48, 6] x": ("c = Conv(x, w)", 8, GridLayout(1, (2, 3))),  # a long strip: the convolution decides
    "float[N, 64, 48, 6] x": ("c = Relu(x)", 1, GridLayout(3, (1, 2))),  # no convolution: the shortest axis, if last
    "float[N, 6, 64, 48] x": ("c = Relu(x)", 1, GridLayout(1, (2, 3))),
    "float[N, height, width, 7] x": (
        "k = Constant<value_float = 2.0>() u = Div(x, k) t = Transpose<perm = [0, 3, 1, 2]>(u) c = Conv(t, w)",
        7,
        GridLayout(3, (1, 2)),
    ),
}


@pytest.mark.parametrize("declared", LAYOUTS)
def test_the_axis_of_bands(declared: str) -> None:
    body, bands, layout = LAYOUTS[declared]
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["": 18]>
    net ({declared}) => (float[a, b, c, d] c) <float[1, {bands}, 1, 1] w = {{{", ".join(["1"] * bands)}}}>
    {{ {body} }}
    """)
    assert picture_layout(load(model).graph.inputs[0]) == layout


def test_maps_of_many_bands_lie_over_rows_and_columns() -> None:
    model = classifier("float[1, 64, 48, 13]", "z = Squeeze(x, zero) chw = Transpose<perm = [2, 0, 1]>(z)", "1, 4", 13)
    x = np.random.default_rng(0).random((1, 64, 48, 13), np.float32)
    for method in ("fullgrad", "occlusion"):
        assert Explainer(model, method=method).attribute(x, target=1).shape == (1, 64, 48)


def test_vectors_of_one_image_get_an_axis_of_images() -> None:
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["": 18]>
    net (float[1, 3, 8, 8] x) => (float[3] y, float z)
    <int64[1] long = {3}> {
        g = GlobalAveragePool(x)
        y = Reshape(g, long)
        z = ReduceMax<keepdims = 0>(g)
    }
    """)
    prepared = PreparedModel.open(model)
    assert [list(y.shape or ()) for y in prepared.model.graph.outputs] == [[1, 3], [1]]


def test_rows_of_objects_get_no_axis_of_images() -> None:
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["": 18]>
    net (float[1, 3, 8, 8] x) => (float[K] scores, float[K, 4] boxes)
    <int64[1] long = {3}, int64[2] rows = {3, 1}, int64[2] wide = {1, 4}> {
        g = GlobalAveragePool(x)
        scores = Reshape(g, long)
        r = Reshape(g, rows)
        boxes = Tile(r, wide)
    }
    """)
    prepared = PreparedModel.open(model)
    assert [list(y.shape or ()) for y in prepared.model.graph.outputs] == [[3], [3, 4]]


MAPS = {
    "mask [H, W]": ("64, 64", "s = Conv(x, one) p = Sigmoid(s) y = Squeeze(p, both)"),
    "classes [C, H, W]": ("4, 64, 64", "s = Conv(x, four) y = Squeeze(s, zero)"),
    "mask [H, W] of channels last": (
        "64, 64",
        "s = Conv(x, one) t = Transpose<perm = [0, 2, 3, 1]>(s) u = Sigmoid(t) y = Reshape(u, plane)",
    ),
    "decision [H, W]": ("int64 64, 64", "s = Conv(x, four) i = ArgMax<axis = 1, keepdims = 0>(s) y = Squeeze(i, zero)"),
}


@pytest.mark.parametrize("case", MAPS)
def test_a_map_without_an_axis_of_images(case: str) -> None:
    shape, body = MAPS[case]
    dtype, lengths = ("int64", shape.removeprefix("int64 ")) if shape.startswith("int64") else ("float", shape)
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["": 18]>
    net (float[1, 3, 64, 64] x) => ({dtype}[{lengths}] y)
    <int64[1] zero = {{0}}, int64[2] both = {{0, 1}}, int64[2] plane = {{64, 64}}, float[1, 3, 1, 1] one = {{1, 1, 1}},
     float[4, 3, 1, 1] four = {{0, 0, 0, 1, 1, 1, 0, 1, 0, -1, -1, -1}}>
    {{ {body} }}
    """)
    network = Explainer(model).network
    assert network.task.name == "a segmentation"
    x = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
    (plain,) = run(model, {"x": x}).values()
    np.testing.assert_array_equal(network.look(x, None, {}).outputs["y"], plain[None])


TABLES = {
    "of one image": ("m = ReduceMax<keepdims = 0>(x, width) y = Reshape(m, shape)", 3),
    "of a vector": ("m = ReduceMax<keepdims = 0>(x, width) f = Flatten(m) y = Reshape(f, shape)", 2),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_without_an_axis_of_images(case: str) -> None:
    body, rank = TABLES[case]
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["": 18]>
    net (float[1, 3, 8, 8] x) => (float[3, 8] y) <int64[2] shape = {{3, 8}}, int64[1] width = {{3}}>
    {{ {body} }}
    """)
    (y,) = PreparedModel.open(model).model.graph.outputs
    assert y.shape is not None
    assert len(y.shape) == rank
