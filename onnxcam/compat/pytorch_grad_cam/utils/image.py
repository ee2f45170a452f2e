"""pytorch-grad-cam's way from a picture to a tensor, and from a map to a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.compat.arrays import as_array
from onnxcam.errors import ImageError

__all__ = ["deprocess_image", "preprocess_image", "show_cam_on_image"]

_HALF = (0.5, 0.5, 0.5)
_JET = 2  # cv2.COLORMAP_JET
_ROUNDING = 1e-5


def preprocess_image(img: Any, mean: Sequence[float] = _HALF, std: Sequence[float] = _HALF) -> NDArray[np.float32]:
    """Return an image [H, W, 3], float in [0, 1] or uint8, as a tensor float32 [1, 3, H, W]: (x − *mean*) / *std*.

    ImageError for another shape.
    """
    image = as_array(img)
    if image.ndim != 3:
        raise _of_shape(image)
    values = image.astype(np.float32) / (255 if image.dtype == np.uint8 else 1)
    scaled = (values - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.moveaxis(scaled, -1, 0)[None].astype(np.float32)


def deprocess_image(img: Any) -> NDArray[np.uint8]:
    """Return a signed map, such as guided backpropagation's, as a picture uint8: mean grey, deviation a tenth."""
    values = as_array(img)
    values = (values - values.mean()) / (values.std() + 1e-5)
    return (np.clip(values * 0.1 + 0.5, 0, 1) * 255).astype(np.uint8)


def show_cam_on_image(
    img: Any, mask: Any, use_rgb: bool = False, colormap: int = _JET, image_weight: float = 0.5
) -> NDArray[np.uint8]:
    """Return the map *mask* [H, W] in [0, 1] over an image *img* float [H, W, 3] in [0, 1], uint8 [H, W, 3].

    The colours are RGB with *use_rgb*, as *img* then is, else BGR. *colormap* is one of OpenCV's numbers. The brightest
    value of the result is 255. ImageError for an *img* or a *mask* outside [0, 1], of different sizes, or a weight
    outside [0, 1].
    """
    import cv2

    image, cam = as_array(img), as_array(mask).astype(np.float32)
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise _of_shape(image)
    if cam.shape != image.shape[:2]:
        raise ImageError(
            f"the map has the shape {list(cam.shape)} and the image {list(image.shape)}; give one map [H, W] of the "
            f"image's size {list(image.shape[:2])}, such as grayscale_cam[0]"
        )
    if not image.max() <= 1:
        raise ImageError(f"the image has values up to {image.max():g}; give one in [0, 1], such as img / 255")
    if not (cam.min() >= 0 and cam.max() <= 1 + _ROUNDING):
        raise ImageError(f"the map has values from {cam.min():g} to {cam.max():g}; give one in [0, 1]")
    if not 0 <= image_weight <= 1:
        raise ImageError(f"image_weight is {image_weight:g}; give a share of the image, from 0 to 1")
    heat = cv2.applyColorMap((255 * np.minimum(cam, 1)).astype(np.uint8), colormap)
    mixed = (1 - image_weight) * (heat[..., ::-1] if use_rgb else heat) / 255 + image_weight * image
    return np.asarray(255 * (mixed / mixed.max())).astype(np.uint8)


def _of_shape(image: NDArray[Any]) -> ImageError:
    """Return the error of an *image* that is not [H, W, 3]."""
    return ImageError(f"the image has the shape {list(image.shape)}; give one [H, W, 3], such as an RGB photo")
