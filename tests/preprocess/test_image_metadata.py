"""ONNX's metadata of images, and Custom Vision's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam.preprocess import TensorSpec, resolve

FIXED = TensorSpec.make("data", np.dtype(np.float32), (None, 3, 64, 64))
GREY = TensorSpec.make("data", np.dtype(np.float32), (1, 1, 28, 28))
BGR = {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "NominalRange_0_255"}


def images(order: str | None = None, span: str | None = None, **custom: Any) -> dict[str, str]:
    """Return metadata, with *custom* keys of Custom Vision."""
    stated = {"Image.BitmapPixelFormat": order, "Image.NominalPixelRange": span}
    own = {f"CustomVision.Preprocess.{key}": value for key, value in custom.items()}
    return {key: value for key, value in (stated | own).items() if value is not None}


@pytest.mark.parametrize(
    ("metadata", "tensor", "spelt"),
    [
        (BGR, FIXED, "resize=64x64,range=0-255,order=bgr"),
        (images("Rgb8", "Normalized_0_1"), FIXED, "range=0-1,order=rgb"),
        (images("RGBA8", "normalized_1_1"), FIXED, "range=-1-1,order=rgb"),
        (images("Bgra8"), FIXED, "range=0-255,order=bgr"),
        (images(None, "NominalRange_16_235"), FIXED, "range=16-235,order=bgr"),
        (images(None, "Normalized_0_1"), GREY, "range=0-1,order=gray"),
        (images("Bgr8", CropHeight="64", CropWidth="64"), FIXED, "resize=64,crop=64x64"),
        (images("Bgr8", CropHeight="0", CropWidth="0"), FIXED, "resize=64x64"),
        (
            images("Bgr8", NormalizeMean="[104, 117, 123]", NormalizeStd="[1, 1, 1]"),
            FIXED,
            "range=0-255,mean=104/117/123,std=1/1/1,order=bgr",
        ),
        (
            images("Bgr8", NormalizeMean="[0.0, 0.0, 0.0]", NormalizeStd="[1.0, 1.0, 1.0]"),
            FIXED,
            "range=0-255,order=bgr",
        ),
    ],
)
def test_it_is_read(metadata: dict[str, str], tensor: TensorSpec, spelt: str) -> None:
    found = resolve(None, tensor, metadata=metadata)
    assert spelt in str(found.preprocess)
    assert (found.source, found.warnings) == ("metadata", ())


def test_a_file_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "metadata_properties.json").write_text(json.dumps(BGR))
    found = resolve(None, FIXED, path=tmp_path / "model.onnx")
    assert (found.preprocess.order, found.preprocess.range, found.source) == ("bgr", (0, 255), "file")


def test_linear_light_is_told() -> None:
    (warning,) = resolve(None, FIXED, metadata=BGR | {"Image.ColorSpaceGamma": "Linear"}).warnings
    assert warning.startswith("the model takes linear light")
    assert resolve(None, FIXED, metadata=BGR | {"Image.ColorSpaceGamma": "SRGB"}).warnings == ()


@pytest.mark.parametrize(
    "metadata",
    [
        {"Image.BitmapPixelFormat": "Nv12"},
        BGR | {"CustomVision.Preprocess.NormalizeMean": "[1", "CustomVision.Preprocess.NormalizeStd": "[1]"},
        BGR | {"CustomVision.Preprocess.CropHeight": "a", "CustomVision.Preprocess.CropWidth": "3"},
    ],
)
def test_what_cannot_be_read_is_passed_over(metadata: dict[str, Any]) -> None:
    first, second = resolve(None, FIXED, metadata=metadata).warnings
    assert first.startswith("the preprocessing in ONNX's metadata of images is passed over")
    assert second.startswith("the preprocessing is a guess")
