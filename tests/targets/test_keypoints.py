"""Keypoints as heat maps, tables and vectors, and what is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from onnxcam.errors import TargetError
from onnxcam.targets.keypoint_layouts import is_peaked
from onnxcam.targets.keypoints import HeatMaps, Keypoints
from tests.targets.opened import Opened

Array = NDArray[Any]
RNG = np.random.default_rng(0)
X = RNG.uniform(0, 1, (1, 3, 16, 16)).astype(np.float32)


def network(outputs: str, last: str, **arrays: Array) -> onnx.ModelProto:
    """A network of the operators *last* on the image x [n, 3, 16, 16] and its mean per channel, m [n, 3]."""
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    keypoints (float[n, 3, 16, 16] x) => ({outputs}) {{ m = ReduceMean<axes = [2, 3], keepdims = 0>(x) {last} }}
    """)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in arrays.items())
    return model


def vector(count: int, name: str = "output", last: str = "Identity", scale: float = 1) -> onnx.ModelProto:
    """A network with an output [n, *count*]."""
    weights = (RNG.standard_normal((3, count)) * scale).astype(np.float32)
    return network(f"float[n, {count}] {name}", f"z = MatMul(m, weights) {name} = {last}(z)", weights=weights)


def rows(shape: str, name: str, count: int) -> onnx.ModelProto:
    """A network with *count* numbers from 0.2 to 0.8 as an output of *shape*."""
    to = np.array([int(part) if part.strip().isdigit() else -1 for part in shape.split(",")])
    last = f"z = MatMul(m, weights) s = Sigmoid(z) {name} = Reshape(s, to)"
    return network(f"float[{shape}] {name}", last, weights=RNG.standard_normal((3, count)).astype(np.float32), to=to)


def test_the_peak_of_a_heat_map() -> None:
    opened = Opened(network("float[n, 3, 16, 16] heatmaps", "heatmaps = Mul(x, x)"), labels=["nose", "left eye", "ear"])
    assert isinstance(opened.network.task, HeatMaps)
    goal = opened.goal('keypoint="left eye"', X)
    i, j = divmod(int(X[0, 1].argmax()), 16)
    assert (goal.index, goal.label, goal.words) == (1, "left eye", 'keypoint="left eye"')
    assert goal.box == (j, i, j + 1, i + 1)
    gradient = opened.gradient(goal, X)
    assert np.flatnonzero(gradient).tolist() == [256 + 16 * i + j]
    default = opened.goal(None, X)
    assert default.index == X[0].reshape(3, -1).max(axis=1).argmax()
    assert default.note.startswith("the keypoint with the highest peak, keypoint=")
    np.testing.assert_array_equal(opened.goal(default.words, X).feed, default.feed)


def test_a_table_with_scores() -> None:
    """MoveNet's columns are y, x and the score."""
    opened = Opened(rows("n, 1, 17, 3", "output_0", 51))
    task = opened.network.task
    assert isinstance(task, Keypoints)
    assert task.table.columns == ("y", "x", "score")
    y = opened.outputs(X)["output_0"][0, 0]
    default = opened.goal(None, X)
    assert default.index == y[:, 2].argmax()
    assert default.words == f"keypoint={default.index} axis=score"
    goal = opened.goal("keypoint=4 axis=x", X)
    assert np.argwhere(goal.feed).tolist() == [[0, 4, 1]]
    assert opened.gradient(goal, X).any()


@pytest.mark.parametrize(
    ("model", "columns"),
    [
        (rows("n, 21, 2", "landmarks", 42), ("x", "y")),
        (rows("n, 68, 3", "output", 204), ("x", "y", "score")),
        (rows("n, 1, 1, 1404", "face_landmarks", 1404), ("x", "y", "z")),
        (vector(136, "landmarks"), ("x", "y")),
        (rows("n, 68, 3", "world_landmarks", 204), ("x", "y", "z")),
        (vector(195, "ld_pose"), ("x", "y", "z", "visibility", "presence")),
    ],
    ids=lambda value: value.graph.output[0].name if isinstance(value, onnx.ModelProto) else ",".join(value),
)
def test_tables_and_vectors(model: onnx.ModelProto, columns: tuple[str, ...]) -> None:
    task = Opened(model).network.task
    assert isinstance(task, Keypoints)
    assert task.table.columns == columns


NONE = {
    "classes by their number": vector(136),
    "probabilities": vector(63, last="Sigmoid"),
    "classes behind softmax": vector(1404, last="Softmax"),
    "a layer's name": vector(10, "conv_transpose_4"),
    "the angles of a head": vector(3, "pose"),
    "a centre map of a detector": network(
        "float[n, 3, 16, 16] hm, float[n, 2] wh, float[n, 2] reg",
        "hm = Sigmoid(x) wh = MatMul(m, w) reg = Neg(wh)",
        w=np.ones((3, 2), np.float32),
    ),
}


@pytest.mark.parametrize("model", NONE.values(), ids=NONE)
def test_what_has_no_keypoints(model: onnx.ModelProto) -> None:
    assert not any(isinstance(task, Keypoints | HeatMaps) for task in Opened(model).network.tasks)


ERRORS = [
    ("keypoint=17", "there is no keypoint 17: the model has 17, 0 to 16"),
    ("keypoint=nose", "the names of the keypoints are not known; give a number from 0 to 16, or --labels FILE"),
    ("keypoint=3 axis=z", "the table of keypoints has no column 'z'; there are y, x, score"),
    ("class=3", "target 'class=3' does not apply to a keypoint model; what does: as a keypoint model keypoint="),
]


@pytest.mark.parametrize(("words", "message"), ERRORS, ids=[words for words, _ in ERRORS])
def test_errors(words: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        Opened(rows("n, 1, 17, 3", "output_0", 51)).goal(words, X)


def test_a_heat_map_has_no_columns() -> None:
    opened = Opened(network("float[n, 3, 16, 16] heatmaps", "heatmaps = Mul(x, x)"))
    with pytest.raises(TargetError, match="a heat map has no column 'x'; leave axis= out"):
        opened.goal("keypoint=1 axis=x", X)


def test_peaks() -> None:
    """Gaussians are peaks; noise, probabilities of classes and wide blobs are none."""
    i, j = np.indices((32, 24))

    def blobs(width: float) -> Array:
        places = RNG.uniform(4, 20, (8, 2))
        return np.stack([np.exp(-((i - a) ** 2 + (j - b) ** 2) / (2 * width**2)) for a, b in places])

    noise = RNG.standard_normal((8, 32, 24))
    classes = np.exp(noise) / np.exp(noise).sum(axis=0)
    assert is_peaked([blobs(1.5)])
    for other in (blobs(8), noise, classes):
        assert not is_peaked([blobs(1.5), other])
    assert not is_peaked([])
