"""Which layout is a detector's, rule by rule, what is none, and how scores are read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam.targets.detection import Detections
from onnxcam.targets.detectors.heads import Heads
from onnxcam.targets.detectors.pairs import ScoresAndBoxes
from onnxcam.targets.detectors.yolo import TableColumns, Yolo
from tests.targets.detectors import (
    NAMES,
    SIZE,
    Array,
)
from tests.targets.opened import Opened


def outputs_only(*outputs: str, size: int = SIZE, sigmoid: bool = False) -> onnx.ModelProto:
    """A network with these outputs, each a reshaped piece of the image."""
    lines, shapes = [], []
    for number, output in enumerate(outputs):
        dims = [int(dim) for dim in output.split("[")[1].split("]")[0].split(",")]
        name = output.split()[-1]
        shapes.append(onnx.numpy_helper.from_array(np.array(dims), f"shape{number}"))
        end = f"t{number} = Sigmoid(e{number}) {name} = Identity(t{number})" if sigmoid else f"{name} = Relu(e{number})"
        lines.append(f"e{number} = Expand(m, shape{number}) {end}" if len(dims) < 5 else "")
        if len(dims) < 4:
            axes = ", ".join("0123"[len(dims) :])
            lines[-1] = f"q{number} = ReduceMean<axes = [{axes}], keepdims = 0>(m) " + lines[-1].replace(
                "(m,", f"(q{number},", 1
            )
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    pieces (float[1, 3, {size}, {size}] x) => ({", ".join(outputs)})
    {{
        c = GlobalAveragePool(x)
        m = ReduceMean<axes = [1], keepdims = 1>(c)
        {" ".join(lines)}
    }}
    """)
    model.graph.initializer.extend(shapes)
    return model


NOT_DETECTORS = {
    "classes": ["float[1, 80] y"],
    "four classes": ["float[1, 4] y"],
    "six classes in a row": ["float[1, 1, 6] y"],
    "tokens as many as cells": ["float[1, 84, 32] y"],
    "features as many as cells": ["float[1, 32, 84] y"],
    "tokens and a pooled one": ["float[1, 17, 32] tokens", "float[1, 32] pooled"],
    "tokens and classes": ["float[1, 17, 32] tokens", "float[1, 17, 6] more"],
    "a segmentation": ["float[1, 21, 64, 64] y"],
    "letters": ["float[1, 84, 5] y"],
    "segmentations of three sizes": [f"float[1, 21, {size}, {size}] y{size}" for size in (64, 32, 16)],
    "a pyramid of features": [f"float[1, 64, {size}, {size}] y{size}" for size in (16, 8, 4)],
    "a pyramid of tokens": [f"float[1, {count}, 32] y{count}" for count in (64, 16, 4)],
    "heat maps and offsets of points": ["float[1, 17, 16, 16] heat", "float[1, 34, 16, 16] offsets"],
    "depths of three sizes": [f"float[1, 1, {size}, {size}] y{size}" for size in (64, 32, 16)],
    "landmarks": ["float[1, 1404] points", "float[1, 1] presence"],
    "detections of one class of pictures": ["float[1, 6] y"],
}


@pytest.mark.parametrize("name", NOT_DETECTORS)
def test_what_is_no_detector(name: str) -> None:
    assert not isinstance(Opened(outputs_only(*NOT_DETECTORS[name])).network.task, Detections)


def test_heads_at_three_strides() -> None:
    outputs = [
        f"float[1, {count}, {width}] {name}_{count}"
        for name, width in (("cls", 1), ("bbox", 4))
        for count in (64, 16, 4)
    ]
    task = Opened(outputs_only(*outputs)).network.task
    assert isinstance(task, Detections)
    assert isinstance(task.decoder, Heads)
    assert [(head.stride, head.anchors, head.scores.output) for head in task.decoder.heads] == [
        (8, 1, "cls_64"),
        (16, 1, "cls_16"),
        (32, 1, "cls_4"),
    ]


def columns(width: int, objectness: bool) -> TableColumns:
    """Return boxes, objectness and scores in a table of *width*."""
    first = 5 if objectness else 4
    return TableColumns(slice(0, 4), 4 if objectness else None, slice(first, width))


CONVENTIONS = {Yolo: "boxes", ScoresAndBoxes: "convention"}
RULES: dict[str, tuple[list[str], dict[str, Any], Any]] = {
    "three boxes a cell have objectness": (["float[1, 252, 9] y"], {}, Yolo("y", False, columns(9, True))),
    "COCO without": (["float[1, 84, 340] y"], {"size": 128}, Yolo("y", True, columns(84, False))),
    "COCO with": (["float[1, 340, 85] y"], {"size": 128}, Yolo("y", False, columns(85, True))),
    "candidates last": (["float[1, 9, 84] y"], {}, Yolo("y", True, columns(9, False))),
    "candidates in the middle": (["float[1, 84, 9] y"], {}, Yolo("y", False, columns(9, True))),
    "names decide": (["float[1, 84, 7] y"], {"labels": NAMES}, Yolo("y", False, columns(7, False))),
    "names decide, objectness": (["float[1, 8, 84] y"], {"labels": NAMES}, Yolo("y", True, columns(8, True))),
    "names and an odd count": (["float[1, 50, 7] y"], {"labels": NAMES}, Yolo("y", False, columns(7, False))),
    "boxes by their name": (
        ["float[1, 20, 4] scores", "float[1, 20, 4] boxes"],
        {},
        ScoresAndBoxes("scores", "boxes"),
    ),
    "scores by their name": (
        ["float[1, 20, 32] hidden", "float[1, 20, 6] logits", "float[1, 20, 4] pred_boxes"],
        {},
        ScoresAndBoxes("logits", "pred_boxes", background_last=True),
    ),
    "nameless": (["float[1, 20, 4] a", "float[1, 20, 6] b"], {}, ScoresAndBoxes("b", "a")),
    "a class more than names": (
        ["float[1, 20, 4] a", "float[1, 20, 4] boxes"],
        {"labels": NAMES},
        ScoresAndBoxes("a", "boxes", exclusive=True, labels=3),
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_every_rule(name: str) -> None:
    outputs, settings, head = RULES[name]
    model = outputs_only(*outputs, sigmoid=True, size=settings.get("size", SIZE))
    task = Opened(model, labels=settings.get("labels")).network.task
    assert isinstance(task, Detections)
    assert replace(task.decoder, **{name: vars(head)[name] for name in ("source", CONVENTIONS[type(head)])}) == head


def test_a_file_that_says_so_needs_no_sigmoid() -> None:
    import json

    model = outputs_only("float[1, 7, 50] y")
    assert not isinstance(Opened(model, labels=NAMES).network.task, Detections)
    onnx.helper.set_model_props(model, {"onnxcam": json.dumps({"schema": 1, "task": "detection"})})
    task = Opened(model).network.task
    assert isinstance(task, Detections)
    assert isinstance(task.decoder, Yolo)
    assert task.decoder.columns == columns(7, False)


def read(pair: ScoresAndBoxes, scores: Array, boxes: Array) -> tuple[Array, Array]:
    found = pair.read([scores[None], boxes[None]], (SIZE, SIZE))
    return found.scores, found.aim(0, 0)[1]


FAR = np.tile(np.array([[0.1, 0.1, 0.4, 0.4]]), (6, 1))


def test_no_object_is_seen_from_the_numbers() -> None:
    scores = np.full((6, 3), -5.0)
    np.testing.assert_allclose(
        read(ScoresAndBoxes("s", "b"), scores, FAR)[0], 1 / (1 + np.exp(5))
    )  # independent, all unlikely
    scores[1:, 2] = 5
    scores[0, 0] = 5
    found, _ = read(ScoresAndBoxes("s", "b"), scores, FAR)
    assert not found[:, 2].any()
    assert found[0, 0] == pytest.approx(1, abs=1e-3)
    turned, _ = read(ScoresAndBoxes("s", "b"), scores[:, ::-1], FAR)
    assert not turned[:, 0].any()


def test_no_object_is_none_of_the_names() -> None:
    scores = np.full((6, 3), -5.0)
    scores[1:, 0], scores[0, 1] = 5, 5
    found, weights = read(ScoresAndBoxes("s", "b", exclusive=True, labels=2), scores, FAR)
    assert found.shape == (6, 2)
    assert found[0].argmax() == 0
    assert weights[0].tolist() == [0, 1, 0]
    found, weights = read(ScoresAndBoxes("s", "b", labels=3), scores, FAR)
    assert found.shape == (6, 3)
    assert weights[0].tolist() == [1, 0, 0]


def test_one_class_alone_is_an_object() -> None:
    assert read(ScoresAndBoxes("s", "b"), np.full((6, 1), 5.0), FAR)[0].min() > 0.9
