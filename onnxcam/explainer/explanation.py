"""What comes out: one picture's map, and what belongs to it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam import files
from onnxcam.media import heatmap, volume
from onnxcam.media import image as pictures

WHITE, GREEN = (255, 255, 255), (0, 255, 0)
_FILES = {"map": "-map.npy", "raw": "-raw.npy", "overlay": "-overlay.png"}


@dataclass(frozen=True)
class Explanation:
    """Which pixels, or voxels, spoke for a target. For volumes [H, W] is [D, H, W], and a box is a picture's only.

    Attributes:
        image: The picture, uint8 [H, W, 3] RGB, or the volume [D, H, W] as it was read.
        map: float32 [H, W] in [0, 1], at the picture's size: the positive part of the raw map (for the gradient
            methods the largest magnitude over the channels), divided by its maximum. Where both signs were asked for,
            the raw map (the sum over the channels) in [-1, 1].
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
        parts: The words of an input that is no picture, or the names of its numbers; *map* has a value for each.
        affine: Where a volume lies in the scanner, float64 [4, 4], if a NIfTI file said so.
        note: What was taken as the target where nobody said it.
        warnings: What the user should know about this map.
    """

    image: NDArray[Any]
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
    parts: tuple[str, ...] | None = None
    affine: NDArray[np.float64] | None = None
    note: str = ""
    warnings: tuple[str, ...] = ()

    def overlay(self, alpha: float = 0.5, colormap: str = "jet", boxes: bool = False) -> NDArray[np.uint8]:
        """Return the picture with the map over it, uint8 [H, W, 3] RGB; *alpha* is the weight of the map.

        With *boxes* those of the map in white, and the detection or patch that is explained in green. Of a volume the
        three slices through the largest value of the map.
        """
        if self.parts is not None:
            return heatmap.sentence(self.parts, self.map, alpha, colormap)
        if self.is_volume:
            return volume.overlay(self.image, self.map, alpha, colormap)
        drawn = heatmap.overlay(self.image, self.map, alpha, colormap)
        if not boxes:
            return drawn
        drawn = heatmap.outlined(drawn, self.boxes(), WHITE)
        return heatmap.outlined(drawn, [self.detection] if self.detection else [], GREEN)

    def boxes(self, threshold: float = 0.15, least: float = 0.005) -> list[tuple[int, int, int, int]]:
        """Return the boxes around all parts of the map above *threshold* of its maximum, the largest first.

        Parts that cover less than *least* of the picture are left out.
        """
        return [] if self.map.ndim != 2 else heatmap.boxes(self.map, threshold, least)

    @property
    def weights(self) -> list[dict[str, Any]] | None:
        """The parts of an input that is no picture, and what each counts, padding left out; None for a picture."""
        if self.parts is None:
            return None
        pairs = zip(self.parts, self.map.tolist(), strict=True)
        return [{"part": part, "weight": round(weight, 4)} for part, weight in pairs if part]

    @property
    def is_volume(self) -> bool:
        """Whether a volume was explained, no picture."""
        return self.map.ndim == 3

    def box(self, threshold: float = 0.15) -> tuple[int, int, int, int] | None:
        """Return the box (x1, y1, x2, y2) around the largest part of the map above *threshold* of its maximum."""
        return None if self.map.ndim != 2 else heatmap.box(self.map, threshold)

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
        boxes: bool = False,
    ) -> dict[str, Path]:
        """Write overlay (.png), map and raw map (.npy, the map of a NIfTI file .nii.gz); return their paths by kind.

        OutputError where that cannot be done.
        """
        folder, name = Path(directory), f"{stem}-{self.slug}-{self.method}"
        paths = {kind: folder / f"{name}{end}" for kind, end in _FILES.items()}
        with files.writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            if self.affine is not None:
                paths["map"] = paths["map"].with_suffix(".nii.gz")
                volume.write(paths["map"], self.map, self.affine)
            else:
                np.save(paths["map"], self.map)
            np.save(paths["raw"], self.raw)
        pictures.write(paths["overlay"], self.overlay(alpha, colormap, boxes))
        return paths
