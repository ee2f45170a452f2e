"""The network of shapes, its int8 twin, one with a spoilt scale, and images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.compare.twins import SHAPES, photos, quantize, spoilt


@dataclass(frozen=True)
class Twins:
    """A float model, its int8 twin, the twin with one scale divided by 12, and images."""

    real: Path
    int8: Path
    spoilt: Path
    images: Path


def twins_in(folder: Path) -> Twins:
    """Make the twins in *folder*."""
    pytest.importorskip("onnxruntime.quantization", reason="onnxruntime cannot quantise here")
    images = photos(folder / "images", 4)
    int8 = quantize(SHAPES, folder / "int8.onnx", images)
    return Twins(SHAPES, int8, spoilt(int8, folder / "spoilt.onnx", 4), images)
