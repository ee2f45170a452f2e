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

__all__ = ["BLUR", "DEFAULTS", "EQUAL", "ImageObservation", "ImagePrediction"]

DEFAULTS = "psnr>=30, image_ssim>=0.9, detail>=0.94, mapped>=0.95, pearson>=0.7, iou>=0.4"
"""Default requirements, for a quantised model from image to image against its float reference.

Measured on models/upscaler, models/brightener and an ESPCN (4 photos), as static int8 and with one activation scale
divided by 12, at three to five places. Sound: `detail` is 0.99, 0.96 and 0.98, `psnr` 54.7, 31.8 and 43.6. Spoilt:
`detail` is at most 0.92, 0.77 and 0.45. `psnr` and `image_ssim` alone do not tell: they reach 40.9 and 0.99 in an
upscaler that is spoilt in its middle, because most of an image is in its coarse parts.
"""

EQUAL = 100.0
"""PSNR of equal images, in decibels."""
BLUR = 1.5
"""Standard deviation, in pixels, of the blur whose difference from the image is its detail."""
_BYTES = 16  # values above this are of 0 to 255
_NOISE = 1e-6  # of the range: detail below this is rounding


@dataclass(frozen=True)
class ImagePrediction(Prediction):
    """Image that a model puts out, float32 [C, h, w]."""

    image: NDArray[np.float32]

    task = "image"
    metrics = ("psnr", "image_ssim", "detail")
    defaults = DEFAULTS
    forms: ClassVar[Mapping[str, str]] = {
        "image": "float [c, h, w]",
    }

    def answer(self, names: Sequence[str] | None) -> Answer:
        """Return the size of the image."""
        _, height, width = self.image.shape
        return Answer(f"an image of {width} × {height} pixels", None, {"size": [height, width]})

    @property
    def ends(self) -> tuple[float, float]:
        """Return the range of the pixels: 0 to 1, −1 to 1 or 0 to 255, as the values are; else that of the values."""
        low, high = float(self.image.min()), float(self.image.max())
        if max(high, -low) > _BYTES:
            return 0.0, 255.0
        if max(high, -low) > 2:
            return low, high
        return (-1.0, 1.0) if low < -0.5 else (0.0, 1.0)

    def drawing(self, reference: ImagePrediction) -> RgbImage:
        """Return the image."""
        return drawn_values(self.image, *reference.ends)

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
        low, high = self.ends
        error, peak = float(np.square(a - b).mean()), high - low
        psnr = min(EQUAL, 10 * math.log10(peak**2 / error)) if error else EQUAL
        structure = [similarity.ssim(one - low, two - low, peak) for one, two in zip(a, b, strict=True)]
        small = not np.isfinite(structure).all()
        notes = ["no image_ssim: the images are smaller than its window, 11 × 11"] if small else []
        detail = _detail_agreement(a, b, peak)
        if math.isnan(detail):
            notes.append("no detail: the reference's image has none")
        return Agreement({"psnr": psnr, "image_ssim": float(np.mean(structure)), "detail": detail}, notes)


def _detail_agreement(a: NDArray[np.float64], b: NDArray[np.float64], peak: float) -> float:
    """Return the correlation of two images' detail; 0 if *b* alone has none, NaN if *a* alone has none."""
    first, second = (_detail(one).reshape(-1) for one in (a, b))
    some = [bool(np.abs(one).max() > _NOISE * peak) for one in (first, second)]
    if all(some):
        return similarity.cosine(first, second)
    return 0.0 if some[0] else math.nan if some[1] else 1.0


def _detail(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what a blur by `BLUR` pixels removes of an image [C, h, w]."""
    import cv2

    return np.stack([one - cv2.GaussianBlur(one, (0, 0), BLUR) for one in image])


class ImageObservation(Observation):
    """Models from image to image. The default patch of `onnxcam explain` is explained."""

    task = ImageToImage
    prediction = ImagePrediction
    in_images = True

    def predict(self, model: Observed, look: Look) -> ImagePrediction:
        """Return the output image."""
        assert isinstance(model.network.task, ImageToImage)
        return ImagePrediction(model.network.task.output.read(look).astype(np.float32))

    def targets(self, model: Observed, prediction: Prediction) -> Wanted:
        """Return the default target."""
        return ["top"]
