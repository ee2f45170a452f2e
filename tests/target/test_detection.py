"""Detectors: every layout is found and read, places resolve to the right candidate, nothing else is taken for one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from onnxcam.errors import TargetError
from onnxcam.target.detection import Detections
from onnxcam.target.heads import Final, Pair, Table, Yolo
from tests.networks import export
from tests.target.looks import Opened

Array = NDArray[Any]
SIZE = 64
COUNT = 84  # cells of 64 x 64 pixels at strides 8, 16, 32
NAMES = ["dog", "traffic light", "cat"]
X = np.random.default_rng(0).random((1, 3, SIZE, SIZE), np.float32)

# Candidates in the tensor's pixels: (x1, y1, x2, y2), class, the score before sigmoid or softmax.
OBJECTS = [((4.0, 8.0, 28.0, 40.0), 2, 3.0), ((36.0, 12.0, 60.0, 52.0), 0, 2.0), ((5.0, 9.0, 28.0, 41.0), 2, 1.0)]


def corners(count: int) -> torch.Tensor:
    boxes = torch.tensor([[1.0, 1.0, 3.0, 3.0]]).repeat(count, 1)
    boxes[: len(OBJECTS)] = torch.tensor([box for box, *_ in OBJECTS])
    return boxes


def centred(boxes: torch.Tensor) -> torch.Tensor:
    return torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)


def logits(count: int, classes: int) -> torch.Tensor:
    scores = torch.full((count, classes), -6.0)
    for row, (_, category, score) in enumerate(OBJECTS):
        scores[row, category] = score
    return scores


class Detector(nn.Module):
    """Boxes that are known, and scores that depend on the picture: each a bias and a little of a mean over space."""

    def __init__(self, count: int = COUNT, classes: int = 3, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.count, self.classes = count, classes
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.mix = nn.Linear(4, count * classes)
        self.mix.weight.data *= 0.2
        self.mix.bias.data = (logits(count, classes) if bias is None else bias).reshape(-1)

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(self.conv(x).relu().mean((2, 3))).reshape(-1, self.count, self.classes)

    def boxes(self, x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        return table[None] + 0 * x.mean((1, 2, 3)).reshape(-1, 1, 1)


class YoloV8(Detector):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        boxes = self.boxes(x, centred(corners(self.count)))
        return torch.cat([boxes.transpose(1, 2), self.scores(x).sigmoid().transpose(1, 2)], 1)


class YoloV8Turned(YoloV8):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).transpose(1, 2)


class YoloV8Parts(YoloV8):
    """Boxes in parts of the picture, as TFLite exports have them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        boxes = self.boxes(x, centred(corners(self.count)) / SIZE)
        return torch.cat([boxes.transpose(1, 2), self.scores(x).sigmoid().transpose(1, 2)], 1)


class YoloV8Masks(YoloV8):
    """Eight coefficients of masks behind the scores, and the masks."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = super().forward(x)
        return torch.cat([y, y[:, :1].repeat(1, 8, 1) + 5], 1), self.conv(x).repeat(1, 2, 1, 1)


class YoloV5(Detector):
    """Three boxes a cell, and objectness."""

    def __init__(self) -> None:
        super().__init__(3 * COUNT, 4, torch.cat([torch.full((3 * COUNT, 1), 2.0), logits(3 * COUNT, 3)], 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.boxes(x, centred(corners(self.count))), self.scores(x).sigmoid()], 2)


class YoloV10(Detector):
    """The best 20 of all candidates, sorted: x1, y1, x2, y2, score, class."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        best, label = self.scores(x).sigmoid().max(2)
        score, index = best.topk(20, dim=1)
        boxes = self.boxes(x, corners(self.count)).gather(1, index[..., None].repeat(1, 1, 4))
        return torch.cat([boxes, score[..., None], label.gather(1, index)[..., None].float()], 2)


class Ssd(Detector):
    """Softmax with the background first; corners in parts of the picture."""

    def __init__(self) -> None:
        bias = torch.cat([torch.zeros(COUNT, 1), logits(COUNT, 3)], 1)
        bias[len(OBJECTS) :, 0] = 4
        super().__init__(COUNT, 4, bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.scores(x).softmax(2), self.boxes(x, corners(self.count) / SIZE)


class Detr(Detector):
    """Logits with "no object" last; centres and sizes in parts of the picture."""

    def __init__(self) -> None:
        bias = torch.cat([logits(20, 3), torch.full((20, 1), 0.0)], 1)
        bias[len(OBJECTS) :, 3] = 4
        super().__init__(20, 4, bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.scores(x), self.boxes(x, centred(corners(self.count)) / SIZE)


class RtDetr(Detector):
    """Logits of independent classes."""

    def __init__(self) -> None:
        super().__init__(20, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.scores(x), self.boxes(x, centred(corners(self.count)) / SIZE)


class Torchvision(Detector):
    """Boxes [n, 4], labels [n], scores [n] without an axis of pictures."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        best, label = self.scores(x)[0].sigmoid().max(1)
        score, index = best.topk(20)
        return self.boxes(x, corners(self.count))[0][index], label[index], score


class Triple(Torchvision):
    """The same with an axis of pictures, labels first, as RT-DETR is exported with its last step."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        boxes, label, score = super().forward(x)
        return label[None], boxes[None], score[None]


PAIRED = {"output_names": ["scores", "boxes"]}
LOGITS = {"output_names": ["logits", "pred_boxes"]}
LAYOUTS: dict[str, tuple[type[Detector], type, dict[str, Any], str]] = {
    "yolov8": (YoloV8, Yolo, {}, "sigmoid"),
    "yolov8, turned": (YoloV8Turned, Yolo, {}, "sigmoid"),
    "yolov8, in parts": (YoloV8Parts, Yolo, {}, "sigmoid"),
    "yolov8, masks": (YoloV8Masks, Yolo, {"output_names": ["output0", "output1"]}, "sigmoid"),
    "yolov5": (YoloV5, Yolo, {}, "objectness"),
    "yolov10": (YoloV10, Table, {}, "sigmoid"),
    "ssd": (Ssd, Pair, PAIRED, "background"),
    "detr": (Detr, Pair, LOGITS, "logit"),
    "rt-detr": (RtDetr, Pair, LOGITS, "logit"),
    "torchvision": (Torchvision, Final, {"output_names": ["boxes", "labels", "scores"]}, "sigmoid"),
    "labels, boxes, scores": (Triple, Final, {"output_names": ["labels", "boxes", "scores"]}, "sigmoid"),
}


@pytest.fixture(scope="module")
def made() -> dict[str, tuple[Detector, Opened]]:
    return {}


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest, made: dict[str, tuple[Detector, Opened]]) -> str:
    name = request.param
    if name not in made:
        kind, _, settings, _ = LAYOUTS[name]
        module = kind()
        made[name] = module, Opened(export(module, torch.from_numpy(X), **settings), labels=NAMES)
    return name


def test_it_is_found_and_read(layout: str, made: dict[str, tuple[Detector, Opened]]) -> None:
    _, opened = made[layout]
    task = opened.network.task
    assert isinstance(task, Detections)
    assert isinstance(task.head, LAYOUTS[layout][1])
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
    """A picture of 128 x 64 fills the middle rows of the tensor, at half its size."""
    model = made[layout][1].model
    picture = np.zeros((64, 128, 3), np.uint8)
    opened = Opened(model, labels=NAMES, preprocess="letterbox=64")
    x = opened.network.preprocessing(picture)
    goal = opened.goal("detection=1", x, picture)
    assert goal.box == pytest.approx((72, -8, 120, 72), abs=1e-2)
    assert opened.goal("box=72,-8,120,72", x, picture).box == pytest.approx(goal.box)


def test_a_cropped_picture(made: dict[str, tuple[Detector, Opened]]) -> None:
    """The middle 64 columns of 96."""
    opened = Opened(export(YoloV8(), torch.from_numpy(X)), labels=NAMES, preprocess="resize=64,crop=64")
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
        r"there is no detection 0: the model detects 0 objects of class 'traffic light' in this pic",
    ),
    ("class=bird", "no class is named 'bird'"),
    ("box=1,2,30,40 class=7", r"class 7 is out of range: the model has 3 classes|matches nothing"),
    ("281-285", "target '281-285' does not apply to a detector; what does: as a detector detection=0, box="),
    ("mask=m.png", "target 'mask=m.png' does not apply to a detector"),
]


@pytest.mark.parametrize(("words", "message"), ERRORS, ids=[words for words, _ in ERRORS])
def test_errors(words: str, message: str) -> None:
    opened = Opened(export(YoloV8(), torch.from_numpy(X)), labels=NAMES)
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
    opened = Opened(export(YoloV8(), torch.from_numpy(X)))
    assert opened.goal(None, X).words == "box=4,8,28,40 class=2"
    assert opened.goal("detection=0 class=0", X).index == 0
    with pytest.raises(TargetError, match="target 'dog' is a label, but the model's labels are not known"):
        opened.goal("class=dog", X)


def test_names_with_blanks_parse_back() -> None:
    module = YoloV8()
    module.mix.bias.data = module.mix.bias.data.reshape(COUNT, 3)[:, [2, 0, 1]].reshape(-1)  # dog → traffic light
    opened = Opened(export(module, torch.from_numpy(X)), labels=NAMES)
    goal = opened.goal("detection=1", X)
    assert goal.words == 'box=36,12,60,52 class="traffic light"'
    assert opened.goal(goal.words, X).index == 1


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
    assert isinstance(task.head, Final)
    goal = opened.goal("detection=1", X)
    assert goal.box == pytest.approx(OBJECTS[1][0])
    assert goal.label == "dog"
    slope = goal.probability * (1 - goal.probability)
    np.testing.assert_allclose(opened.gradient(goal, X), slope / X.size, rtol=1e-4)


def outputs_only(*outputs: str, size: int = SIZE, sigmoid: bool = False) -> onnx.ModelProto:
    """A network with these outputs, each a reshaped piece of the picture."""
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
    "heads at three strides": [
        *(f"float[1, {count}, 1] cls_{count}" for count in (64, 16, 4)),
        *(f"float[1, {count}, 4] bbox_{count}" for count in (64, 16, 4)),
    ],
}


@pytest.mark.parametrize("name", NOT_DETECTORS)
def test_what_is_no_detector(name: str) -> None:
    assert not isinstance(Opened(outputs_only(*NOT_DETECTORS[name])).network.task, Detections)


def test_scores_of_candidates_are_no_classes() -> None:
    """A detector with a head for each stride is not understood, and says so."""
    with pytest.raises(TargetError, match=r"no output of the model is a vector of class scores: 'cls_64' \[1,64,1\]"):
        Opened(outputs_only(*NOT_DETECTORS["heads at three strides"])).goal(None, X)


RULES: dict[str, tuple[list[str], dict[str, Any], Any]] = {
    "three boxes a cell have objectness": (["float[1, 252, 9] y"], {}, Yolo("y", False, True)),
    "COCO without": (["float[1, 84, 340] y"], {"size": 128}, Yolo("y", True, False)),
    "COCO with": (["float[1, 340, 85] y"], {"size": 128}, Yolo("y", False, True)),
    "candidates last": (["float[1, 9, 84] y"], {}, Yolo("y", True, False)),
    "candidates in the middle": (["float[1, 84, 9] y"], {}, Yolo("y", False, True)),
    "names decide": (["float[1, 84, 7] y"], {"labels": NAMES}, Yolo("y", False, False, 3)),
    "names decide, objectness": (["float[1, 8, 84] y"], {"labels": NAMES}, Yolo("y", True, True, 3)),
    "names and an odd count": (["float[1, 50, 7] y"], {"labels": NAMES}, Yolo("y", False, False, 3)),
    "boxes by their name": (
        ["float[1, 20, 4] scores", "float[1, 20, 4] boxes"],
        {},
        Pair("scores", "boxes"),
    ),
    "scores by their name": (
        ["float[1, 20, 32] hidden", "float[1, 20, 6] logits", "float[1, 20, 4] pred_boxes"],
        {},
        Pair("logits", "pred_boxes", centred=True),
    ),
    "nameless": (["float[1, 20, 4] a", "float[1, 20, 6] b"], {}, Pair("b", "a")),
    "a class more than names": (
        ["float[1, 20, 4] a", "float[1, 20, 4] boxes"],
        {"labels": NAMES},
        Pair("a", "boxes", exclusive=True, labels=3),
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_every_rule(name: str) -> None:
    outputs, settings, head = RULES[name]
    model = outputs_only(*outputs, sigmoid=True, size=settings.get("size", SIZE))
    task = Opened(model, labels=settings.get("labels")).network.task
    assert isinstance(task, Detections)
    assert task.head == head


def test_a_file_that_says_so_needs_no_sigmoid() -> None:
    import json

    model = outputs_only("float[1, 7, 50] y")
    assert not isinstance(Opened(model, labels=NAMES).network.task, Detections)
    onnx.helper.set_model_props(model, {"onnxcam": json.dumps({"schema": 1, "task": "detection"})})
    task = Opened(model).network.task
    assert isinstance(task, Detections)
    assert task.head == Yolo("y", True, False)


def read(pair: Pair, scores: Array, boxes: Array) -> tuple[Array, Array]:
    found = pair.read([scores[None], boxes[None]], (SIZE, SIZE))
    return found.scores, found.weights(0, 0)


FAR = np.tile(np.array([[0.1, 0.1, 0.4, 0.4]]), (6, 1))


def test_no_object_is_seen_from_the_numbers() -> None:
    scores = np.full((6, 3), -5.0)
    np.testing.assert_allclose(read(Pair("s", "b"), scores, FAR)[0], 1 / (1 + np.exp(5)))  # independent, all unlikely
    scores[1:, 2] = 5
    scores[0, 0] = 5
    found, _ = read(Pair("s", "b"), scores, FAR)
    assert not found[:, 2].any()
    assert found[0, 0] == pytest.approx(1, abs=1e-3)
    turned, _ = read(Pair("s", "b"), scores[:, ::-1], FAR)
    assert not turned[:, 0].any()


def test_no_object_is_none_of_the_names() -> None:
    scores = np.full((6, 3), -5.0)
    scores[1:, 0], scores[0, 1] = 5, 5
    found, weights = read(Pair("s", "b", exclusive=True, labels=2), scores, FAR)
    assert found.shape == (6, 2)
    assert found[0].argmax() == 0
    assert weights[0].tolist() == [0, 1, 0]
    found, weights = read(Pair("s", "b", labels=3), scores, FAR)
    assert found.shape == (6, 3)
    assert weights[0].tolist() == [1, 0, 0]


def test_one_class_alone_is_an_object() -> None:
    assert read(Pair("s", "b"), np.full((6, 1), 5.0), FAR)[0].min() > 0.9


transformers_networks = ["detr", "yolos", "rt_detr", "conditional_detr"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", transformers_networks)
def test_transformers_detectors(name: str) -> None:
    pytest.importorskip("transformers")
    from tests.architectures.detectors import NETWORKS
    from tests.architectures.network import lively

    made = NETWORKS[name]()
    whole = lively(made.module)

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.whole = whole

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            found = self.whole(pixel_values=x)
            return found.last_hidden_state, found.logits, found.pred_boxes

    names = ["cat", "dog", "bird", "horse", "cow"]
    x = torch.randn(X.shape, generator=torch.Generator().manual_seed(1))
    opened = Opened(export(Both(), x, output_names=["last_hidden_state", "logits", "pred_boxes"]), labels=names)
    task = opened.network.task
    assert isinstance(task, Detections)
    exclusive = name in ("detr", "yolos")  # these alone have a class "no object"
    assert task.head == Pair("logits", "pred_boxes", centred=True, exclusive=exclusive, labels=5)
    with torch.no_grad():
        found = whole(pixel_values=x)
    tensor = x.numpy()
    apart = np.abs(opened.outputs(tensor)["logits"] - found.logits.numpy()).max()
    assert apart < 1e-3  # the same queries in the same order
    goal = opened.goal(wish_at(found.pred_boxes[0, 0]), tensor)
    row, column = np.argwhere(goal.feed)[0]
    assert goal.index == column < 5
    gradient = opened.gradient(goal, tensor).astype(np.float64)
    along = gradient / np.linalg.norm(gradient)
    if name == "rt_detr":  # autograd stops inside and is not the slope; docs/architectures.md holds it so, too
        ends = [score_of(whole.double(), tensor + step * along, row, column) for step in (1e-4, -1e-4)]
        assert (ends[0] - ends[1]).item() / 2e-4 == pytest.approx(np.linalg.norm(gradient), rel=1e-3)
        across = np.random.default_rng(0).standard_normal(X.shape)
        ends = [score_of(whole, tensor + step * across, row, column) for step in (1e-6, -1e-6)]
        assert (ends[0] - ends[1]).item() / 2e-6 == pytest.approx((gradient * across).sum(), rel=1e-3)
        return
    at = x.clone().requires_grad_()
    whole(pixel_values=at).logits[0, row, column].backward()
    assert at.grad is not None
    assert np.linalg.norm(gradient - at.grad.numpy()) <= 1e-3 * np.linalg.norm(at.grad.numpy())


def score_of(network: nn.Module, x: Array, row: int, column: int) -> torch.Tensor:
    with torch.no_grad():
        return network(pixel_values=torch.from_numpy(x)).logits[0, row, column]


def wish_at(box: torch.Tensor) -> str:
    cx, cy, w, h = (box * SIZE).tolist()
    return f"box={cx - w / 2},{cy - h / 2},{cx + w / 2},{cy + h / 2}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["vit", "resnet", "clip", "dinov2", "segformer_segmentation"])
def test_transformers_other_networks(name: str) -> None:
    pytest.importorskip("transformers")
    from tests.architectures import NETWORKS
    from tests.architectures.network import Wrapped

    made = NETWORKS[name]()
    x = [torch.rand(shape) for shape in made.inputs.values()]
    assert not isinstance(Opened(export(Wrapped(made), *x)).network.task, Detections)
