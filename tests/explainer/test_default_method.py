"""The default method follows the task."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import onnxcam
from onnxcam import Explainer
from onnxcam.errors import MethodError
from tests.zoo import detectors

BOXES = ((14, 8, 28, 25), (52, 8, 66, 25), (90, 8, 104, 25))


def letters() -> np.ndarray:
    """Return an image of the letters H, T and L in `BOXES`."""
    image = np.full((32, 128, 3), (200, 190, 170), np.uint8)
    strokes = {0: "00 06;40 46;03 43", 1: "00 40;20 26", 2: "00 06 46"}
    for (x1, y1, x2, y2), lines in zip(BOXES, strokes.values(), strict=True):
        for line in lines.split(";"):
            points = [
                (x1 + 1 + int(x) * (x2 - x1 - 3) // 4, y1 + 1 + int(y) * (y2 - y1 - 3) // 6) for x, y in line.split()
            ]
            cv2.polylines(image, [np.array(points)], False, (40, 30, 90), 2, cv2.LINE_AA)
    return image


SHAPES = Path(onnxcam.__file__).parent / "assets" / "shapes.onnx"


def test_classes_and_places_have_their_own_default() -> None:
    assert Explainer(SHAPES).method == "gradcam"
    assert Explainer(detectors.yolov8()).method == "layercam"
    assert Explainer(detectors.yolov8(), method="gradcam").method == "gradcam"


def test_coordinates_and_heat_maps_of_keypoints_have_their_own_default() -> None:
    models = Path(__file__).parents[2] / "models"
    assert Explainer(models / "keypoints.onnx").method == "layercam"
    assert Explainer(models / "landmarks.onnx").method == "gradient-x-input"


def test_the_peak_of_a_letter_lies_on_it() -> None:
    """The last layer of the reader has two rows of cells: LayerCAM there is right for every other letter."""
    reader, image = Path(__file__).parents[2] / "models" / "reader.onnx", letters()
    explainer = Explainer(reader, provider="cpu")
    assert explainer.method == "refined-layercam"
    for at, (x1, y1, x2, y2) in enumerate(BOXES):
        found = explainer(image, f"text=HTL at={at}").map
        row, column = np.unravel_index(int(found.argmax()), found.shape)
        assert x1 <= column < x2, at
        assert y1 <= row < y2, at


def test_words_have_theirs() -> None:
    answerer = Path(__file__).parents[2] / "models" / "answerer.onnx"
    assert Explainer(answerer, wrt="question").method == "gradient-x-input"


def test_an_unknown_method_is_told_before_the_model_is_read() -> None:
    with pytest.raises(MethodError, match="no method is called 'gradcamm'"):
        Explainer("no-such-file.onnx", method="gradcamm")
