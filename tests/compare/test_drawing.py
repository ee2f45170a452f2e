"""What models put out is drawn: classes and values as colours, read again from base64, and shown in the report."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from onnxcam.compare.drawing import LONGEST, drawn_classes, drawn_values, packed, unpacked
from onnxcam.compare.report.html import html
from onnxcam.compare.report.panel import CANDIDATE, panel
from onnxcam.compare.validate import validate
from onnxcam.media import image
from tests.compare.tasks.twins import MODELS, drawn, headed, rounded
from tests.compare.validations import PHOTO, pair

CELLS = np.array([[0, 1], [2, -1]])


def test_each_class_has_a_colour_of_its_own() -> None:
    found = drawn_classes(CELLS, 0)
    assert found.shape == (2, 2, 3)
    assert len({tuple(pixel) for pixel in found.reshape(-1, 3).tolist()}) == 4
    many = drawn_classes(np.arange(30)[None], None)
    assert len({tuple(pixel) for pixel in many.reshape(-1, 3).tolist()}) == 30


def test_independent_classes_show_the_first() -> None:
    both = np.stack([CELLS == 1, CELLS >= 0])
    assert (drawn_classes(both, None) == drawn_classes(np.array([[1, 0], [1, -1]]), None)).all()


def test_values_are_grey_or_colours() -> None:
    assert drawn_values(np.float32([[[0, 2]]]), 0, 4)[0].tolist() == [[0] * 3, [128] * 3]
    assert drawn_values(np.float32([[[1]], [[0]], [[1]]]), 0, 1)[0].tolist() == [[255, 0, 255]]
    assert drawn_values(np.float32([[[3]], [[4]]]), 0, 5)[0].tolist() == [[255] * 3]
    assert drawn_values(np.float32([[[np.nan, 1]]]), 1, 1).shape == (1, 2, 3)


def test_a_drawing_is_small() -> None:
    assert max(drawn_classes(np.zeros((1000, 300), int), None).shape) <= LONGEST


def test_a_drawing_is_read_again() -> None:
    found = drawn_classes(CELLS, 0)
    again = unpacked(packed(found))
    assert again is not None
    assert (again == found).all()


def _png(height: int, width: int) -> str:
    return base64.b64encode(cv2.imencode(".png", np.zeros((height, width), np.uint8))[1].tobytes()).decode()


@pytest.mark.parametrize("text", [None, 3, "", "?", "aGVsbG8=", _png(LONGEST + 1, 1), "A" * (1 << 20)])
def test_what_is_no_drawing(text: object) -> None:
    assert unpacked(text) is None


def test_damaged_drawings_are_left_out_of_a_panel() -> None:
    assert panel(pair(PHOTO, details={"drawings": ["?", "?"]})).outputs is None
    assert panel(pair(PHOTO, details={"drawings": [packed(drawn_classes(CELLS, 0))]})).outputs is None
    assert panel(pair(PHOTO, details={"drawings": [packed(drawn_classes(CELLS, 0))] * 2})).outputs is not None


def test_the_report_shows_both_class_maps(tmp_path: Path) -> None:
    model = MODELS / "segmenter.onnx"
    photos = drawn(tmp_path / "photos", count=1)
    page = html(validate(model, rounded(model, tmp_path / "int8.onnx"), photos))
    assert page.count("put out by the") == 4  # captions and text alternatives
    assert "where both differ" in page
    assert '<bdi class="bad">' not in page  # shares are rounded numbers
    assert "not found" not in page


def test_the_report_shows_the_keypoints(tmp_path: Path) -> None:
    nodes = "z = Sigmoid(y) s = Constant<value_ints=[0, 16, 2]>() k = Reshape(z, s)"
    model = headed("embedder", tmp_path / "points.onnx", "keypoints", nodes, "k[16, 2]")
    found = validate(model, model, drawn(tmp_path / "photos", count=1))
    page = html(found)
    assert "Points: <span" in page
    assert re.search(r"explained: <bdi>keypoint=0 axis=x</bdi>", page)
    shown = panel(found.journal[0]).picture
    assert shown is not None
    data = np.frombuffer(base64.b64decode(shown.partition(",")[2]), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    original = image.read(found.journal[0].picture).astype(int)
    far = [np.abs(one - CANDIDATE).sum(axis=2).min() for one in (pixels, original)]
    assert far[0] < far[1]
