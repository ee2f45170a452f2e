"""A model, and what it says of one picture: scores, and the map of one class. All that is compared is one of these."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxcam.media.frame import Frame


@dataclass(frozen=True)
class Side:
    """One model, as reports print it."""

    name: str
    sha256: str
    kind: str  # "float32", "int8", …: what its weights, or a recording, say
    method: str
    layer: str | None
    preprocess: str
    provider: str


@dataclass(frozen=True)
class Outcome:
    """What one model said of one picture, here and now or in a recording.

    Attributes:
        picture: The path as it was given; its id in reports.
        sha256: Of the file's bytes.
        size: (H, W) of the picture.
        scores: float32 [K], as the model's output gives them; integers in the real units they stand for, (q − zero) ·
            scale, where the file tells these, else as they are.
        probabilities: float64 [K]; None where scores are integers of unknown meaning.
        target: The class whose map it is.
        map: The raw map, float32 [h, w]: neither normalised nor enlarged, of the gradient methods the largest magnitude
            over the channels. None where there is none.
        why: Why there is none.
        frame: The rectangle of the picture that the map covers; None for all of it.
        head: What the scores come out of: ``"softmax"``, ``"logsoftmax"``, ``"sigmoid"``, or None for plain scores.
        exclusive: Whether one class excludes the others, so that the probabilities add up to 1.
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
