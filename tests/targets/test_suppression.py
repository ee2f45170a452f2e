"""Detectors that suppress by themselves."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcam.targets.detection import Detections
from onnxcam.targets.detectors.suppressed import Suppressed
from tests.targets.detectors import (
    COUNT,
    NAMES,
    OBJECTS,
    SIZE,
    X,
    corners,
    logits,
)
from tests.targets.opened import Opened


def suppressed(y_first: bool, name: str) -> onnx.ModelProto:
    """Scores [n, 3, 84] and boxes [n, 84, 4] into NonMaxSuppression, whose indices come out."""
    table = corners(COUNT)[:, [1, 0, 3, 2]] if y_first else corners(COUNT)
    bias = logits(COUNT, 3).T
    text = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    {name} (float[1, 3, {SIZE}, {SIZE}] x) => (int64[k, 3] selected)
    <int64 most = {{10}}, float overlap = {{0.5}}, float least = {{0.3}}, int64[3] shape = {{1, 1, 1}}>
    {{
        p = GlobalAveragePool(x)
        m = ReduceMean<axes = [1], keepdims = 0>(p)
        r = Reshape(m, shape)
        l = Add(r, bias)
        scores = Sigmoid(l)
        o = Sub(r, r)
        boxes = Add(o, table)
        selected = NonMaxSuppression(boxes, scores, most, overlap, least)
    }}
    """
    model = onnx.parser.parse_model(text)
    for tensor, key in ((bias[None], "bias"), (table[None], "table")):
        model.graph.initializer.append(onnx.numpy_helper.from_array(tensor.numpy().astype(np.float32), key))
    return model


@pytest.mark.parametrize(("y_first", "name"), [(True, "tf2onnx"), (False, "main_graph"), (False, "torch_jit")])
def test_a_graph_that_ends_in_suppression(y_first: bool, name: str) -> None:
    opened = Opened(suppressed(y_first, name), labels=NAMES)
    goal = opened.goal("detection=1", X)
    assert goal.box == pytest.approx(OBJECTS[1][0])
    assert goal.label == "dog"
    np.testing.assert_allclose(opened.gradient(goal, X), 1 / X.size, rtol=1e-4)  # of the score before the sigmoid


def one_class_at_a_time(outputs: str, last: str, y_first: bool) -> onnx.ModelProto:
    """What torchvision's batched_nms and TensorFlow make: suppression of boxes made for it, then the boxes it kept."""
    table = corners(3)[:, [1, 0, 3, 2]] if y_first else corners(3)
    values = ", ".join(map(str, table.reshape(-1).tolist()))
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    graph (float[1, 3, {SIZE}, {SIZE}] x) => ({outputs})
    <float[3, 4] table = {{{values}}}, float[1, 3] bias = {{3, 2, 1}}, float[3, 1] moved = {{2000, 0, 2000}},
     int64[3] kinds = {{2, 0, 2}}, int64 most = {{10}}, float overlap = {{0.5}}, float least = {{0.3}},
     int64 two = {{2}}, int64[1] zero = {{0}}, int64[2] row = {{1, 1}}, int64[1] flat = {{-1}}>
    {{
        p = GlobalAveragePool(x)
        m = ReduceMean<axes = [1], keepdims = 0>(p)
        r = Reshape(m, row)
        l = Add(r, bias)
        s = Sigmoid(l)
        b = Add(table, moved)
        bb = Unsqueeze(b, zero)
        ss = Unsqueeze(s, zero)
        chosen = NonMaxSuppression(bb, ss, most, overlap, least)
        kept = Gather<axis = 1>(chosen, two)
        f = Reshape(s, flat)
        kept_boxes = Gather<axis = 0>(table, kept)
        kept_scores = Gather<axis = 0>(f, kept)
        kept_classes = Gather<axis = 0>(kinds, kept)
        {last}
    }}
    """)


BATCHED = {
    "torchvision": (
        "float[k, 4] out0, int64[k] out1, float[k] out2",
        "out0 = Identity(kept_boxes) out1 = Identity(kept_classes) out2 = Identity(kept_scores)",
        False,
    ),
    "tensorflow": (
        "float[1, k, 4] detection_boxes, float[1, k] detection_classes, float[1, k] detection_scores",
        "detection_boxes = Unsqueeze(kept_boxes, zero) detection_scores = Unsqueeze(kept_scores, zero) "
        "f1 = Cast<to = 1>(kept_classes) detection_classes = Unsqueeze(f1, zero)",
        True,
    ),
    "tflite, nameless": (
        "float[1, k, 4] out, float[1, k] out1, float[1, k] out2",
        "out = Unsqueeze(kept_boxes, zero) out2 = Unsqueeze(kept_scores, zero) "
        "f1 = Cast<to = 1>(kept_classes) out1 = Unsqueeze(f1, zero)",
        True,
    ),
}


@pytest.mark.parametrize("style", BATCHED)
def test_suppression_one_class_at_a_time(style: str) -> None:
    outputs, last, y_first = BATCHED[style]
    opened = Opened(one_class_at_a_time(outputs, last, y_first), labels=NAMES)
    task = opened.network.task
    assert isinstance(task, Detections)
    assert isinstance(task.decoder, Suppressed)
    goal = opened.goal("detection=1", X)
    assert goal.box == pytest.approx(OBJECTS[1][0])
    assert goal.label == "dog"
    slope = goal.probability * (1 - goal.probability)
    np.testing.assert_allclose(opened.gradient(goal, X), slope / X.size, rtol=1e-4)
