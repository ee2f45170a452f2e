"""Random arrays for a model's inputs, and selection of its outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from onnxcam.errors import ConversionError, nearest

__all__ = ["random_feed", "select_outputs"]

_T = TypeVar("_T")
_BATCH = 2
_LENGTH = 96  # length of an open spatial axis: divisible by 2 five times, and large enough for Inception
_CHANNELS = 3


def random_feed(rng: np.random.Generator, shape: Sequence[int | None], dtype: Any) -> np.ndarray:
    """Return a random array of *shape* (None: an open axis) and *dtype*.

    Floats are in [0, 1), bytes cover their range, wider integers are in [0, 8).
    """
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
        return _BATCH
    return _CHANNELS if axis == last and last > 2 else _LENGTH


def select_outputs(outputs: Mapping[str, _T], wanted: Sequence[str] | None) -> dict[str, _T]:
    """Return the *wanted* outputs, or all for None; raise ConversionError for an unknown name."""
    missing = next((name for name in wanted or () if name not in outputs), None)
    if missing is not None:
        raise ConversionError(
            f"the model has no output {missing!r}; it has {', '.join(map(repr, outputs))}.{nearest(missing, outputs)}"
        )
    return {name: outputs[name] for name in wanted or outputs}
