"""The report of `inspect` where the size of the picture is open: it says of layers and methods what `explain` does."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxcam import Explainer
from onnxcam.graph.io import load
from onnxcam.inspection import every_layer, survey
from onnxcam.structure.names import find

DETECTOR = """
<ir_version: 8, opset_import: ["" : 17]>
main_graph (float[batch, 3, height, width] images) => (float[batch, 6, anchors] output0)
<int64[3] to = {0, 6, -1}, int64[2] parts = {4, 2}, float[8, 3, 8, 8] w, float[6, 8, 1, 1] v> {
    c = Conv<strides = [8, 8]>(images, w)
    r = Relu(c)
    h = Conv(r, v)
    all = Reshape(h, to)
    raw, logits = Split<axis = 1>(all, parts)
    boxes = Abs(raw)
    scores = Sigmoid(logits)
    output0 = Concat<axis = 1>(boxes, scores)
}
"""
"""A detector as Ultralytics' ``dynamic=True`` exports it."""


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    shapes = {"w": (8, 3, 8, 8), "v": (6, 8, 1, 1)}
    text = DETECTOR
    for name, shape in shapes.items():
        text = text.replace(f", float[{', '.join(map(str, shape))}] {name}", "")
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name) for name, shape in shapes.items()
    )
    metadata = {"author": "Ultralytics", "task": "detect", "stride": "8", "imgsz": "[64, 64]"}
    onnx.helper.set_model_props(model, {**metadata, "names": "{0: 'cat', 1: 'dog'}"})
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_a_detector_of_open_size_has_layers_and_methods(detector: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    explanation = Explainer(detector, method="layercam")(picture)
    found = survey(detector)
    assert explanation.layer in [name for name, _, _ in found.layers]
    assert found.methods["layercam"] == ""
    assert found.methods["gradcam"] == ""


def test_every_layer_that_is_listed_can_be_named() -> None:
    path = resources.files("onnxcam").joinpath("assets/shapes.onnx")
    rows = every_layer(str(path))
    assert [row.stage for row in rows] == sorted(row.stage for row in rows)
    assert len({row.grid for row in rows}) == rows[-1].stage == 3
    (auto,) = [row for row in rows if row.auto]
    assert (auto.names[-1], auto.grid) == survey(str(path)).layers[0][::2]
    graph = load(str(path)).graph
    assert all(find(graph, name).name == row.tensor for row in rows for name in row.names)
