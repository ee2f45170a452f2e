"""A model to bake, its input, and a run of a baked file in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import onnxcam
from onnxcam.media import image

ASSETS = Path(onnxcam.__file__).parent / "assets"
SHAPES = ASSETS / "shapes.onnx"
SIZE = 96


def session(model: Any) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model if isinstance(model, bytes) else str(model))


def picture() -> np.ndarray:
    import cv2

    return cv2.resize(image.read(ASSETS / "shapes_1.png"), (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def tensor(pictures: int = 1) -> np.ndarray:
    x = np.float32(picture()).transpose(2, 0, 1)[None] / 255
    return np.concatenate([x * (1 - 0.2 * i) for i in range(pictures)])


def in_python(file: Path, x: np.ndarray, index: int | None = None) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(file))
    image = next(value.name for value in session.get_inputs() if value.name != "onnxcam.class")
    feeds = {image: x} | ({} if index is None else {"onnxcam.class": np.array([index])})
    return session.run(["heatmap"], feeds)[0]
