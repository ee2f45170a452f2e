"""Words → one picture: the image, and for each word the image under its map."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from onnxcam.describing.words import DescribedImage
from onnxcam.media import image as pictures
from onnxcam.media.readable import shortened

__all__ = ["sheet"]

_TILE, _LABEL, _GAP, _COLUMNS = 224, 30, 10, 7
_INK, _QUIET, _GROUND = (27, 28, 30), (110, 113, 120), 253
_FONT = cv2.FONT_HERSHEY_DUPLEX


def sheet(one: DescribedImage) -> NDArray[np.uint8]:
    """Return the sheet, uint8 [H, W, 3] RGB. With OpenCV 4, letters outside ASCII are ``?``."""
    tiles = [_tile(pictures.read(one.image), "image", one.method)]
    tiles += [_tile(pictures.read(word.overlay), word.word, f"p {word.probability}") for word in one.words]
    rows = -(-len(tiles) // _COLUMNS)
    columns = -(-len(tiles) // rows)
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    found = np.full((_GAP + rows * (height + _GAP), _GAP + columns * (width + _GAP), 3), _GROUND, np.uint8)
    for k, tile in enumerate(tiles):
        y, x = _GAP + k // columns * (height + _GAP), _GAP + k % columns * (width + _GAP)
        found[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return found


def _tile(picture: NDArray[np.uint8], word: str, beside: str) -> NDArray[np.uint8]:
    """Return *picture*, its longer side `_TILE`, under a line with *word* and, at its right, *beside*."""
    scale = _TILE / max(picture.shape[:2])
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST if scale >= 2 else cv2.INTER_CUBIC
    size = max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1)
    label = np.full((_LABEL, max(size[0], _TILE // 2), 3), _GROUND, np.uint8)
    (wide, _), _ = cv2.getTextSize(beside, _FONT, 0.42, 1)
    word = shortened(word, label.shape[1] - wide - _GAP, _FONT, 0.6, 1)
    cv2.putText(label, word, (0, 20), _FONT, 0.6, _INK, 1, cv2.LINE_AA)
    cv2.putText(label, beside, (label.shape[1] - wide, 20), _FONT, 0.42, _QUIET, 1, cv2.LINE_AA)
    tile = np.full((_LABEL + size[1], label.shape[1], 3), _GROUND, np.uint8)
    tile[:_LABEL] = label
    tile[_LABEL:, : size[0]] = cv2.resize(picture, size, interpolation=way)
    return tile
