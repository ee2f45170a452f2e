"""Resize arrays of any number of axes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "AxisInterval", "coverage", "placed", "resized"]

Array: TypeAlias = NDArray[Any]
AxisInterval: TypeAlias = tuple[float, float]


def resized(array: Array, size: Sequence[int]) -> Array:
    """Resize *array* [*space] to *size* by linear interpolation with half-pixel centres and repeated edges."""
    for length in size:  # each step moves the first axis to the end
        old = array.shape[0]
        array = (array.reshape(old, -1).T @ _linear(old, length)).reshape(*array.shape[1:], length)
    return array


def placed(array: Array, intervals: Sequence[AxisInterval], seen: Sequence[AxisInterval], size: Sequence[int]) -> Array:
    """Return *array* [*space], whose axes cover the *intervals*, on a grid of *size* cells of length 1.

    Between the cells of *array* it is interpolated linearly; beyond them it falls, as in `coverage`.
    """
    for (start, end), (low, high), length in zip(intervals, seen, size, strict=True):
        old, centres = array.shape[0], np.arange(length) + 0.5
        places = np.clip((centres - start) * old / (end - start) - 0.5, 0, old - 1)
        weights = np.maximum(0, 1 - np.abs(places - np.arange(old)[:, None])) * coverage(
            centres, (start, end), (low, high)
        )
        array = (array.reshape(old, -1).T @ weights.astype(np.float32)).reshape(*array.shape[1:], length)
    return array


def coverage(centres: Array, cells: AxisInterval, seen: AxisInterval) -> Array:
    """Return the weight of pixels with these *centres* in a map that covers *cells*: 1 there, 0 outside *seen*.

    A network without padding sees more than its cells cover. There the weight falls linearly, so that the map has its
    peak at the cell and not at the edge of the image.
    """
    weights = ((centres >= seen[0]) & (centres <= seen[1])).astype(np.float32)
    for (cell, edge), sign in zip(zip(cells, seen, strict=True), (1, -1), strict=True):
        margin = (cell - edge) * sign
        if margin > 0:
            weights *= np.clip((centres - edge) * sign / margin, 0, 1)
    return weights


@lru_cache(maxsize=64)
def _linear(old: int, new: int) -> Array:
    """Return the matrix [old, new] of linear interpolation."""
    places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.maximum(0, 1 - np.abs(places - np.arange(old)[:, None])).astype(np.float32)
