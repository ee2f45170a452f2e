"""Comparison of segmentations: regions, boundaries, findings, and two int8 files of the segmenter."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxcam.compare.image_comparison import ImageComparison
from onnxcam.compare.outcome import Agreement
from onnxcam.compare.tasks.cell_maps import unpacked_cells
from onnxcam.compare.tasks.segmentation import SegmentationObservation, SegmentationPrediction
from onnxcam.compare.validate import validate
from onnxcam.errors import MetricError
from onnxcam.media import image
from onnxcam.targets.kinds import ClassRegion
from tests.command import Ran
from tests.compare.tasks.twins import MODELS, compared, drawn, headed, quantised, spoilt

LEFT = np.repeat([[1, 1, 0, 0]], 4, axis=0)
NAMES = ("background", "cat", "dog")


def cells(found: np.ndarray, classes: int = 3, background: int | None = 0) -> SegmentationPrediction:
    return SegmentationPrediction(np.asarray(found), classes, background)


def test_equal_regions_agree() -> None:
    found = cells(LEFT).compare(cells(LEFT)).values
    assert found == {"same_pixels": 1, "class_iou": 1, "dice": 1, "boundary": 1}


def test_a_region_that_lost_half_of_its_cells() -> None:
    half = LEFT.copy()
    half[:, 1] = 0
    found = cells(LEFT).compare(cells(half))
    assert found.values["same_pixels"] == 0.75
    assert found.values["class_iou"] == pytest.approx((8 / 12 + 4 / 8) / 2)
    assert found.values["dice"] == pytest.approx((2 * 8 / 20 + 2 * 4 / 12) / 2)
    assert found.values["boundary"] == 1  # one cell apart
    assert dict(map(tuple, found.details["regions"])) == {1: [4, 8, 4], 0: [8, 8, 12]}


def test_boundaries_far_from_each_other() -> None:
    moved = np.repeat([[1] * 2 + [0] * 14], 16, axis=0)
    assert cells(moved).compare(cells(np.roll(moved, 8, axis=1))).values["boundary"] == 0
    assert cells(moved).compare(cells(np.zeros((16, 16), int))).values["boundary"] == 0


def test_a_class_of_the_candidate_alone_counts() -> None:
    found = cells(np.zeros((4, 4), int)).compare(cells(LEFT * 2)).values
    assert found["class_iou"] == pytest.approx((0.5 + 0) / 2)


def few(count: int = 2, stacked: bool = False) -> SegmentationPrediction:
    """A class in *count* cells of 4096, and no class elsewhere."""
    found = np.full((64, 64), -1)
    found[0, :count] = 0
    return cells(found[None] == 0 if stacked else found, 1, None)


@pytest.mark.parametrize("stacked", [False, True])
def test_a_region_of_a_few_cells_says_nothing(stacked: bool) -> None:
    """Such as a person of 2 cells in a photo without persons, which the int8 file does not see."""
    found = few(stacked=stacked).compare(few(0, stacked))
    assert math.isnan(found.values["boundary"])
    assert math.isnan(found.values["class_iou"])
    assert found.values["same_pixels"] > 0.999
    lost = few(5, stacked).compare(few(0, stacked)).values
    assert (lost["boundary"], lost["class_iou"]) == (0, 0)


def test_a_region_of_a_few_cells_is_not_explained() -> None:
    observation = SegmentationObservation()
    assert [list(observation.targets(None, few(count))) for count in (2, 5)] == [[], [ClassRegion(0)]]  # type: ignore[arg-type]
    shapes = np.zeros((64, 64), int)
    shapes[0, :2], shapes[1, :6] = 1, 2
    assert observation.targets(None, cells(shapes)) == [ClassRegion(2)]  # type: ignore[arg-type]
    assert observation.targets(None, cells(shapes[2:])) == [ClassRegion(0)]  # type: ignore[arg-type]


MATTE = """
one = Constant<value_ints=[1]>() six = Constant<value_ints=[6]>() two = Constant<value_float=2.0>()
classes = Slice(y, one, six, one, one) most = ReduceMax(classes, one) found = Sub(most, two)
"""
SPOT = """
cells = Constant<value_floats=[99.0, 99.0]>() shape = Constant<value_ints=[1, 1, 1, 2]>() row = Reshape(cells, shape)
pads = Constant<value_ints=[0, 0, 0, 0, 0, 0, 63, 62]>() zero = Constant<value_float=0.0>()
spot = Pad(row, pads, zero) both = Add(found, spot) z = Sigmoid(both)
"""


def test_a_sound_file_and_photos_without_the_class(tmp_path: Path) -> None:
    """The reference sees two cells of the class in each image, which no int8 file sees."""
    reference = headed("segmenter", tmp_path / "matte.onnx", "segmentation", MATTE + SPOT, "z[1, 64, 64]")
    plain = headed("segmenter", tmp_path / "plain.onnx", "segmentation", MATTE + "z = Sigmoid(found)", "z[1, 64, 64]")
    photos = drawn(tmp_path / "photos", count=3)
    for grey in (120, 128, 136):
        image.write(photos / f"grey{grey}.png", np.full((64, 64, 3), grey, np.uint8))
    good = quantised(plain, photos, tmp_path / "int8.onnx")
    found = validate(reference, good, photos)
    assert found.passed, [one.words for one in found.verdicts if not one.holds]
    assert [one.details["regions"] for one in found.journal][3:] == [[[0, [0, 2, 0]]]] * 3
    assert validate(reference, spoilt(good, tmp_path / "bad.onnx"), photos).verdict == "failed"


def test_independent_classes() -> None:
    one, both = np.stack([LEFT == 1, LEFT == 1]), np.stack([LEFT == 1, LEFT == 0])
    found = cells(one, 2, None).compare(cells(both, 2, None)).values
    assert found["same_pixels"] == 0
    assert found["class_iou"] == 0.5


def test_a_candidate_of_a_finer_grid() -> None:
    fine = LEFT.repeat(2, axis=0).repeat(2, axis=1)
    assert cells(LEFT).compare(cells(fine)).values["class_iou"] == 1
    assert cells(fine).compare(cells(LEFT)).values["class_iou"] == 1


def test_no_class_in_either() -> None:
    found = cells(np.full((4, 4), -1)).compare(cells(np.full((4, 4), -1)))
    assert math.isnan(found.values["class_iou"])
    assert found.notes == ["neither model predicts a class in 0.1% of the image"]


def test_one_class_in_the_whole_image_has_no_boundary() -> None:
    found = cells(np.zeros((4, 4), int)).compare(cells(np.zeros((4, 4), int)))
    assert math.isnan(found.values["boundary"])
    assert found.notes == ["no boundary: both models predict one class in the whole image"]


@pytest.mark.parametrize(
    ("other", "words"), [(cells(LEFT, 5), "5 classes"), (cells(np.stack([LEFT == 1] * 3)), "3 independent classes")]
)
def test_other_classes_cannot_be_compared(other: SegmentationPrediction, words: str) -> None:
    with pytest.raises(MetricError, match=f"the reference has 3 classes and the candidate {words}"):
        cells(LEFT).compare(other)


def test_the_answer_lists_the_classes_and_the_background_last() -> None:
    answer = cells(LEFT).answer(NAMES)
    assert answer.words == "cat 50%"
    assert [one["label"] for one in answer.data["classes"]] == ["cat", "background"]
    assert cells(np.zeros((2, 2), int)).answer(NAMES).words == "background"
    assert cells(np.full((2, 2), -1)).answer(None).words == "no class"


def concluded(reference: SegmentationPrediction, candidate: SegmentationPrediction, count: int = 1) -> list[str]:
    pairs: list[ImageComparison] = [compared(reference, candidate)] * count
    return SegmentationPrediction.conclude(pairs, NAMES)


def test_a_lost_class_is_named() -> None:
    assert concluded(cells(LEFT), cells(LEFT)) == []
    (lost,) = concluded(cells(LEFT), cells(np.zeros((4, 4), int)))[:1]
    assert lost == "the candidate predicts cat nowhere; the reference does in 8 cells of all images"


def test_a_shrunken_class_is_named() -> None:
    small = np.zeros((4, 4), int)
    small[0, 0] = 1
    assert concluded(cells(LEFT), cells(small)) == [
        "the candidate's region of cat has an IoU of 0.12 with the reference's over all images, with 0.12 times as "
        "many cells as the reference"
    ]


def test_a_reference_without_classes_is_an_error() -> None:
    with pytest.raises(MetricError, match="the reference predicts no class in any of the 1 images"):
        concluded(cells(np.full((4, 4), -1)), cells(LEFT))
    with pytest.raises(MetricError, match="predicts background alone in all 6 images"):
        concluded(cells(np.zeros((4, 4), int)), cells(LEFT), 6)


def test_a_good_and_a_spoilt_int8_file(tmp_path: Path) -> None:
    model, photos = MODELS / "segmenter.onnx", drawn(tmp_path / "photos")
    good = quantised(model, photos, tmp_path / "int8.onnx")
    found = validate(model, good, photos)
    assert found.passed, [one.words for one in found.verdicts if not one.holds]
    assert found.task == "segmentation"
    assert found.summaries["class_iou"].mean > 0.95
    assert {one.target for one in found.journal[0].objects} == {"class=circle", "class=ring"}
    failed = validate(model, spoilt(good, tmp_path / "spoilt.onnx"), photos)
    assert failed.verdict == "failed"
    assert failed.summaries["class_iou"].mean < 0.65


def test_the_command(tmp_path: Path, onnxcam: Callable[..., Ran]) -> None:
    model, photos = MODELS / "segmenter.onnx", drawn(tmp_path / "photos", count=8)
    good = quantised(model, photos, tmp_path / "int8.onnx")
    passed = onnxcam("validate", model, good, photos, "-m", "auto", "-o", "good")
    assert passed.code == 0, passed.err
    assert "class_iou" in passed.out + passed.err
    failed = onnxcam("validate", model, spoilt(good, tmp_path / "spoilt.onnx"), photos, "-m", "auto", "-o", "bad")
    assert failed.code == 1
    assert "the candidate's region of" in failed.err
    assert {one.name for one in Path("bad").iterdir()} >= {"report.html", "junit.xml", "validation.json"}
    for words in ("top1>=0.9", "psnr>=30"):
        refused = onnxcam("validate", model, good, photos, "-o", "no", "-r", words)
        assert (refused.code, "cannot be measured for segmentation; what can: same_pixels" in refused.err) == (2, True)
    named = onnxcam("validate", model, good, photos, "-o", "no", "-t", "hen")
    assert (named.code, "no class is named 'hen'" in named.err) == (2, True)


@pytest.mark.slow
def test_deeplab(real: Path, tmp_path: Path) -> None:
    model, folder = real / "models" / "deeplabv3_mnv2_voc_f32.onnx", tmp_path / "photos"
    folder.mkdir()
    for name in ("tabby_cat.jpg", "dog_cat.png", "horses.jpg", "purple_bus.jpg", "squat.jpg"):
        (folder / name).write_bytes((real / "images" / name).read_bytes())
    good = quantised(model, folder, tmp_path / "int8.onnx")
    assert validate(model, good, folder, preprocess="inception").passed
    assert validate(model, spoilt(good, tmp_path / "bad.onnx"), folder, preprocess="inception").verdict == "failed"


def test_details_are_json() -> None:
    found: Agreement = cells(LEFT).compare(cells(LEFT))
    assert found.details["regions"] == [[1, [8, 8, 8]], [0, [8, 8, 8]]]
    assert json.loads(json.dumps(found.details)) == found.details
    np.testing.assert_array_equal(unpacked_cells(found.details["found"][0]), LEFT)
