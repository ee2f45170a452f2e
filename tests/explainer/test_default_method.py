"""The default method follows the task."""

from __future__ import annotations

from pathlib import Path

import pytest

import onnxcam
from onnxcam import Explainer
from onnxcam.errors import MethodError
from tests.zoo import detectors

SHAPES = Path(onnxcam.__file__).parent / "assets" / "shapes.onnx"


def test_classes_and_places_have_their_own_default() -> None:
    assert Explainer(SHAPES).method == "gradcam"
    assert Explainer(detectors.yolov8()).method == "layercam"
    assert Explainer(detectors.yolov8(), method="gradcam").method == "gradcam"


def test_words_have_theirs() -> None:
    answerer = Path(__file__).parents[2] / "models" / "answerer.onnx"
    assert Explainer(answerer, wrt="question").method == "gradient-x-input"


def test_an_unknown_method_is_told_before_the_model_is_read() -> None:
    with pytest.raises(MethodError, match="no method is called 'gradcamm'"):
        Explainer("no-such-file.onnx", method="gradcamm")
