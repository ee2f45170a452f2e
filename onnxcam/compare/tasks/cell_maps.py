"""Class maps of segmentations as text for the journal, and on the pixels of the image."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["CropCorners", "on_pixels", "packed_cells", "seen_pixels", "unpacked_cells"]

CropCorners: TypeAlias = tuple[float, ...]
"""x0, y0, x1, y1 of the rectangle that the cells cover, in pixels of the image."""


def packed_cells(cells: NDArray[Any]) -> dict[str, Any]:
    """Return *cells*, int [h, w] or bool [classes, h, w], as JSON."""
    raw = np.packbits(cells) if cells.dtype == bool else cells.astype("<i2")
    data = base64.b64encode(zlib.compress(raw.tobytes(), 1)).decode("ascii")
    return {"shape": list(cells.shape), "zlib": data}


def unpacked_cells(packed: Mapping[str, Any]) -> NDArray[Any]:
    """Return the cells, the inverse of `packed_cells`."""
    shape, data = tuple(packed["shape"]), zlib.decompress(base64.b64decode(packed["zlib"]))
    if len(shape) == 2:
        return np.frombuffer(data, "<i2").astype(np.int64).reshape(shape)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=int(np.prod(shape)))
    return bits.astype(bool).reshape(shape)


def on_pixels(cells: NDArray[Any], frame: CropCorners | None, size: tuple[int, int]) -> NDArray[Any]:
    """Return for each pixel of an image of *size* (H, W) the class of the cell that it lies in, or of the nearest."""
    rows, columns = (_places(axis, cells.shape[-2:], frame, size) for axis in (0, 1))
    inside = [np.clip(one, 0, length - 1) for one, length in zip((rows, columns), cells.shape[-2:], strict=True)]
    return np.asarray(cells[..., inside[0][:, None], inside[1]])


def seen_pixels(shape: Sequence[int], frame: CropCorners | None, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels of an image of *size* (H, W) that lie in a cell of a map of *shape*, bool [H, W]."""
    height, width = shape[-2:]
    rows, columns = (_places(axis, (height, width), frame, size) for axis in (0, 1))
    return np.asarray(((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width)))


def _places(axis: int, cells: tuple[int, ...], frame: CropCorners | None, size: tuple[int, int]) -> NDArray[np.int64]:
    """Return the row (axis 0) or column (axis 1) of cells in which each pixel lies."""
    start, end = (0.0, float(size[axis])) if frame is None else (frame[1 - axis], frame[3 - axis])
    return np.floor((np.arange(size[axis]) + 0.5 - start) * cells[axis] / (end - start)).astype(np.int64)
