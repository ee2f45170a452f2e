"""Class maps of segmentations as text for the journal, and on the pixels of the image."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.media.frame import of_corners

__all__ = ["CropCorners", "on_pixels", "packed_cells", "seen_pixels", "unpacked_cells"]

CropCorners: TypeAlias = tuple[float, ...]
"""x0, y0, x1, y1 of the rectangle that the cells cover, in pixels of the image."""


def packed_cells(cells: NDArray[Any]) -> dict[str, Any]:
    """Return *cells*, int [*space] or bool [classes, *space], as JSON."""
    raw = np.packbits(cells) if cells.dtype == bool else cells.astype("<i2")
    data = base64.b64encode(zlib.compress(raw.tobytes(), 1)).decode("ascii")
    return {"shape": list(cells.shape), "stacked": cells.dtype == bool, "zlib": data}


def unpacked_cells(packed: Mapping[str, Any]) -> NDArray[Any]:
    """Return the cells, the inverse of `packed_cells`."""
    shape, data = tuple(packed["shape"]), zlib.decompress(base64.b64decode(packed["zlib"]))
    if not packed.get("stacked", len(shape) > 2):
        return np.frombuffer(data, "<i2").astype(np.int64).reshape(shape)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=int(np.prod(shape)))
    return bits.astype(bool).reshape(shape)


def on_pixels(cells: NDArray[Any], frame: CropCorners | None, size: tuple[int, ...]) -> NDArray[Any]:
    """Return for each pixel of an image of *size* (H, W) the class of the cell that it lies in, or of the nearest."""
    shape = cells.shape[-len(size) :]
    inside = [np.clip(one, 0, n - 1) for one, n in zip(_places(shape, frame, size), shape, strict=True)]
    where: Any = (..., *np.ix_(*inside))
    return np.asarray(cells[where])


def seen_pixels(shape: Sequence[int], frame: CropCorners | None, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the pixels of an image of *size* (H, W) that lie in a cell of a map of *shape*, bool [H, W]."""
    shape = shape[-len(size) :]
    inside = [(one >= 0) & (one < n) for one, n in zip(_places(shape, frame, size), shape, strict=True)]
    return np.asarray(reduce(np.logical_and.outer, inside))


def _places(cells: Sequence[int], frame: CropCorners | None, size: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """Return for each axis, rows first, the number of the cell in which each pixel lies."""
    whole = [(0.0, float(length)) for length in size]
    seen = whole if frame is None else of_corners(frame).intervals
    return [
        np.floor((np.arange(length) + 0.5 - start) * n / (end - start)).astype(np.int64)
        for n, (start, end), length in zip(cells, seen, size, strict=True)
    ]
