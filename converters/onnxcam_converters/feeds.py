"""Random feeds, for models whose inputs are known by shape and dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

BATCH = 2
LENGTH = 96  # of an open axis of space: five halvings of it, and Inception's first layers, come out whole
CHANNELS = 3


def random_feed(rng: np.random.Generator, shape: Sequence[int | None], dtype: Any) -> np.ndarray:
    """Return an array as a picture could be: in [0, 1) for floats, over the range of the dtype for bytes."""
    last = len(shape) - 1
    lengths = [_length(axis, length, last) for axis, length in enumerate(shape)]
    kind = np.dtype(dtype)
    if kind == bool:
        return rng.random(lengths) < 0.5
    if kind.kind == "f":
        return rng.random(lengths).astype(kind)
    low, high = (np.iinfo(kind).min, np.iinfo(kind).max) if kind.itemsize == 1 else (0, 8)
    return rng.integers(low, high, lengths, endpoint=kind.itemsize == 1).astype(kind)


def _length(axis: int, length: int | None, last: int) -> int:
    if length is not None and length > 0:
        return int(length)
    if axis == 0:
        return BATCH
    return CHANNELS if axis == last and last > 2 else LENGTH
