"""Detectors that are read by a run or by the metadata: raw heads, tables of any order, pictures without a detection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcam import Explainer, Explanation
from onnxcam.errors import TargetError
from onnxcam.targets.detection import Detections
from onnxcam.targets.detectors.tables import DetectionRow, SuppressedTable
from onnxcam.targets.detectors.yolo import Yolo
from tests.zoo import detectors
from tests.zoo.convention import SQUARE, picture
from tests.zoo.sketch import Sketch, boxes, centred

DARK = np.full((64, 64, 3), 20, np.uint8)


def opened(folder: Path, model: onnx.ModelProto) -> Explainer:
    onnx.save(model, folder / "model.onnx")
    return Explainer(folder / "model.onnx", preprocess="unit", method="layercam")


def at_the_square(found: Explanation) -> None:
    assert found.detection is not None
    x1, y1, x2, y2 = found.detection
    assert SQUARE[0] <= (x1 + x2) / 2 <= SQUARE[2]
    assert SQUARE[1] <= (y1 + y2) / 2 <= SQUARE[3]


EMPTY = [
    detectors.yolov7,
    detectors.paddle,
    detectors.pinto,
    detectors.yolo26,
    detectors.mmdeploy,
    detectors.torchvision,
    detectors.rknn,
    detectors.yunet,
    detectors.scrfd,
    detectors.blazeface,
    lambda: detectors.nms([0, 1, 2, 3]),
]


@pytest.mark.parametrize("make", EMPTY)
def test_a_picture_without_a_detection(tmp_path: Path, make: Callable[[], onnx.ModelProto]) -> None:
    """It is an error of one line; the next picture is explained."""
    explainer = opened(tmp_path, make())
    with pytest.raises(TargetError, match="there is no detection 0: the model detects 0 objects in this image"):
        explainer(DARK)
    at_the_square(explainer(picture()))


def rows_beside(columns: int) -> onnx.ModelProto:
    """Return scores [1, 80, 1] beside rows of a box and keypoints; the finer grid is always the surer one."""
    net = Sketch("x", "g", "")
    lists = [net.listed(net.logits(8, 1, 0), 1), net.listed(net.logits(16, 1, 0), 1)]
    net.add(f"classificators = Concat<axis = 1>({', '.join(lists)})")
    raw = np.concatenate([np.zeros((80, 2)), np.full((80, 2), 14), np.ones((80, columns - 4))], 1)
    net.moved("regressors", raw)
    return net.model(f"float[1, 80, {columns}] regressors", "float[1, 80, 1] classificators")


@pytest.mark.parametrize("columns", [12, 16, 18])
def test_rows_of_a_box_and_keypoints(tmp_path: Path, columns: int) -> None:
    at_the_square(opened(tmp_path, rows_beside(columns))(picture()))


def test_prototypes_of_masks_are_no_segmentation(tmp_path: Path) -> None:
    for make in (detectors.yolov8_seg, detectors.yolo26_seg):
        model = make()
        explainer = opened(tmp_path, model)
        assert explainer.reading[0].source == "metadata"
        assert explainer(picture()).label == "square"
        del model.metadata_props[:]
        at_the_square(opened(tmp_path, model)(picture()))


def with_landmarks(first: bool) -> onnx.ModelProto:
    """Return a table of a face detector: box, score and landmarks; YOLOv5's has the class behind the landmarks."""
    net = Sketch("input")
    marks = net.moved("marks", np.random.default_rng(0).uniform(2, 60, (84 if first else 252, 10)))
    net.scores(classes=1, category=0, anchors=1 if first else 3)
    net.add("s = Sigmoid(logits)", "o = Identity(s)")
    table = net.moved("table", centred(boxes(anchors=1 if first else 3)))
    if not first:
        net.add(f"output = Concat<axis = 2>({table}, o, {marks}, s)")
        return net.model("float[1, 252, 16] output")
    net.add(f"rows = Concat<axis = 2>({table}, s, {marks})", "output = Transpose<perm = [0, 2, 1]>(rows)")
    return net.model("float[1, 15, 84] output")


@pytest.mark.parametrize(("first", "scores"), [(True, slice(4, 5)), (False, slice(15, 16))])
def test_landmarks_are_no_scores(tmp_path: Path, first: bool, scores: slice) -> None:
    explainer = opened(tmp_path, with_landmarks(first))
    task = explainer.network.task
    assert isinstance(task, Detections)
    assert isinstance(task.decoder, Yolo)
    assert task.decoder.columns.scores == scores
    at_the_square(explainer(picture()))


def test_a_box_decoded_to_none_shows_the_cell(tmp_path: Path) -> None:
    model = detectors.yolox()
    (value,) = (value for value in model.graph.initializer if value.name == "tablec")
    table = onnx.numpy_helper.to_array(value).copy()
    table[..., 2:] = -5  # far less than a pixel
    value.CopyFrom(onnx.numpy_helper.from_array(table, "tablec"))
    found = opened(tmp_path, model)(picture())
    assert found.detection == (40, 16, 48, 24)
    assert found.words == "detection=0 class=1"
    assert "decoded from offsets" in found.warnings[-1]


def test_keypoints_behind_corners_score_and_class(tmp_path: Path) -> None:
    """YOLO26-pose without its metadata."""
    model = detectors.yolo26_pose()
    del model.metadata_props[:]
    at_the_square(opened(tmp_path, model)(picture()))


def test_landmarks_between_corners_and_score(tmp_path: Path) -> None:
    """RetinaFace in TensorFlow: corners, five landmarks, whether they are valid, the score."""
    net = detectors.gathered("box", *["batch"] * 11, "score")
    net.add("output = Identity(y)")
    explainer = opened(tmp_path, net.model("float[n, 16] output"))
    at_the_square(explainer(picture()))
    for method in ("gradient", "gradcam"):
        assert explainer.replace(method=method)(picture(), "output[0, 15]").score > 0
    with pytest.raises(TargetError, match="there is no detection 0"):
        explainer(DARK)


def test_one_class_without_a_column(tmp_path: Path) -> None:
    net = detectors.best(Sketch(), boxes(), 1)
    net.add("boxes = Identity(box)", "scores = Identity(score)")
    at_the_square(opened(tmp_path, net.model("float[1, 20, 4] boxes", "float[1, 20] scores"))(picture()))


def quantised(scale: float) -> onnx.ModelProto:
    """Return YOLOv8 whose boxes and scores are integers of one scale."""
    net = detectors.dense()
    net.constant("scale", np.float32(scale)), net.constant("zero", np.uint8(0))
    net.add("y = QuantizeLinear(output0, scale, zero)")
    return net.model("uint8[1, 7, 84] y", metadata=detectors.ultralytics("detect"))


def test_integers_of_one_scale(tmp_path: Path) -> None:
    at_the_square(opened(tmp_path, quantised(0.24))(picture()))
    with pytest.raises(TargetError, match=r"'y' rounds boxes and scores, joined in one tensor, by one scale of 0.5"):
        opened(tmp_path, quantised(0.5))(picture())


ORDERS = {
    "YOLOv10": (6, [[4, 5, 20, 30, 0.9, 2], [1, 2, 3, 4, 0.3, 0]], DetectionRow(0, 4, 5)),
    "class, score, corners": (6, [[2, 0.9, 4, 5, 20, 30], [0, 0.3, 1, 2, 3, 4]], DetectionRow(2, 1, 0)),
    "corners, class, score": (6, [[4, 5, 20, 30, 2, 0.9], [1, 2, 3, 4, 0, 0.3]], DetectionRow(0, 5, 4)),
    "YOLOv7": (7, [[0, 4, 5, 20, 30, 2, 0.9], [0, 1, 2, 3, 4, 0, 0.3]], DetectionRow(1, 6, 5, 0)),
    "OpenVINO": (7, [[0, 2, 0.9, 0.1, 0.2, 0.5, 0.6]] * 2, DetectionRow(3, 2, 1, 0)),
}


@pytest.mark.parametrize("name", ORDERS)
def test_the_numbers_decide_the_order_of_columns(name: str) -> None:
    width, rows, order = ORDERS[name]
    from onnxcam.targets.detectors.tables import ROWS

    table = SuppressedTable("y", ROWS[width], batched=False)
    found = table.read([np.array(rows)], (64, 64))
    assert found.scores[0].argmax() == 2
    assert found.scores[0, 2] == pytest.approx(0.9)
    aim, weights = found.aim(0, 2)
    assert aim.batch is None
    assert np.argwhere(weights).tolist() == [[0, order.score]]
    empty = table.read([np.zeros((0, width))], (64, 64))
    assert empty.corners.shape == (0, 4)
    assert len(empty.scores) == 0


@pytest.mark.parametrize(
    ("columns", "metadata", "first"),
    [(84, {}, "person"), (84, {"names": str(dict(enumerate(map(str, range(80)))))}, "0"), (83, {}, None)],
)
def test_the_names_of_coco_are_a_guess_for_80_classes_without_names(
    columns: int, metadata: dict[str, str], first: str | None
) -> None:
    text = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    yolo (float[1, 3, 64, 64] images) => (float[1, {columns}, 84] output0)
    <float[{columns * 84}, 3] w, int64[3] shape = {{1, {columns}, 84}}>
    {{ p = GlobalAveragePool(images) f = Flatten(p) y = Gemm<transB = 1>(f, w) s = Sigmoid(y)
       output0 = Reshape(s, shape) }}
    """
    model = onnx.parser.parse_model(text)
    weights = np.random.default_rng(0).standard_normal((columns * 84, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.helper.set_model_props(model, metadata)
    explainer = Explainer(model, method="gradient")
    assert (explainer.class_names or [None])[0] == first
    guessed = [text for text in explainer.warnings if "those of COCO, as the model has 80 classes and no names" in text]
    assert bool(guessed) == (first == "person")
