"""What comes out: one picture's map, and what belongs to it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxcam import heatmap
from onnxcam import image as pictures
from onnxcam.errors import OutputError

_FILES = {"map": "-map.npy", "raw": "-raw.npy", "overlay": "-overlay.png"}


@dataclass(frozen=True)
class Explanation:
    """Which pixels spoke for a class.

    Attributes:
        image: The picture, uint8 [H, W, 3] RGB.
        map: float32 [H, W] in [0, 1], at the picture's size: the positive part of the raw map (for the gradient
            methods the largest magnitude over the channels), divided by its maximum.
        raw: The map as the method gives it, unnormalised: float32 [h, w] at the layer's size, or signed and in the
            input's own shape for the gradient methods.
        target: The class index that was explained; None where the target is no class.
        label: Its name, None where the labels are not known.
        words: The target in words, which mean the same again.
        score: Its score before softmax or sigmoid.
        probability: Its probability, None where the model does not say.
        layer: The layer that was looked at, None for methods that need none.
        method: The method's id.
        outputs: The model's own outputs for this picture, by name.
        detection: The detection or patch that was explained, (x1, y1, x2, y2) in the picture's pixels.
        note: What was taken as the target where nobody said it.
        warnings: What the user should know about this map.
    """

    image: NDArray[np.uint8]
    map: NDArray[np.float32]
    raw: NDArray[np.float32]
    target: int | None
    label: str | None
    words: str
    score: float
    probability: float | None
    layer: str | None
    method: str
    outputs: Mapping[str, np.ndarray]
    detection: tuple[float, float, float, float] | None = None
    note: str = ""
    warnings: tuple[str, ...] = ()

    def overlay(self, alpha: float = 0.5, colormap: str = "jet") -> NDArray[np.uint8]:
        """Return the picture with the map over it, uint8 [H, W, 3] RGB; *alpha* is the weight of the map."""
        return heatmap.overlay(self.image, self.map, alpha, colormap)

    def box(self, threshold: float = 0.15) -> tuple[int, int, int, int] | None:
        """Return the box (x1, y1, x2, y2) around the largest part of the map above *threshold* of its maximum."""
        return heatmap.box(self.map, threshold)

    @property
    def slug(self) -> str:
        """The target as a part of a file name: the class index where it is one class."""
        if self.target is not None and self.words in (self.label, str(self.target)):
            return str(self.target)
        return re.sub(r"[^\w.,=+-]+", "-", self.words).strip("-")[:80]

    def save(
        self,
        directory: str | os.PathLike[str],
        stem: str = "explanation",
        *,
        alpha: float = 0.5,
        colormap: str = "jet",
    ) -> dict[str, Path]:
        """Write overlay (.png), map and raw map (.npy) into *directory*; return their paths by kind.

        OutputError where that cannot be done.
        """
        folder, name = Path(directory), f"{stem}-{self.slug}-{self.method}"
        paths = {kind: folder / f"{name}{end}" for kind, end in _FILES.items()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            np.save(paths["map"], self.map)
            np.save(paths["raw"], self.raw)
        except OSError as error:
            raise OutputError(f"cannot write into '{folder}': {error.strerror or error}") from None
        pictures.write(paths["overlay"], self.overlay(alpha, colormap))
        return paths
