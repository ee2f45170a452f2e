"""Detectors: every layout is found and read, places resolve to the right candidate, the gradient is PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxcam.errors import TargetError
from onnxcam.targets.detection import Detections
from onnxcam.targets.detectors.pairs import ScoresAndBoxes
from onnxcam.targets.detectors.suppressed import Suppressed
from onnxcam.targets.detectors.tables import SuppressedTable
from onnxcam.targets.detectors.yolo import Yolo
from tests.networks import export
from tests.optional import torch
from tests.targets.detectors import (
    COUNT,
    NAMES,
    OBJECTS,
    Detector,
    Detr,
    RtDetr,
    Ssd,
    Torchvision,
    Triple,
    X,
    YoloV5,
    YoloV8,
    YoloV8Masks,
    YoloV8Parts,
    YoloV8Turned,
    YoloV10,
)
from tests.targets.opened import Opened

PAIRED = {"output_names": ["scores", "boxes"]}
LOGITS = {"output_names": ["logits", "pred_boxes"]}
LAYOUTS: dict[str, tuple[type[Detector], type, dict[str, Any], str]] = {
    "yolov8": (YoloV8, Yolo, {}, "sigmoid"),
    "yolov8, turned": (YoloV8Turned, Yolo, {}, "sigmoid"),
    "yolov8, in parts": (YoloV8Parts, Yolo, {}, "sigmoid"),
    "yolov8, masks": (YoloV8Masks, Yolo, {"output_names": ["output0", "output1"]}, "sigmoid"),
    "yolov5": (YoloV5, Yolo, {}, "objectness"),
    "yolov10": (YoloV10, SuppressedTable, {}, "sigmoid"),
    "ssd": (Ssd, ScoresAndBoxes, PAIRED, "background"),
    "detr": (Detr, ScoresAndBoxes, LOGITS, "logit"),
    "rt-detr": (RtDetr, ScoresAndBoxes, LOGITS, "logit"),
    "torchvision": (Torchvision, Suppressed, {"output_names": ["boxes", "labels", "scores"]}, "sigmoid"),
    "labels, boxes, scores": (Triple, Suppressed, {"output_names": ["labels", "boxes", "scores"]}, "sigmoid"),
}
DYNAMO = ("yolov8", "yolov5", "ssd")
"""Those that the newer exporter writes, which is slower."""
OLDER: dict[str, Any] = {"dynamo": False, "opset_version": 17}


@pytest.fixture(scope="module")
def made() -> dict[str, tuple[Detector, Opened]]:
    return {}


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest, made: dict[str, tuple[Detector, Opened]]) -> str:
    name = request.param
    if name not in made:
        kind, _, settings, _ = LAYOUTS[name]
        module = kind()
        exporter = {} if name in DYNAMO else OLDER
        made[name] = module, Opened(export(module, torch.from_numpy(X), **settings, **exporter), labels=NAMES)
    return name


def test_it_is_found_and_read(layout: str, made: dict[str, tuple[Detector, Opened]]) -> None:
    _, opened = made[layout]
    task = opened.network.task
    assert isinstance(task, Detections)
    assert isinstance(task.decoder, LAYOUTS[layout][1])
    best, second = (opened.goal(f"detection={number}", X) for number in range(2))
    for goal, (box, category, _) in ((best, OBJECTS[0]), (second, OBJECTS[1])):
        assert goal.box == pytest.approx(box, abs=1e-3)
        assert (goal.index, goal.label) == (category, NAMES[category])
    with pytest.raises(TargetError, match="there is no detection 2: the model detects 2 objects"):
        opened.goal("detection=2", X)  # the third candidate is of the first one's object


def test_what_it_resolves_to(layout: str, made: dict[str, tuple[Detector, Opened]]) -> None:
    _, opened = made[layout]
    top = opened.goal(None, X)
    assert top.box == pytest.approx(OBJECTS[0][0], abs=1e-3)
    assert top.note.startswith("the best detection: cat ")
    for words in ("box=36,12,60,52", "box=34,10,60,50 class=dog", "class=dog", "detection=0 class=0", "dog", 0):
        goal = opened.goal(words, X)
        assert goal.box == pytest.approx(OBJECTS[1][0], abs=1e-3), words
        assert goal.words == "box=36,12,60,52 class=dog"
        again = opened.goal(goal.words, X)
        assert again.words == goal.words
        np.testing.assert_array_equal(again.feed, goal.feed)
    assert goal.region is not None
    rows, columns = np.nonzero(goal.region)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (36, 12, 60, 52)


def test_the_gradient_is_pytorchs(layout: str, made: dict[str, tuple[Detector, Opened]]) -> None:
    module, opened = made[layout]
    goal = opened.goal("box=36,12,60,52", X)
    at = torch.from_numpy(X).requires_grad_()
    row, scores = 1, module.scores(at)[0]
    how = LAYOUTS[layout][3]
    if how == "objectness":  # ½ (s · o + o · s), one of each held
        probable = scores[row].sigmoid()
        value, expected = probable[0] * probable[1], probable[0] * probable[1]
        (value / 2).backward()
    else:
        column = 1 if how == "background" else 0
        value = scores[row, column] if how in ("logit", "background") else scores[row, column].sigmoid()
        expected = (
            scores[row].softmax(0)[column] if how == "background" or layout == "detr" else scores[row, 0].sigmoid()
        )
        value.backward()
    assert goal.probability == pytest.approx(expected.item(), rel=1e-4)
    found = opened.gradient(goal, X)
    assert at.grad is not None
    np.testing.assert_allclose(found, at.grad, rtol=1e-3, atol=1e-7)
    assert np.abs(found).max() > 0


def test_a_letterboxed_picture(layout: str, made: dict[str, tuple[Detector, Opened]]) -> None:
    """An image of 128 x 64 fills the middle rows of the tensor, at half its size."""
    model = made[layout][1].model
    picture = np.zeros((64, 128, 3), np.uint8)
    opened = Opened(model, labels=NAMES, preprocess="letterbox=64")
    x = opened.network.preprocessing(picture)
    goal = opened.goal("detection=1", x, picture)
    assert goal.box == pytest.approx((72, -8, 120, 72), abs=1e-2)
    assert opened.goal("box=72,-8,120,72", x, picture).box == pytest.approx(goal.box)


def test_a_cropped_picture(made: dict[str, tuple[Detector, Opened]]) -> None:
    """The middle 64 columns of 96."""
    opened = Opened(export(YoloV8(), torch.from_numpy(X), **OLDER), labels=NAMES, preprocess="resize=64,crop=64")
    picture = np.zeros((64, 96, 3), np.uint8)
    goal = opened.goal("detection=1", opened.network.preprocessing(picture), picture)
    assert goal.box == pytest.approx((52, 12, 76, 52), abs=1e-2)


ERRORS = [
    (
        "box=40,0,63,4",
        r"the box 40,0,63,4 matches nothing that the model proposes; it detects cat \d+% at 4,8,28,40; dog",
    ),
    (
        "detection=0 class=1",
        r"there is no detection 0: the model detects 0 objects of class 'traffic light' in this image",
    ),
    ("class=bird", "no class is named 'bird'"),
    ("box=1,2,30,40 class=7", r"class 7 is out of range: the model has 3 classes|matches nothing"),
    (
        "281-285",
        "target '281-285' does not apply to a detector; what does: as a detector box=4,8,28,40 class=cat, detection=0",
    ),
    ("mask=m.png", "target 'mask=m.png' does not apply to a detector"),
]


@pytest.mark.parametrize(("words", "message"), ERRORS, ids=[words for words, _ in ERRORS])
def test_errors(words: str, message: str) -> None:
    opened = Opened(export(YoloV8(), torch.from_numpy(X), **OLDER), labels=NAMES)
    with pytest.raises(TargetError, match=message):
        opened.goal(words, X)


def test_errors_of_what_is_final() -> None:
    """Such a graph does not say how many classes there are, and has one class a box."""
    opened = Opened(export(Torchvision(), torch.from_numpy(X), output_names=["boxes", "labels", "scores"]))
    with pytest.raises(TargetError, match="the model detects 0 objects of class 7"):
        opened.goal("detection=0 class=7", X)
    with pytest.raises(TargetError, match="matches nothing that the model proposes as class 1; it detects class 2"):
        opened.goal("box=36,12,60,52 class=1", X)


def test_without_names_classes_are_numbers() -> None:
    opened = Opened(export(YoloV8(), torch.from_numpy(X), **OLDER))
    assert opened.goal(None, X).words == "box=4,8,28,40 class=2"
    assert opened.goal("detection=0 class=0", X).index == 0
    with pytest.raises(TargetError, match="target 'dog' is a label, but the model's labels are not known"):
        opened.goal("class=dog", X)


def test_names_with_blanks_parse_back() -> None:
    module = YoloV8()
    module.mix.bias.data = module.mix.bias.data.reshape(COUNT, 3)[:, [2, 0, 1]].reshape(-1)  # dog → traffic light
    opened = Opened(export(module, torch.from_numpy(X), **OLDER), labels=NAMES)
    goal = opened.goal("detection=1", X)
    assert goal.words == 'box=36,12,60,52 class="traffic light"'
    assert opened.goal(goal.words, X).index == 1
