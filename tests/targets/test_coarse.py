"""A quantised detector whose scores share the scale of its boxes is named."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxcam import Explainer
from onnxcam.graph.io import all_tensors, load
from onnxcam.targets.coarse import coarse_scores
from onnxcam.targets.scores import shown_probability

CELLS = [(size, 64 // size, x, y) for size in (8, 4, 2) for y in range(size) for x in range(size)]


def detector(scale: float, apart: bool = False) -> onnx.ModelProto:
    """Return a YOLOv8 of one class, whose output is quantised by *scale*; *apart*: the boxes alone are."""
    end = "q = QuantizeLinear(both, scale, zero) output0 = DequantizeLinear(q, scale, zero)"
    if apart:
        end = "q = QuantizeLinear(places, scale, zero) d = DequantizeLinear(q, scale, zero) "
        end += "output0 = Concat<axis = 1>(d, p)"
    heads = "".join(
        f"c{k} = Conv<strides = [{s}, {s}]>({x}, w{k}) r{k} = Relu(c{k}) "
        f"h{k} = Conv(r{k}, v, b) f{k} = Reshape(h{k}, to) "
        for k, (s, x) in enumerate(((8, "images"), (2, "r0"), (2, "r1")))
    )
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["": 17]>
    main_graph (float[1, 3, 64, 64] images) => (float[1, 5, 84] output0)
    <float scale = {{{scale}}}, uint8 zero = {{0}}, int64[3] to = {{1, 1, -1}}, float[1] b = {{-6}},
     float[1, 4, 1, 1] v = {{2, 2, 2, 2}}> {{
        {heads} l = Concat<axis = 2>(f0, f1, f2) p = Sigmoid(l) both = Concat<axis = 1>(places, p) {end}
    }}
    """)
    places = np.array([[(x + 0.5) * step, (y + 0.5) * step, 8, 8] for _, step, x, y in CELLS], np.float32).T[None]
    shapes = ((4, 3, 8, 8), (4, 4, 2, 2), (4, 4, 2, 2))
    made = {"places": places, **{f"w{k}": np.full(n, 1 / np.prod(n[1:]), np.float32) for k, n in enumerate(shapes)}}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in made.items())
    helper.set_model_props(model, {"task": "detect", "names": "{0: 'face'}"})
    return model


def square() -> np.ndarray:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[16:24, 16:24] = 255
    return picture


def test_boxes_and_scores_of_one_scale() -> None:
    found = Explainer(detector(1.25), preprocess="unit", method="layercam")(square())
    assert found.probability is None or found.probability <= 1
    assert "125%" not in found.note
    assert any("boxes and scores, joined in one tensor, by one scale of 1.25" in text for text in found.warnings)


@pytest.mark.parametrize(("scale", "apart", "named"), [(1.25, False, True), (0.004, False, False), (1.25, True, False)])
def test_only_a_shared_scale_is_named(scale: float, apart: bool, named: bool) -> None:
    graph = load(detector(scale, apart)).graph
    assert (coarse_scores(all_tensors(graph)["output0"]) is not None) is named


@pytest.mark.parametrize(("value", "text"), [(0.5, "50%"), (1.004, "100%"), (1.25, "score 1.25")])
def test_a_number_above_one_is_no_percentage(value: float, text: str) -> None:
    assert shown_probability(value) == text
