"""Maps of one value for each pixel: depth, anomaly and others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from onnxcam.errors import TargetError
from onnxcam.media import image
from onnxcam.targets.segmentation import Segmentation
from onnxcam.targets.value_maps import Anomaly, Depth, ValueMap, VectorMap
from tests.targets.opened import Opened

Array = NDArray[Any]
RNG = np.random.default_rng(0)
X = RNG.uniform(0, 1, (1, 3, 16, 16)).astype(np.float32)
GREY = "g = ReduceMean<axes = [1], keepdims = 1>(x)"


def network(outputs: str, last: str, **arrays: Array) -> onnx.ModelProto:
    """A network of the operators *last* on the image x and its mean of channels, g [n, 1, 16, 16]."""
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    maps (float[n, 3, 16, 16] x) => ({outputs}) {{ {GREY} {last} }}
    """)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in arrays.items())
    return model


PLANE = network("float[n, 16, 16] predicted_depth", "predicted_depth = Squeeze(g, one)", one=np.array([1]))
CHANNEL = network("float[n, 1, 16, 16] disp_0", "disp_0 = Sigmoid(g)")


@pytest.mark.parametrize("model", [PLANE, CHANNEL], ids=["[N, H, W]", "[N, 1, H, W]"])
def test_the_mean_over_a_region(model: onnx.ModelProto, tmp_path: Path) -> None:
    opened = Opened(model, preprocess="unit")
    assert isinstance(opened.network.task, Depth)
    goal = opened.goal("region=4,2,8,10", X)
    expected = np.zeros((16, 16))
    expected[2:10, 4:8] = 1 / 32
    np.testing.assert_allclose(goal.feed.reshape(16, 16), expected)
    assert goal.box == (4, 2, 8, 10)
    np.testing.assert_array_equal(opened.goal(goal.words, X).feed, goal.feed)
    np.testing.assert_allclose(opened.gradient(goal, X)[0].sum(axis=0) > 0, expected > 0)
    mask = np.zeros((16, 16, 3), np.uint8)
    mask[2:10, 4:8] = 255
    image.write(tmp_path / "mask.png", mask)
    np.testing.assert_array_equal(opened.goal(f"mask={tmp_path}/mask.png", X, mask).feed, goal.feed)


def test_the_middle_is_taken_where_nothing_is_said() -> None:
    goal = Opened(PLANE).goal(None, X)
    assert (goal.words, goal.note) == ("region=6,6,10,10", "the mean over the middle of the image, region=6,6,10,10")


def test_a_middle_without_values_is_not_taken() -> None:
    model = network("float[n, 1, 16, 16] density", "m = Mul(g, many) density = Relu(m)", many=np.float32(9))
    opened, x = Opened(model), np.zeros_like(X)
    assert opened.network.task.name == "a model of one value for each pixel"
    x[..., 2, 12] = 1
    assert opened.goal(None, x).note == "the mean over the highest value, region=10,0,14,4"


def test_a_small_region_is_the_nearest_cell() -> None:
    goal = Opened(PLANE).goal("region=4.6,2.1,4.7,2.2", X)
    assert np.argwhere(goal.feed).tolist() == [[2, 4]]


def test_a_mask_of_one_class_is_no_depth() -> None:
    for last in ("y = Sigmoid(g)", "y = Sub(g, half)"):
        model = network("float[n, 1, 16, 16] y", last, half=np.float32(0.5))
        assert isinstance(Opened(model).network.task, Segmentation)


def test_a_region_outside_the_image() -> None:
    with pytest.raises(TargetError, match="the region 90,90,99,99 does not lie in the image, 16 × 16 pixels"):
        Opened(PLANE).goal("region=90,90,99,99", X)


def test_a_mask_between_the_cells(tmp_path: Path) -> None:
    mask = np.zeros((64, 64, 3), np.uint8)
    mask[1, 1] = 255
    image.write(tmp_path / "m.png", mask)
    with pytest.raises(TargetError, match=r"m\.png covers no cell of the map, 16 × 16; name a larger part"):
        Opened(PLANE, preprocess="unit").goal(f"mask={tmp_path}/m.png", X, mask)


def test_depth_has_no_classes() -> None:
    with pytest.raises(TargetError, match="a depth model has no classes; name a part of the image with mask=FILE or"):
        Opened(PLANE).goal("class=1", X)


def anomalib(score: str = "float[n, 1] pred_score", **arrays: Array) -> onnx.ModelProto:
    """anomalib's four outputs, the scores clipped from 0 to 1."""
    last = """
        top = ReduceMax<axes = [2, 3], keepdims = 0>(g) z = Mul(top, many) pred_score = Clip(z, low, high)
        anomaly_map = Clip(g, low, high) pred_label = Greater(pred_score, half) pred_mask = Greater(anomaly_map, half)
    """
    return network(
        f"{score}, bool[n, 1] pred_label, float[n, 1, 16, 16] anomaly_map, bool[n, 1, 16, 16] pred_mask",
        last,
        many=np.float32(9),
        low=np.float32(0),
        high=np.float32(1),
        half=np.float32(0.5),
    )


def test_the_score_before_it_is_clipped() -> None:
    opened = Opened(anomalib())
    assert isinstance(opened.network.task, Anomaly)
    goal = opened.goal(None, X)
    top = X[0].mean(axis=0)
    assert opened.outputs(X)["pred_score"] == 1
    assert goal.note == f"the anomaly score, {9 * top.max():.3g}"
    gradient = opened.gradient(goal, X)
    assert np.flatnonzero(gradient[0].sum(axis=0)).tolist() == [top.argmax()]
    assert np.argwhere(opened.goal("region=0,0,1,1", X).feed).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("outputs", "last"),
    [
        ("float[n] anomaly_score", "anomaly_score = ReduceMax<axes = [1, 2, 3], keepdims = 0>(g)"),
        ("float pred_score", "pred_score = ReduceMax<keepdims = 0>(g)"),
    ],
    ids=["[N]", "[]"],
)
def test_a_score_alone(outputs: str, last: str) -> None:
    opened = Opened(network(outputs, last))
    goal = opened.goal(None, X)
    assert np.flatnonzero(opened.gradient(goal, X)[0].sum(axis=0)).tolist() == [X[0].mean(axis=0).argmax()]
    with pytest.raises(TargetError, match="the model gives an anomaly score and no map; leave the target out"):
        opened.goal("region=0,0,1,1", X)


def test_a_map_alone_is_known_by_the_file_beside(tmp_path: Path) -> None:
    onnx.save(network("float[n, 1, 16, 16] output", "output = Identity(g)"), tmp_path / "model.onnx")
    (tmp_path / "metadata.json").write_text(json.dumps({"image_threshold": 0.4}), "utf-8")
    opened = Opened(onnx.load(tmp_path / "model.onnx"))
    assert not isinstance(opened.network.task, Anomaly)
    opened.network = type(opened.network)(tmp_path / "model.onnx")
    goal = opened.goal(None, X)
    assert isinstance(opened.network.task, Anomaly)
    assert opened.network.task.source == "file"
    assert np.flatnonzero(goal.feed).tolist() == [X[0].mean(axis=0).argmax()]


VECTORS = {
    "flow": network("float[n, 2, 16, 16] flow", "y = Slice(x, zero, two, one) flow = Mul(y, three)", zero=np.array([0]),
                    two=np.array([2]), one=np.array([1]), three=np.float32(3)),
    "no name, scaled": network("float[n, 2, 16, 16] y", "c = Slice(x, zero, two, one) y = Mul(c, three)",
                               zero=np.array([0]), two=np.array([2]), one=np.array([1]), three=np.float32(3)),
}  # fmt: skip


@pytest.mark.parametrize("case", VECTORS)
def test_vectors_are_explained_by_the_length_of_their_mean(case: str) -> None:
    opened = Opened(VECTORS[case], preprocess="unit")
    assert isinstance(opened.network.task, VectorMap)
    goal = opened.goal("region=4,2,8,10", X)
    mean = 3 * X[0, :2, 2:10, 4:8].mean(axis=(1, 2))
    y = next(iter(opened.outputs(X).values()))[0]
    assert float((goal.feed * y).sum()) == pytest.approx(float(np.linalg.norm(mean)), rel=1e-5)
    expected = np.zeros_like(X[0])
    expected[:2, 2:10, 4:8] = (3 / 32 * mean / np.linalg.norm(mean))[:, None, None]
    np.testing.assert_allclose(opened.gradient(goal, X)[0], expected, atol=1e-6)


NAMED = "float[n, 1, 16, 16] points_z, float[n, 1, 16, 16] confidence, float[n, 1, 16, 16] depth"


@pytest.mark.parametrize(
    ("outputs", "last", "task"),
    [
        (NAMED, "points_z = Exp(g) confidence = Sigmoid(g) depth = Softplus(g)", Depth),
        ("float[n, 1, 16, 16] y", "s = Sigmoid(g) y = Mul(s, ten)", ValueMap),  # depth of 0 to 10 m
        ("float[n, 1, 16, 16] y", "s = Sigmoid(g) y = Mul(s, most)", Segmentation),
        ("float[n, 1, 16, 16] y", "y = Relu(g)", ValueMap),
        ("float[n, 1, 16, 16] mask", "mask = Relu(g)", Segmentation),
    ],
)
def test_quantities_and_masks(outputs: str, last: str, task: type) -> None:
    found = Opened(network(outputs, last, ten=np.float32(10), most=np.float32(255))).network.task
    assert type(found) is task
    assert "depth" not in outputs or (isinstance(found, Depth) and found.values.tensor == "depth")
