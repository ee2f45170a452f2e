"""Marks on the pictures of a report: boxes, points, differences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxcam.media import heatmap
from onnxcam.media.image import RgbImage

__all__ = ["FULL", "boxed", "changes", "dotted", "enlarged", "nearest", "pale", "signed"]

FULL = 64
"""Difference of drawn outputs that is fully red; pixels are from 0 to 255."""
_FARTHEST = 1e5  # coordinate of a point, in pixels


def enlarged(kept: NDArray[np.floating], size: tuple[int, int]) -> heatmap.Map:
    """Return a map [h, w] at *size*, in [0, 1]."""
    import cv2

    large = cv2.resize(kept.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.clip(large, 0, 1)


def changes(ground: RgbImage, first: RgbImage, second: RgbImage) -> RgbImage:
    """Return where two drawings differ, over *ground* in pale grey."""
    change = np.abs(first.astype(np.float32) - second).max(axis=2) / FULL
    return heatmap.overlay(pale(ground), signed(np.minimum(change, 1)), 0.9)


def nearest(drawing: RgbImage, size: tuple[int, int]) -> RgbImage:
    """Return *drawing* at *size*, each pixel as the nearest one."""
    import cv2

    return np.asarray(cv2.resize(drawing, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def dotted(picture: RgbImage, point: Sequence[float | None], colour: Sequence[int], size: tuple[int, ...]) -> RgbImage:
    """Return a copy of *picture* with a *point* in pixels of an image of *size* (H, W)."""
    import cv2

    x, y = point
    if x is None or y is None or max(abs(x), abs(y)) > _FARTHEST:
        return picture
    centre = round(x * picture.shape[1] / size[1]), round(y * picture.shape[0] / size[0])
    radius = max(1, max(picture.shape) // 100)
    return np.asarray(cv2.circle(np.array(picture), centre, radius, tuple(colour), -1), np.uint8)


def boxed(picture: RgbImage, box: Sequence[float] | None, colour: Sequence[int], size: tuple[int, ...]) -> RgbImage:
    """Return a copy of *picture* with a *box* in pixels of an image of *size* (H, W)."""
    import cv2

    if box is None:
        return picture
    x, y = picture.shape[1] / size[1], picture.shape[0] / size[0]
    (x1, y1), (x2, y2) = ((round(box[at] * x), round(box[at + 1] * y)) for at in (0, 2))
    return np.asarray(cv2.rectangle(np.array(picture), (x1, y1), (x2, y2), tuple(colour), 2), np.uint8)


def signed(difference: heatmap.Map) -> heatmap.Map:
    """Return *difference* with a negative value, by which `overlay` recognises a signed map."""
    difference.flat[0] = min(difference.flat[0], -1e-6)
    return difference


def pale(picture: RgbImage) -> RgbImage:
    """Return *picture* in pale grey, so that only the difference has colour."""
    grey = picture.mean(axis=2, keepdims=True)
    return np.broadcast_to(np.round((255 + grey) / 2), picture.shape).astype(np.uint8)
