"""Resize arrays of any number of axes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "AxisInterval", "placed", "resized"]

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

    Between the cells of *array* it is interpolated linearly, beyond them repeated; outside *seen* it is 0.
    """
    for (start, end), (low, high), length in zip(intervals, seen, size, strict=True):
        old, centres = array.shape[0], np.arange(length) + 0.5
        places = np.clip((centres - start) * old / (end - start) - 0.5, 0, old - 1)
        weights = np.maximum(0, 1 - np.abs(places - np.arange(old)[:, None])) * ((centres >= low) & (centres <= high))
        array = (array.reshape(old, -1).T @ weights.astype(np.float32)).reshape(*array.shape[1:], length)
    return array


@lru_cache(maxsize=64)
def _linear(old: int, new: int) -> Array:
    """Return the matrix [old, new] of linear interpolation."""
    places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.maximum(0, 1 - np.abs(places - np.arange(old)[:, None])).astype(np.float32)
