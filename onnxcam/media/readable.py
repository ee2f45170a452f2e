"""Small pictures enlarged to a readable size, pixel by pixel, and text that OpenCV can draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["drawable", "enlarged", "factor", "fitted", "shortened", "shrunk"]

Pixels = TypeVar("Pixels", np.uint8, np.float32)

_LEAST = 224
"""The shortest longer side of a picture that is written."""


def factor(size: Sequence[int]) -> int:
    """Return by how many times a picture of *size* (H, W) is enlarged; 1 where it is readable."""
    return max(1, -(-_LEAST // max(*size, 1)))


def enlarged(image: NDArray[Any], heat: NDArray[np.float32], times: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Return *image* [H, W, 3] with each pixel as a square of *times* pixels, and *heat* [H, W] resized bilinearly."""
    import cv2

    if times == 1:
        return image, heat
    height, width = heat.shape
    grown = cv2.resize(heat, (width * times, height * times), interpolation=cv2.INTER_LINEAR)
    return image.repeat(times, axis=0).repeat(times, axis=1), np.asarray(grown, np.float32)


def fitted(size: Sequence[int], longest: int) -> tuple[int, int]:
    """Return *size* (H, W), made smaller so that no side is above *longest*."""
    scale = min(1.0, longest / max(size[:2]))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def shrunk(image: NDArray[Pixels], size: tuple[int, int]) -> NDArray[Pixels]:
    """Return *image* [H, W, 3], or a map [H, W], in a smaller *size* (h, w)."""
    import cv2

    return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA), image.dtype)


def drawable(text: str) -> str:
    """Return *text* as OpenCV draws it: version 5 has fonts of all scripts, version 4 of ASCII, else ``?`` is drawn."""
    import cv2

    return text if hasattr(cv2, "FontFace") else text.encode("ascii", "replace").decode()


def shortened(text: str, width: int, font: int, scale: float, thickness: int) -> str:
    """Return *text*, drawable, or its beginning and three points, so that OpenCV draws it within *width* pixels."""
    import cv2

    text = drawable(text)
    for end in range(len(text), 0, -1):
        shown = text if end == len(text) else f"{text[:end]}..."
        if cv2.getTextSize(shown, font, scale, thickness)[0][0] <= width:
            return shown
    return ""
