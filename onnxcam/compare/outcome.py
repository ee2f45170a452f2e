"""Outcome of one model for one image: scores, and the map of one class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxcam.media.frame import Frame

__all__ = ["ModelInfo", "Outcome"]


@dataclass(frozen=True)
class ModelInfo:
    """Description of one model for reports."""

    name: str
    sha256: str
    kind: str  # data type of the weights: "float32", "int8", …
    method: str
    layer: str | None
    preprocess: str
    provider: str
    preprocess_source: str = ""  # how it is known, a key of `onnxcam.metadata.reading.SOURCES`; "" if not recorded


@dataclass(frozen=True)
class Outcome:
    """Outcome of one model for one image, computed now or read from a recording.

    Attributes:
        picture: Path of the image, as given; its id in reports.
        sha256: SHA-256 of the image file.
        size: (H, W) of the image.
        scores: Output of the model, float32 [K]; integers are dequantised, (q − zero) · scale, if the units are known.
        probabilities: float64 [K]; None if the scores are integers without known units.
        target: Explained class.
        map: Raw map, float32 [h, w], neither normalised nor enlarged; for maps of the input's shape, the largest
            magnitude over the channels. None if there is no map.
        why: Reason for a missing map.
        frame: Rectangle of the image that the map covers; None for the whole image.
        head: Last operator of the model: ``"softmax"``, ``"logsoftmax"``, ``"sigmoid"``, or None for plain scores.
        exclusive: Whether the classes exclude each other, so that the probabilities sum to 1.
    """

    picture: str
    sha256: str
    size: tuple[int, int]
    scores: NDArray[np.float32]
    probabilities: NDArray[np.float64] | None
    target: int
    map: NDArray[np.float32] | None
    why: str = ""
    frame: Frame | None = None
    head: str | None = None
    exclusive: bool = True
