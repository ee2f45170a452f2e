"""Boxes, polygons and run-length masks of the truth: checked against the image, and drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import TruthError
from onnxcam.media.components import components
from onnxcam.numbers import parse_float
from onnxcam.targets.notation import Corners
from onnxcam.text import in_message

__all__ = [
    "MAX_POINTS",
    "BoolMask",
    "around",
    "boxes_around",
    "check_size",
    "checked_box",
    "checked_points",
    "draw",
    "filled",
    "floats",
    "run_mask",
]

BoolMask: TypeAlias = NDArray[np.bool_]
MAX_POINTS = 10**5
"""Maximum number of points in one polygon."""
_OUTSIDE = 1.0
"""A box that reaches out of the image by less, in pixels, is clipped: rounding of the tool that wrote it."""


def floats(value: Any, count: int | None = None) -> list[float] | None:
    """Return the *count* numbers in the list *value*; None if it has others, or values that are no finite numbers."""
    if not isinstance(value, list | tuple) or (count is not None and len(value) != count):
        return None
    found = [parse_float(one) for one in value if isinstance(one, int | float) and not isinstance(one, bool)]
    known = [one for one in found if one is not None]
    return known if len(known) == len(value) else None


def check_size(height: Any, width: Any, size: tuple[int, int], where: str) -> None:
    """Raise TruthError if the truth is of an image of other *height* and *width* than *size*; 0 is unknown."""
    if all(isinstance(one, int) and one > 0 for one in (height, width)) and (height, width) != size:
        raise TruthError(
            f"{where}: the truth is of an image of {width} × {height} pixels, the file has {size[1]} × {size[0]}; "
            "give the images that were annotated"
        )


def checked_box(value: Any, size: tuple[int, int], where: str) -> Corners:
    """Return the box *value*, [x1, y1, x2, y2]; TruthError if it is empty or outside of an image of *size* (H, W)."""
    box = floats(value, 4)
    if box is None:
        raise TruthError(f"{where}: {in_message(repr(value))} is no box [x1, y1, x2, y2]")
    x1, y1, x2, y2 = box
    said = f"[{x1:g}, {y1:g}, {x2:g}, {y2:g}]"
    if x2 <= x1 or y2 <= y1:
        raise TruthError(f"{where}: box {said} is empty: x2 must be above x1, and y2 above y1")
    if min(x1, y1) <= -_OUTSIDE or x2 >= size[1] + _OUTSIDE or y2 >= size[0] + _OUTSIDE:
        raise TruthError(
            f"{where}: box {said} reaches out of the image of {size[1]} × {size[0]} pixels; was the image scaled?"
        )
    left, top, right, bottom = max(x1, 0.0), max(y1, 0.0), min(x2, float(size[1])), min(y2, float(size[0]))
    if right <= left or bottom <= top:
        raise TruthError(f"{where}: box {said} lies outside of the image of {size[1]} × {size[0]} pixels")
    return left, top, right, bottom


def checked_points(values: Any, where: str) -> NDArray[np.float64]:
    """Return the polygon *values*, x1, y1, x2, y2, …, as float64 [K, 2]; TruthError if it is none."""
    if isinstance(values, list | tuple) and len(values) > 2 * MAX_POINTS:
        raise TruthError(f"{where}: a polygon of {len(values) // 2} points; the limit is {MAX_POINTS}")
    found = floats(values)
    if found is None or len(found) % 2 or len(found) < 6:
        raise TruthError(f"{where}: {in_message(repr(values))} is no polygon [x1, y1, x2, y2, x3, y3, …]")
    return np.array(found).reshape(-1, 2)


def around(polygons: Sequence[NDArray[np.float64]], size: tuple[int, int], where: str) -> Corners:
    """Return the checked box around *polygons*."""
    points = np.concatenate(polygons)
    return checked_box([*points.min(0).tolist(), *points.max(0).tolist()], size, where)


def draw(polygons: Sequence[NDArray[np.float64]], size: tuple[int, int]) -> BoolMask:
    """Return the mask of pixels whose centre lies in a polygon; polygons without any mark the box around them."""
    mask = np.logical_or.reduce([_drawn(points, size) for points in polygons])
    if mask.any():
        return mask
    points = np.concatenate(polygons)
    return filled([(*points.min(0).tolist(), *points.max(0).tolist())], size)


def _drawn(points: NDArray[np.float64], size: tuple[int, int]) -> BoolMask:
    """Return the pixels with an odd number of edges on their left."""
    mask, full = np.zeros(size, bool), np.array(size[::-1])
    left, top = np.clip(np.floor(points.min(0)), 0, full).astype(int)
    right, bottom = np.clip(np.ceil(points.max(0)), 0, full).astype(int)
    edges = np.zeros((bottom - top, right - left + 1), np.int32)
    for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, 0), strict=True):
        low, high = (min(max(math.ceil(y - 0.5), top), bottom) for y in sorted((y1, y2)))
        rows = np.arange(low, high)
        if len(rows):
            across = x1 + (rows + 0.5 - y1) * (x2 - x1) / (y2 - y1)
            edges[rows - top, np.clip(np.ceil(across - 0.5), left, right).astype(int) - left] += 1
    mask[top:bottom, left:right] = edges.cumsum(1)[:, :-1] % 2
    return mask


def filled(boxes: Sequence[Sequence[float]], size: tuple[int, ...]) -> BoolMask:
    """Return the mask of pixels whose centre lies in one of *boxes*; a box without any marks its nearest pixel.

    The corners are the starts and then the ends on the axes of *size*, the last axis first: x1, y1, x2, y2.
    """
    mask = np.zeros(size, bool)
    for box in boxes:
        starts, ends = box[: len(size)][::-1], box[len(size) :][::-1]
        first = [min(max(round(low), 0), full - 1) for low, full in zip(starts, size, strict=True)]
        mask[tuple(slice(low, max(round(high), low + 1)) for low, high in zip(first, ends, strict=True))] = True
    return mask


def boxes_around(mask: BoolMask) -> tuple[tuple[float, ...], ...]:
    """Return the bounding box of each connected component of *mask*, see `onnxcam.media.components.components`."""
    return tuple(tuple(map(float, corners)) for corners, _ in components(mask))


def run_mask(counts: Any, size: tuple[int, int], where: str, order: str = "F") -> BoolMask:
    """Return the mask of COCO's run lengths, a list or compressed text; the first run is background.

    Args:
        counts: Run lengths.
        size: Height and width.
        where: Start of an error message.
        order: ``"F"``: runs go down the columns, as in COCO; ``"C"``: along the rows.
    """
    runs: Any = _uncompressed(counts) if isinstance(counts, str) else counts
    whole = isinstance(runs, list) and all(isinstance(run, int) and run >= 0 for run in runs)
    if not whole or sum(runs) != size[0] * size[1]:
        raise TruthError(f"{where}: the run lengths of a mask do not fill the image of {size[1]} × {size[0]} pixels")
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return values.reshape(size[::-1]).T if order == "F" else values.reshape(size)


def _uncompressed(text: str) -> list[int] | None:
    """Return the run lengths in COCO's compressed text: 6 bits for each character, differences from the third on."""
    runs: list[int] = []
    value = shift = 0
    for code in (ord(character) - 48 for character in text):
        if not 0 <= code < 64 or shift > 60:
            return None
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (1 << shift) if code & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs
