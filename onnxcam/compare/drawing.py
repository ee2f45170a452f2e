"""What a model puts out for an image, drawn as a small image for reports."""

from __future__ import annotations

import base64
import binascii
import colorsys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.media.image import RgbImage

__all__ = ["LONGEST", "drawn_classes", "drawn_values", "packed", "unpacked"]

LONGEST = 160
"""Maximum longer side of a drawing, in pixels."""
_GROUND, _NONE = (52, 52, 52), (0, 0, 0)
"""Colours of the background, and of cells without a class."""
_TURN = 0.618034
"""Golden ratio: steps of it spread hues evenly, however many classes there are."""
_BYTES = 1 << 18


def drawn_classes(cells: NDArray[Any], background: int | None) -> RgbImage:
    """Return the class of each cell as a colour; of several classes in a cell, the first one. *cells* as in
    `onnxcam.compare.tasks.segmentation.SegmentationPrediction`.
    """
    small = _thinned(cells)
    if small.ndim == 3:
        small = np.where(small.any(axis=0), small.argmax(axis=0), -1)
    colours = np.array([_NONE, *(_colour(index, background) for index in range(int(small.max(initial=0)) + 1))])
    return np.asarray(colours[small + 1], np.uint8)


def drawn_values(values: NDArray[Any], low: float, high: float) -> RgbImage:
    """Return values [C, h, w] from *low* to *high* as colours: of three channels RGB, of others grey."""
    small = _thinned(values).astype(np.float64)
    if len(small) != 3:
        small = np.linalg.norm(small, axis=0)[None] if len(small) == 2 else small[:1]
    scaled = np.nan_to_num((small - low) / ((high - low) or 1)).clip(0, 1)
    return np.broadcast_to(np.round(255 * scaled.transpose(1, 2, 0)), (*small.shape[1:], 3)).astype(np.uint8)


def packed(drawing: RgbImage) -> str:
    """Return *drawing* as base64 of a PNG."""
    import cv2

    _, data = cv2.imencode(".png", np.ascontiguousarray(drawing[..., ::-1]))
    return base64.b64encode(data.tobytes()).decode("ascii")


def unpacked(text: object) -> RgbImage | None:
    """Return the drawing, the inverse of `packed`; None if *text* is none."""
    import cv2

    if not isinstance(text, str) or len(text) > 2 * _BYTES:
        return None
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    sides = [int.from_bytes(data[at : at + 4], "big") for at in (16, 20)]
    if data[:4] != b"\x89PNG" or not all(0 < side <= LONGEST for side in sides):
        return None
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return None if found is None else np.asarray(found[..., ::-1], np.uint8)


def _thinned(values: NDArray[Any]) -> NDArray[Any]:
    """Return every n-th row and column, so that no side is longer than `LONGEST`."""
    step = -(-max(values.shape[-2:]) // LONGEST)
    return values[..., ::step, ::step]


def _colour(index: int, background: int | None) -> tuple[int, ...]:
    if index == background:
        return _GROUND
    light = (0.95, 0.7)[index // 5 % 2]
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(index * _TURN % 1, 0.75, light))
