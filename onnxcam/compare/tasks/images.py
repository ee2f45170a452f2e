"""Comparison of output images, such as those of an upscaler."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare import similarity
from onnxcam.compare.drawing import drawn_values
from onnxcam.compare.outcome import Agreement, Answer, Prediction
from onnxcam.compare.tasks.observation import Observation, Observed, Wanted
from onnxcam.errors import MetricError
from onnxcam.media.image import RgbImage
from onnxcam.targets.goal import Look
from onnxcam.targets.image_to_image import ImageToImage

__all__ = ["DEFAULTS", "EQUAL", "ImageObservation", "ImagePrediction"]

DEFAULTS = "psnr>=35, image_ssim>=0.95, mapped>=0.95, pearson>=0.7, iou>=0.4"
"""Default requirements, for a quantised model from image to image against its float reference.

Measured on models/upscaler, as static int8 and with the scale of its first, second and last activations divided by 12:
`psnr` is 54.5 sound, 7.1, 37.2 and 7.2 spoilt; `image_ssim` 1.00, 0.24, 0.95 and 0.25; `pearson` 0.98, 0.03, 0.54 and
no map.
"""

EQUAL = 100.0
"""PSNR of equal images, in decibels."""


@dataclass(frozen=True)
class ImagePrediction(Prediction):
    """Image that a model puts out, float32 [C, h, w]."""

    image: NDArray[np.float32]

    task = "image"
    metrics = ("psnr", "image_ssim")
    defaults = DEFAULTS
    forms: ClassVar[Mapping[str, str]] = {
        "image": "float [c, h, w]",
    }

    def answer(self, names: Sequence[str] | None) -> Answer:
        """Return the size of the image."""
        _, height, width = self.image.shape
        return Answer(f"an image of {width} × {height} pixels", None, {"size": [height, width]})

    @property
    def peak(self) -> float:
        """Return the range of the pixels: 1, 2 (from −1 to 1) or 255, as the values are."""
        low, high = float(self.image.min()), float(self.image.max())
        if max(high, -low) > 2:
            return 255.0
        return 2.0 if low < -0.5 else 1.0

    def drawing(self, reference: ImagePrediction) -> RgbImage:
        """Return the image."""
        return drawn_values(self.image, -1 if reference.peak == 2 else 0, reference.peak / (1 + (reference.peak == 2)))

    def compare(self, candidate: ImagePrediction) -> Agreement:
        """Compare pixel by pixel."""
        if self.image.shape != candidate.image.shape:
            shapes = [" × ".join(map(str, one.image.shape)) for one in (self, candidate)]
            raise MetricError(
                f"the reference puts out an image of {shapes[0]} values (channels, height, width) and the candidate "
                f"one of {shapes[1]}: images are compared pixel by pixel; export both with one size"
            )
        wrong = [
            f"the {side}'s image holds NaN or infinity"
            for side, one in (("reference", self), ("candidate", candidate))
            if not np.isfinite(one.image).all()
        ]
        if wrong:
            return Agreement({}, wrong)
        a, b = self.image.astype(np.float64), candidate.image.astype(np.float64)
        error = float(np.square(a - b).mean())
        psnr = min(EQUAL, 10 * math.log10(self.peak**2 / error)) if error else EQUAL
        dark = 1.0 if self.peak == 2 else 0.0  # the formula compares means, which are 0 of grey from -1 to 1
        structure = [similarity.ssim(one + dark, two + dark, self.peak) for one, two in zip(a, b, strict=True)]
        small = not np.isfinite(structure).all()
        notes = ["no image_ssim: the images are smaller than its window, 11 × 11"] if small else []
        return Agreement({"psnr": psnr, "image_ssim": float(np.mean(structure))}, notes)


class ImageObservation(Observation):
    """Models from image to image. The default patch of `onnxcam explain` is explained."""

    task = ImageToImage
    prediction = ImagePrediction

    def predict(self, model: Observed, look: Look) -> ImagePrediction:
        """Return the output image."""
        assert isinstance(model.network.task, ImageToImage)
        return ImagePrediction(model.network.task.output.read(look).astype(np.float32))

    def targets(self, model: Observed, prediction: Prediction) -> Wanted:
        """Return the default target."""
        return ["top"]
