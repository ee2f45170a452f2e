"""What a row says of a picture and its map in few numbers: where the map lies, what the picture looks like."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.explainer.explanation import Explanation
from onnxcam.media import heatmap
from onnxcam.media.image import RgbImage

__all__ = ["BORDER", "CORNER", "HEAT", "THUMBNAIL", "look_of", "measures"]

HEAT = 16
"""Side of the map over the whole picture."""
THUMBNAIL = 16
"""Side of the thumbnail."""
BORDER, CORNER = 0.1, 0.2
"""Width of the border, and side of a corner, relative to the picture's sides."""
_LONGEST = 128  # pixels of the side on which maps are measured


def measures(explanation: Explanation, truth: NDArray[np.bool_] | None) -> dict[str, Any]:
    """Return the columns of a row that describe the map of an image; *truth* [H, W] is the object.

    They are measured on the map resized to at most 128 pixels a side: ``map_x`` and ``map_y``, its centre of mass
    relative to width and height; ``map_area``, the share of the picture above half of the maximum; ``map_border``,
    ``map_corners`` and ``map_truth``, the shares of the map's sum there; ``truth_area``, that of the object's area.
    They are null where the map is zero, or the input is no image.
    """
    raw = explanation.raw
    found: dict[str, Any] = {"map_min": float(raw.min()), "map_max": float(raw.max())} if raw.size else {}
    if explanation.map_at is None or explanation.affine is not None or explanation.image.shape[2:] != (3,):
        return found
    height, width = explanation.image.shape[:2]
    scale = min(1.0, _LONGEST / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    heat = np.maximum(explanation.map_at(size), 0)
    total = float(heat.sum(dtype=np.float64))
    found |= {"heat": _heat(heat)}
    if truth is not None:
        object_ = _resized(truth.astype(np.float32), size)
        found["truth_area"] = float(object_.mean(dtype=np.float64))
    if total <= 0:
        return found
    if truth is not None:
        found["map_truth"] = float((heat * object_).sum(dtype=np.float64) / total)
    return found | {
        "box": _box(heat, explanation.threshold, size, (height, width)),
        "map_area": np.count_nonzero(heat >= 0.5 * heat.max()) / heat.size,
        "map_x": _centre(heat.sum(axis=0, dtype=np.float64)),
        "map_y": _centre(heat.sum(axis=1, dtype=np.float64)),
        "map_border": 1 - _within(heat, *(1 - _edges(length, BORDER) for length in size)) / total,
        "map_corners": _within(heat, *(_edges(length, CORNER) for length in size)) / total,
    }


def look_of(picture: RgbImage) -> dict[str, Any]:
    """Return the columns that describe a *picture*: its size, thumbnail, and a hash that near duplicates share.

    The hash has a bit for each of 8 × 8 neighbours in a row of the grey picture resized to 9 × 8: whether the right one
    is brighter (dHash).
    """
    import cv2

    small = _resized(_halved(picture), (64, 64))
    grey = _resized(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), (8, 9)).astype(np.int16)
    bits = np.packbits(np.diff(grey, axis=1) > 0)
    return {
        "height": picture.shape[0],
        "width": picture.shape[1],
        "thumbnail": _resized(small, (THUMBNAIL, THUMBNAIL)).tobytes(),
        "dhash": int.from_bytes(bits.tobytes(), "big"),
    }


def _halved(picture: RgbImage) -> RgbImage:
    """Return *picture* halved until a side is below 128 pixels: the mean of 2 × 2 pixels is fast to compute."""
    while min(picture.shape[:2]) >= 128:
        height, width = picture.shape[0] // 2, picture.shape[1] // 2
        picture = _resized(picture[: 2 * height, : 2 * width], (height, width))
    return picture


def _resized(array: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Return *array* resized to *size* (H, W) by the mean of areas."""
    import cv2

    return np.asarray(cv2.resize(array, (size[1], size[0]), interpolation=cv2.INTER_AREA))


def _heat(heat: NDArray[np.float32]) -> bytes:
    small = _resized(heat, (HEAT, HEAT))
    top = float(small.max(initial=0))
    return np.rint(small * (255 / top if top > 0 else 0)).astype(np.uint8).tobytes()


def _box(
    heat: NDArray[np.float32], threshold: float, size: tuple[int, int], whole: tuple[int, int]
) -> list[int] | None:
    """Return the box around the map's largest region, in pixels of the picture."""
    found = heatmap.box(heat, threshold)
    if found is None:
        return None
    y, x = whole[0] / size[0], whole[1] / size[1]
    return [round(found[0] * x), round(found[1] * y), round(found[2] * x), round(found[3] * y)]


def _centre(sums: NDArray[np.float64]) -> float:
    return float((sums * (np.arange(len(sums)) + 0.5)).sum() / sums.sum() / len(sums))


@lru_cache(maxsize=64)
def _edges(length: int, share: float) -> NDArray[np.float64]:
    """Return the part of each of *length* pixels that lies within *share* of the length from either end."""
    near = np.clip(share * length - np.arange(length), 0, 1)
    return np.minimum(near + near[::-1], 1)


def _within(heat: NDArray[np.float32], rows: NDArray[np.float64], columns: NDArray[np.float64]) -> float:
    """Return the sum of *heat*, weighted by *rows* and *columns*."""
    return float(rows @ heat.astype(np.float64) @ columns)
