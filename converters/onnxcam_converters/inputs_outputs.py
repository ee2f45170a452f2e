"""What goes in and comes out: random feeds for inputs of known shape and dtype, and the outputs to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from onnxcam.errors import ConversionError, nearest

T = TypeVar("T")
BATCH = 2
LENGTH = 96  # of an open axis of space: five halvings of it, and Inception's first layers, come out whole
CHANNELS = 3


def random_feed(rng: np.random.Generator, shape: Sequence[int | None], dtype: Any) -> np.ndarray:
    """Return an array as a picture could be: in [0, 1) for floats, over the range of the dtype for bytes."""
    last = len(shape) - 1
    lengths = [_length(axis, length, last) for axis, length in enumerate(shape)]
    kind = np.dtype(dtype)
    if kind.kind == "b":
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


def select_outputs(outputs: Mapping[str, T], wanted: Sequence[str] | None) -> dict[str, T]:
    """Return the *wanted* of the *outputs*, all for None; ConversionError where one is missing."""
    missing = next((name for name in wanted or () if name not in outputs), None)
    if missing is not None:
        raise ConversionError(
            f"the model has no output {missing!r}, but {', '.join(map(repr, outputs))}.{nearest(missing, outputs)}"
        )
    return {name: outputs[name] for name in wanted or outputs}
