"""Sizes and numbers as other tools' files state them."""

from __future__ import annotations

import math
from typing import Any

from onnxcam.errors import PreprocessError
from onnxcam.preprocess.transform import HeightWidth

__all__ = ["LONGEST", "Fields", "numbers", "read_size"]

Fields = dict[str, Any]
"""Fields of `Preprocess`, and ``fraction``, as `parser.build` takes them."""

LONGEST = 2**15
"""The longest side of an image, in pixels, that a file may require."""


def read_size(size: Any) -> HeightWidth:
    """Return a side, (height, width), or a dict of sides as (height, width). Raises PreprocessError."""
    if isinstance(size, dict):
        edge = size.get("shortest_edge")
        height, width = size.get("height", edge), size.get("width", edge)
    else:
        height, width = (size, size) if isinstance(size, int) else (size[0], size[1])
    sides = int(height), int(width)  # type: ignore[arg-type]  # refused above
    if not all(0 < side <= LONGEST for side in sides):
        raise PreprocessError(f"its size {sides[0]}×{sides[1]} is no size of an image; a side is 1 to {LONGEST} pixels")
    return sides


def numbers(values: Any) -> tuple[float, ...]:
    """Return a number, or a list of numbers, as a tuple. Raises ValueError if one is not finite."""
    found = tuple(float(value) for value in (values if isinstance(values, list | tuple) else [values]))
    if not all(map(math.isfinite, found)):
        raise ValueError(f"{found} are not all finite")
    return found
