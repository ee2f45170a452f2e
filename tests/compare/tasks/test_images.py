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
    assert ImagePrediction(PICTURE).compare(ImagePrediction(PICTURE)).values == {"psnr": 100, "image_ssim": 1}


def test_images_smaller_than_the_window_have_no_ssim() -> None:
    small = ImagePrediction(PICTURE[:, :8, :8])
    found = small.compare(small)
    assert math.isnan(found.values["image_ssim"])
    assert found.notes == ["no image_ssim: the images are smaller than its window, 11 × 11"]


def test_nan_is_a_note() -> None:
    found = ImagePrediction(PICTURE).compare(ImagePrediction(PICTURE * np.nan))
    assert (found.values, found.notes) == ({}, ["the candidate's image holds NaN or infinity"])


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
    assert validate(model, spoilt(good, tmp_path / "spoilt.onnx", at=0.25), photos).verdict == "failed"
    dead = validate(model, spoilt(good, tmp_path / "dead.onnx", at=1), photos)
    assert dead.verdict == "failed"
    assert dead.summaries["mapped"].mean < 0.5  # a map that cannot be made is no error
