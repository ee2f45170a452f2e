"""Masks and classes of one image, by each kind of truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from onnxcam.compare.object_masks import ImageObjects
from onnxcam.metrics import Truth

SIZE = (8, 10)
NAMES = ["cat", "dog", "cow"]


@pytest.fixture
def coco(tmp_path: Path) -> Truth:
    rows = [{"image_id": 1, "category_id": 5, "bbox": box} for box in ([0, 0, 2, 2], [4, 4, 2, 2])]
    images = [{"id": 1, "file_name": "img.jpg"}, {"id": 2, "file_name": "empty.jpg"}]
    (tmp_path / "a.json").write_text(
        json.dumps({"images": images, "annotations": rows, "categories": [{"id": 5, "name": "dog"}]})
    )
    return Truth(tmp_path / "a.json")


def test_objects_of_a_class_are_one_mask(coco: Truth) -> None:
    mask, classes, why = ImageObjects.of(coco, "img.jpg", SIZE).of_class(1, 3, NAMES)
    expected = np.zeros(SIZE, bool)
    expected[:2, :2] = expected[4:6, 4:6] = True
    np.testing.assert_array_equal(mask, expected)
    assert (classes, why) == ({1}, "")


def test_what_is_not_there_is_said(coco: Truth) -> None:
    assert ImageObjects.of(None, "img.jpg", SIZE).of_class(0, 3, NAMES) == (None, None, "")
    other = ImageObjects.of(coco, "img.jpg", SIZE).of_class(0, 3, NAMES)
    assert other == (None, {1}, "no energy: the truth has no object of class 0")
    empty = ImageObjects.of(coco, "empty.jpg", SIZE).of_class(0, 3, NAMES)
    assert empty == (None, None, "no energy: the truth has no box and no mask in this image")
    missing = ImageObjects.of(coco, "none.jpg", SIZE).of_class(0, 3, NAMES)
    assert missing.why.startswith("no energy: ")
    assert "no entry for none.jpg" in missing.why


def test_class_folders_give_the_class_alone(tmp_path: Path) -> None:
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "img.jpg").write_bytes(b"x")
    found = ImageObjects.of(Truth(tmp_path), "img.jpg", SIZE).of_class(0, 3, NAMES)
    assert found == (None, {1}, "no energy: the truth has no box and no mask in this image")
    assert ImageObjects.of(Truth(tmp_path), "img.jpg", SIZE).of_class(0, 1, None).classes == {0}  # in the truth's order
