"""Comparison of output images: hand-computed cases, and int8 files of the upscaler."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from onnxcam.compare.tasks.images import ImagePrediction
from onnxcam.compare.validate import validate
from onnxcam.errors import MetricError
from tests.compare.tasks.twins import MODELS, drawn, quantised, spoilt

RNG = np.random.default_rng(0)
PICTURE = RNG.random((3, 16, 16)).astype(np.float32)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0, 255)])
def test_the_ratio_does_not_depend_on_the_range(low: float, high: float) -> None:
    first, second = (
        ImagePrediction((low + (high - low) * one).astype(np.float32)) for one in (PICTURE, PICTURE + 0.01)
    )
    found = first.compare(second).values
    assert found["psnr"] == pytest.approx(40, abs=1e-3)
    assert found["image_ssim"] > 0.99


def test_equal_images() -> None:
    assert ImagePrediction(PICTURE).compare(ImagePrediction(PICTURE)).values == {
        "psnr": 100,
        "image_ssim": 1,
        "detail": pytest.approx(1),
    }
    grey = ImagePrediction(np.full((3, 16, 16), 0.3, np.float32))
    assert grey.compare(grey).values["detail"] == 1


def test_images_smaller_than_the_window_have_no_ssim() -> None:
    small = ImagePrediction(PICTURE[:, :8, :8])
    found = small.compare(small)
    assert math.isnan(found.values["image_ssim"])
    assert found.notes == ["no image_ssim: the images are smaller than its window, 11 × 11"]


def test_nan_is_a_note() -> None:
    found = ImagePrediction(PICTURE).compare(ImagePrediction(PICTURE * np.nan))
    assert (found.values, found.notes) == ({}, ["the candidate's image holds NaN or infinity"])


def test_detail_is_what_a_blur_removes() -> None:
    rows = np.mgrid[:64, :64][0] / 63
    fine = 0.05 * (np.indices((64, 64)).sum(axis=0) % 2 - 0.5)
    coarse, whole = (ImagePrediction(np.stack([one.astype(np.float32)])) for one in (rows, rows + fine))
    turned = ImagePrediction(np.stack([(rows - fine).astype(np.float32)]))
    found = whole.compare(turned).values
    assert found["psnr"] > 25
    assert found["detail"] < -0.9
    assert abs(whole.compare(coarse).values["detail"]) < 0.2
    assert whole.compare(ImagePrediction(whole.image + 0.1)).values["detail"] == pytest.approx(1)


def test_a_reference_without_detail() -> None:
    grey = np.full((1, 16, 16), 0.3, np.float32)
    found = ImagePrediction(grey).compare(ImagePrediction(grey + PICTURE[:1]))
    assert math.isnan(found.values["detail"])
    assert found.notes == ["no detail: the reference's image has none"]
    assert ImagePrediction(PICTURE).compare(ImagePrediction(PICTURE * 0 + 0.3)).values["detail"] == 0


def test_the_range_of_other_values_is_their_own() -> None:
    found = ImagePrediction(np.linspace(-1, 4, 256, dtype=np.float32).reshape(1, 16, 16))
    assert found.ends == (-1, 4)
    assert found.compare(ImagePrediction(found.image + 0.05)).values["psnr"] == pytest.approx(40, abs=1e-3)


def test_other_sizes_are_not_compared() -> None:
    with pytest.raises(MetricError, match="an image of 3 × 16 × 16 values .* and the candidate one of 3 × 8 × 8"):  # noqa: RUF043
        ImagePrediction(PICTURE).compare(ImagePrediction(PICTURE[:, :8, :8]))


def test_good_and_spoilt_int8_files(tmp_path: Path) -> None:
    model, photos = MODELS / "upscaler.onnx", drawn(tmp_path / "photos", count=6)
    good = quantised(model, photos, tmp_path / "int8.onnx")
    found = validate(model, good, photos)
    assert found.task == "image"
    assert found.passed, [one.words for one in found.verdicts if not one.holds]
    assert found.summaries["psnr"].mean > 50
    assert found.journal[0].answers[0].words == "an image of 192 × 192 pixels"
    for at in (0.25, 0.5):
        bad = validate(model, spoilt(good, tmp_path / f"{at}.onnx", at=at), photos)
        assert "detail >= 0.94" in [one.words for one in bad.verdicts if not one.holds]
    dead = validate(model, spoilt(good, tmp_path / "dead.onnx", at=1), photos)
    assert dead.verdict == "failed"
    assert dead.summaries["mapped"].mean < 0.5  # a map that cannot be made is no error
