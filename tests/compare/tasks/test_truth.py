"""Accuracy of both models by the truth, for each task: values and slices by hand, and truth that does not fit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.outcome import Prediction
from onnxcam.compare.slices import TruthScores
from onnxcam.compare.summary import conclude
from onnxcam.compare.tasks.cell_maps import on_pixels, packed_cells, seen_pixels, unpacked_cells
from onnxcam.compare.tasks.classification import ClassScores
from onnxcam.compare.tasks.detection import DetectionPrediction
from onnxcam.compare.tasks.embedding import EmbeddingPrediction
from onnxcam.compare.tasks.keypoints import KeypointPrediction
from onnxcam.compare.tasks.numbers import NumbersPrediction
from onnxcam.compare.tasks.segmentation import SegmentationPrediction
from onnxcam.compare.tasks.text import CaptionPrediction, TextPrediction
from onnxcam.compare.tasks.value_maps import ValueMapPrediction
from onnxcam.compare.thresholds import parse
from onnxcam.errors import MetricError, TruthError
from onnxcam.metrics import Truth
from tests.compare.tasks.twins import compared
from tests.compare.validations import SIDES

SIZE = (64, 64)  # of the images of `compared`


def table(folder: Path, text: str) -> Truth:
    (folder / "truth.csv").write_text(text, "utf-8")
    return Truth(folder / "truth.csv")


def journal(*pairs: tuple[Prediction, Prediction], names: Sequence[str] | None = None) -> list[ImageComparison]:
    return [replace(compared(*pair, names), picture=f"{number}.png") for number, pair in enumerate(pairs)]


def values(found: TruthScores | None) -> dict[str, tuple[float, float]]:
    assert found is not None
    return {name: pytest.approx(pair) for name, pair in found.values.items()}


def classes(top: int, count: int = 3) -> ClassScores:
    scores = np.where(np.arange(count) == top, 5.0, -np.arange(count)).astype(np.float32)
    return ClassScores(scores, np.asarray(scores, np.float64))


def test_classes(tmp_path: Path) -> None:
    truth = table(tmp_path, "image,label\n0.png,cat\n1.png,dog\n2.png,dog\n")
    names = ["cat", "dog", "cow"]
    pairs = journal((classes(0), classes(0)), (classes(1), classes(2)), (classes(1), classes(1)), names=names)
    found = ClassScores.accuracy(pairs, truth, names)
    assert values(found) == {"accuracy": (1, 2 / 3)}
    assert found is not None
    assert [(one.name, one.objects, one.reference, one.candidate) for one in found.slices] == [
        ("dog", 2, 1, 0.5),
        ("cat", 1, 1, 1),
    ]
    items = [item for one in pairs for item in ClassScores.slice_items(one)]
    assert [(item.index, item.values["top1"]) for item in items] == [(0, 1), (1, 0), (1, 1)]


def test_the_first_five_classes(tmp_path: Path) -> None:
    truth = table(tmp_path, "image,label\n0.png,4\n")
    found = ClassScores.accuracy(journal((classes(4, 8), classes(0, 8))), truth, None)
    assert values(found) == {"accuracy": (1, 0), "accuracy5": (1, 1)}


def test_class_folders_in_the_order_of_the_truth(tmp_path: Path) -> None:
    for number, name in enumerate(("n01440764", "n01443537")):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / f"{number}.png"), np.zeros((2, 2, 3), np.uint8))
    pairs = [
        replace(one, picture=str(tmp_path / name / f"{number}.png"))
        for number, (one, name) in enumerate(
            zip(journal(*[(classes(1, 2), classes(0, 2))] * 2), ("n01440764", "n01443537"), strict=True)
        )
    ]
    found = ClassScores.accuracy(pairs, Truth(tmp_path, format="imagefolder"), ["tench", "goldfish"])
    assert values(found) == {"accuracy": (0.5, 0.5)}


def test_masks_without_classes_are_no_truth_of_classes(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.full((*SIZE, 1), 9, np.uint8))
    assert ClassScores.accuracy(journal((classes(0), classes(0))), Truth(tmp_path), None) is None


def cells(found: np.ndarray, frame: tuple[float, ...] | None = None) -> SegmentationPrediction:
    return SegmentationPrediction(found, 3, 0, frame)


@pytest.fixture
def left(tmp_path: Path) -> Truth:
    """Class 1 in the left half of 0.png."""
    mask = np.zeros(SIZE, np.uint8)
    mask[:, :32] = 1
    cv2.imwrite(str(tmp_path / "0.png"), mask)
    return Truth(tmp_path, "class")


LEFT = np.repeat([[1, 1, 0, 0]], 4, axis=0)
FIRST = np.repeat([[1, 0, 0, 0]], 4, axis=0)


def test_segmentations(left: Truth) -> None:
    pairs = journal((cells(LEFT), cells(FIRST)))
    found = SegmentationPrediction.accuracy(pairs, left, ["none", "cat", "dog"])
    assert values(found) == {"miou": (1, (0.5 + 2 / 3) / 2)}
    assert found is not None
    rows = [(one.kind, one.name, one.objects, one.candidate) for one in found.slices]
    assert rows == [("class", "cat", 1, 0.5), ("class", "none", 1, pytest.approx(2 / 3)), ("size", "medium", 1, 0.5)]
    (item,) = SegmentationPrediction.slice_items(pairs[0])
    assert (item.index, item.area, item.values) == (1, 2048, {"class_iou": 0.5})


def test_one_class_of_a_segmentation(left: Truth) -> None:
    pairs = journal((cells(LEFT).only(1), cells(FIRST).only(1)))
    found = SegmentationPrediction.accuracy(pairs, left, None, 1)
    assert values(found) == {"miou": (1, 0.5)}
    assert found is not None
    assert [one.name for one in found.slices] == ["class 1"]


def test_only_the_pixels_that_a_crop_covers_count(left: Truth) -> None:
    cropped = cells(np.array([[1, 0]]), (16.0, 0.0, 48.0, 64.0))  # the middle of the image
    found = SegmentationPrediction.accuracy(journal((cropped, cells(LEFT))), left, None)
    assert values(found) == {"miou": (1, 1)}


def test_cells_on_pixels() -> None:
    padded = (0.0, -1.0, 4.0, 3.0)  # the image of 2 rows lies in the middle of 4
    found = np.arange(16).reshape(4, 4)
    np.testing.assert_array_equal(on_pixels(found, padded, (2, 4)), found[1:3])
    assert seen_pixels((4, 4), padded, (2, 4)).all()
    np.testing.assert_array_equal(on_pixels(found[:1, :1], None, (2, 2)), [[0, 0], [0, 0]])
    np.testing.assert_array_equal(seen_pixels((1, 1), (1.0, 0.0, 2.0, 1.0), (1, 3)), [[False, True, False]])


@pytest.mark.parametrize("found", [np.array([[-1, 300]]), np.array([[[True, False, True]], [[False, False, True]]])])
def test_packed_cells(found: np.ndarray) -> None:
    np.testing.assert_array_equal(unpacked_cells(json.loads(json.dumps(packed_cells(found)))), found)


def boxes(*found: tuple[Sequence[float], float, int]) -> DetectionPrediction:
    rows, scores, kinds = zip(*found, strict=True)
    return DetectionPrediction(np.array(rows, float), np.array(scores), np.array(kinds))


def test_detections_by_class_and_size() -> None:
    one, large = ([0, 0, 10, 10], 0.9, 0), ([0, 20, 50, 60], 0.8, 1)
    (pair,) = journal((boxes(one, large), boxes(one)))
    items = list(DetectionPrediction.slice_items(pair))
    assert [(item.index, item.area, dict(item.values)) for item in items] == [
        (0, 100, {"kept": 1, "box_iou": 1}),
        (1, 2000, {"kept": 0}),
    ]
    assert boxes(one, large).only(1).classes.tolist() == [1]


def read(text: str, known: bool = True) -> TextPrediction:
    return TextPrediction(tuple(text), "ABC", known)


def test_texts(tmp_path: Path) -> None:
    truth = table(tmp_path, "image,text\n0.png,ABC\n1.png,B\n")
    found = TextPrediction.accuracy(journal((read("ABC"), read("AB")), (read("B"), read("B"))), truth, None)
    assert values(found) == {"true_character_error": (0, 0.25), "text_accuracy": (1, 0.5)}
    with pytest.raises(TruthError, match="the model's letters are not known, only their indices"):
        TextPrediction.accuracy(journal((read("A", False), read("A", False))), truth, None)
    caption = CaptionPrediction(("A",), "ABC")
    assert CaptionPrediction.accuracy(journal((caption, caption)), truth, None) is None


def number(*found: float) -> NumbersPrediction:
    return NumbersPrediction(np.array(found, float))


def test_numbers(tmp_path: Path) -> None:
    truth = table(tmp_path, "image,age,height\n0.png,1,10\n1.png,2,20\n2.png,3,30\n")
    nan = (number(3, 30), number(np.nan, 30))  # left out
    found = NumbersPrediction.accuracy(
        journal((number(1, 10), number(2, 10)), (number(2, 21), number(2, 23)), nan), truth, None
    )
    assert values(found) == {"absolute_error": (0.25, 1)}
    assert found is not None
    assert [(one.name, one.reference, one.candidate) for one in found.slices] == [
        ("number 1", 0.5, 1.5),
        ("number 0", 0, 0.5),
    ]
    assert NumbersPrediction.accuracy(journal(nan), truth, None) is None


def test_keypoints(tmp_path: Path) -> None:
    rows = [{"id": 1, "image_id": 0, "category_id": 1, "keypoints": [10, 10, 2, 20, 20, 2], "bbox": [0, 0, 30, 40]}]
    images, names = [{"id": 0, "file_name": "0.png"}], [{"id": 1, "name": "person"}]
    (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": rows, "categories": names}))
    right = np.array([[10.0, 10.0], [20.0, 20.0]])
    one = KeypointPrediction(right, None, (64, 64), right)
    far = KeypointPrediction(right, None, (64, 64), right + np.array([0, 5]))
    found = KeypointPrediction.accuracy(journal((one, far)), Truth(tmp_path / "a.json"), ["nose", "eye"])
    assert values(found) == {"keypoint_distance": (0, 0.1)}
    assert found is not None
    assert {one.name for one in found.slices} == {"nose", "eye"}
    unplaced = KeypointPrediction(right, None, (64, 64))
    assert KeypointPrediction.accuracy(journal((unplaced, one)), Truth(tmp_path / "a.json"), None) is None


def test_embeddings(tmp_path: Path) -> None:
    truth = table(tmp_path, "image,label\n0.png,ann\n1.png,ann\n2.png,bob\n3.png,bob\n")
    own = [EmbeddingPrediction(np.array(row, np.float32)) for row in ([1, 0], [1, 0], [0, 1], [0, 1])]
    mixed = [own[0], own[2], own[1], own[3]]
    found = EmbeddingPrediction.accuracy(journal(*zip(own, mixed, strict=True)), truth, None)
    assert values(found) == {"recall1": (1, 0)}
    assert found is not None
    assert {(one.name, one.objects) for one in found.slices} == {("ann", 2), ("bob", 2)}


def concluded(pairs: Sequence[ImageComparison], prediction: type[Prediction], truth: Truth, required: str) -> Any:
    return conclude(*SIDES, pairs, parse(required), prediction=prediction, truth=truth)


def test_requirements_on_the_truth(left: Truth) -> None:
    found = concluded(
        journal((cells(LEFT), cells(FIRST))), SegmentationPrediction, left, "miou>=0.9, miou_lost<=0.5, class_iou>=0.1"
    )
    assert [(one.words, one.holds) for one in found.verdicts] == [
        ("miou >= 0.9", False),
        ("miou_lost <= 0.5", True),
        ("class_iou >= 0.1", True),
    ]
    assert found.verdicts[0].value == pytest.approx(7 / 12)
    assert found.accuracy[0] == {"miou": 1}
    assert "miou" not in found.summaries
    assert found.as_dict()["slices"]["agreement"][0]["values"] == {"class_iou": 0.5}


def test_one_value_of_all_images_has_no_statistics() -> None:
    with pytest.raises(MetricError, match="miou is one value of all images; write miou alone"):
        parse("miou.low>=0.5")
    assert parse("miou.mean>=0.5")[0].total


def test_a_truth_without_a_measure_is_said(left: Truth) -> None:
    flat = ValueMapPrediction(np.arange(16.0).reshape(1, 4, 4))
    found = concluded(journal((flat, flat)), ValueMapPrediction, left, "value_error<=1")
    assert any("is not used; there is no measure by it for" in one for one in found.warnings)


def test_a_recorded_frame_is_a_rectangle() -> None:
    arrays = cells(LEFT, (0.0, 0.0, 4.0, 4.0)).arrays()
    assert SegmentationPrediction.from_arrays(arrays).frame == (0, 0, 4, 4)
    del arrays["frame"]
    assert SegmentationPrediction.from_arrays(arrays).frame is None  # of an earlier recording
    for wrong in ([4.0, 0.0, 4.0, 4.0], [0.0, 0.0, np.nan, 4.0]):
        with pytest.raises(ValueError, match="'frame' is no rectangle x0, y0, x1, y1"):
            SegmentationPrediction.from_arrays(arrays | {"frame": np.array(wrong)})
