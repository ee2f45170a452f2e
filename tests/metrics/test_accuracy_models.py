"""Accuracy of trained networks of models/ on scenes whose truth is written to files and read back."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

from models.world import LABELS, Scene, sample
from onnxcam.metrics import Truth
from onnxcam.metrics.accuracy import mean_iou
from onnxcam.metrics.accuracy_detections import mean_average_precision

MODELS = Path(__file__).parents[2] / "models"
SIZE = (64, 64)
COUNT = 40
NAMES = list(LABELS)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    rng = np.random.default_rng(11)
    return [sample(rng, 64) for _ in range(COUNT)]


def outputs(name: str, scenes: list[Scene]) -> np.ndarray:
    session = onnxruntime.InferenceSession(MODELS / f"{name}.onnx", providers=["CPUExecutionProvider"])
    batch = np.stack([scene.image for scene in scenes]).transpose(0, 3, 1, 2).astype(np.float32) / 255
    return session.run(None, {session.get_inputs()[0].name: batch})[0]


def coco(scenes: list[Scene], path: Path) -> Truth:
    rows = []
    for number, scene in enumerate(scenes):
        for one in scene.objects:
            x1, y1, x2, y2 = one.box
            box = [x1, y1, x2 - x1, y2 - y1]
            rows.append({"image_id": number, "category_id": NAMES.index(one.label), "bbox": box, "iscrowd": 0})
    images = [{"id": number, "file_name": f"{number}.png"} for number in range(len(scenes))]
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": categories}), encoding="utf-8")
    return Truth(path)


def test_the_detector(scenes: list[Scene], tmp_path: Path) -> None:
    pytest.importorskip("pycocotools", reason="the extra onnxcam[truth] is not installed")
    truth = coco(scenes, tmp_path / "truth.json")
    predictions = []
    for table in outputs("detector", scenes):
        centre, size, scores = table[:2].T, table[2:4].T, table[4:].T
        boxes, best = np.hstack([centre - size / 2, centre + size / 2]), scores.max(1)
        kept = cv2.dnn.NMSBoxes(np.hstack([boxes[:, :2], size]).tolist(), best.tolist(), 0.05, 0.5)
        predictions.append((boxes[kept], best[kept], scores[kept].argmax(1)))
    annotations = [truth.annotation(f"{number}.png", SIZE) for number in range(COUNT)]
    found = mean_average_precision(predictions, annotations, len(NAMES), NAMES)
    assert found.map50 > 0.85
    assert 0.5 < found.map < found.map50
    assert set(found.by_class) == set(range(len(NAMES)))
    shifted = [(boxes + 30, scores, classes) for boxes, scores, classes in predictions]
    assert mean_average_precision(shifted, annotations, len(NAMES), NAMES).map50 < 0.1


def test_the_segmenter(scenes: list[Scene], tmp_path: Path) -> None:
    for number, scene in enumerate(scenes):
        mask = np.zeros(SIZE, np.uint8)
        for one in scene.objects:
            mask[one.mask] = NAMES.index(one.label) + 1
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), mask)
    truth = Truth(tmp_path, "class")
    annotations = [truth.annotation(f"{number}.png", SIZE) for number in range(COUNT)]
    predictions = list(outputs("segmenter", scenes).argmax(1))
    found = mean_iou(predictions, annotations, len(NAMES) + 1)
    assert found.mean > 0.7
    assert found.by_class[0] > 0.9
    assert mean_iou([(one + 1) % 7 for one in predictions], annotations, len(NAMES) + 1).mean < 0.1
