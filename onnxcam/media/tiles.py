"""Tiles: overlapping windows over an array larger than a network takes, and the weights that join their results.

Windows lie as in MONAI's SlidingWindowInferer: at steps of the window's length times (1 − overlap), the last one flush
with the border. Where an axis is shorter than the window, zeros are added evenly on both sides. The weights of a window
are a Gaussian around its centre, σ an eighth of its length, as in MONAI and nnU-Net, divided by their sum over all
windows. That sum is a product over the axes, so each axis has weights of its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import ModelError, PreprocessError

__all__ = ["OVERLAP", "Tile", "Tiling"]

OVERLAP = 0.5
"""The share of a window that the next one covers too: nnU-Net's."""
_SIGMA = 1 / 8
_MOST = 16384
_MOST_TILES = 20_000


@dataclass(frozen=True, eq=False)
class Tile:
    """One window.

    Attributes:
        starts: Where it starts on each axis of space; below zero where zeros are added.
        weights: The weights on each axis, float32, as many as the window is long; over all tiles they sum to 1.
    """

    starts: tuple[int, ...]
    weights: tuple[NDArray[np.float32], ...]

    def cut(self, array: NDArray[Any], axes: Sequence[int]) -> NDArray[Any]:
        """Return the window of *array* whose *axes* are those of space, zero beyond its borders."""
        whole, own = self._slices(array, axes)
        shape = list(array.shape)
        for axis, weights in zip(axes, self.weights, strict=True):
            shape[axis] = len(weights)
        found = np.zeros(shape, array.dtype)
        found[own] = array[whole]
        return found

    def inside(self, array: NDArray[Any], axes: Sequence[int]) -> NDArray[Any]:
        """Return the part of *array* that the window covers, a view."""
        return array[self._slices(array, axes)[0]]

    def kept(self, part: NDArray[Any], array: NDArray[Any], axes: Sequence[int]) -> NDArray[Any]:
        """Return what of *part*, of the window's size, lies within the borders of *array*, a view."""
        return part[self._slices(array, axes)[1]]

    def add(self, array: NDArray[Any], part: NDArray[Any], axes: Sequence[int]) -> None:
        """Add *part*, of the window's size, to *array* at the window; what lies beyond the borders is left out."""
        whole, own = self._slices(array, axes)
        array[whole] += part[own]

    def weighed(self, part: NDArray[Any], axes: Sequence[int]) -> NDArray[np.float32]:
        """Return *part*, of the window's size, times the weights."""
        found = part.astype(np.float32)
        for axis, weights in zip(axes, self.weights, strict=True):
            found *= weights.reshape([-1 if i == axis else 1 for i in range(part.ndim)])
        return found

    def _slices(self, array: NDArray[Any], axes: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Return the part of *array* that the window covers, and the part of the window that is inside *array*."""
        whole, own = [slice(None)] * array.ndim, [slice(None)] * array.ndim
        for axis, start, weights in zip(axes, self.starts, self.weights, strict=True):
            low, high = max(start, 0), min(start + len(weights), array.shape[axis])
            whole[axis], own[axis] = slice(low, high), slice(low - start, high - start)
        return tuple(whole), tuple(own)


@dataclass(frozen=True)
class Tiling:
    """Windows of one size.

    Attributes:
        window: Their length on each axis of space.
        overlap: The share of a window that the next one covers too, from 0 to below 1.
    """

    window: tuple[int, ...]
    overlap: float = OVERLAP

    def __post_init__(self) -> None:
        """Check the numbers. Raises PreprocessError."""
        if not self.window or not all(1 <= length <= _MOST for length in self.window):
            raise PreprocessError(f"the window is {self}; its lengths are whole numbers from 1 to {_MOST}")
        if not 0 <= self.overlap < 1:
            raise PreprocessError(f"the overlap of windows is {self.overlap:g}; it is a share from 0 to below 1")

    def __str__(self) -> str:
        return " × ".join(map(str, self.window))

    def tiles(self, size: Sequence[int], cells: Sequence[int] | None = None) -> list[Tile]:
        """Return the windows over an array of *size*.

        *cells* are the lengths of the output for one window, None for the window's: the tiles are then those of the
        output. ModelError where a window does not start at a cell of the output, PreprocessError for too many windows.
        """
        axes = [
            self._axis(axis, length, self.window[axis] if cells is None else cells[axis])
            for axis, length in enumerate(size)
        ]
        count = math.prod(map(len, axes))
        if count > _MOST_TILES:
            raise PreprocessError(
                f"the overlap of {self.overlap:g} gives {count:,} windows, more than {_MOST_TILES:,}; take a smaller "
                "one, or a larger window"
            )
        return [Tile(*zip(*one, strict=True)) for one in itertools.product(*axes)]

    def output_size(self, size: Sequence[int], cells: Sequence[int]) -> list[int]:
        """Return the size of the output for an array of *size*, of *cells* for one window."""
        return [length * count // window for length, count, window in zip(size, cells, self.window, strict=True)]

    def _axis(self, axis: int, length: int, cells: int) -> list[tuple[int, NDArray[np.float32]]]:
        """Return the starts of the windows on one axis in cells of the output, and their weights."""
        window = self.window[axis]
        starts = _starts(length, window, self.overlap)
        if any(start * cells % window for start in [*starts, length]):
            step = window // int(np.gcd(window, cells))
            raise ModelError(
                f"windows on axis {axis} start at {', '.join(map(str, starts))} of {length}, and the model's output "
                f"has {cells} cells for {window}: pad the input and choose an overlap that give multiples of {step}"
            )
        at = [start * cells // window for start in starts]
        low, high = min(at), max(at) + cells
        sums = np.zeros(high - low)
        bump = np.exp(-0.5 * ((np.arange(cells) - (cells - 1) / 2) / (cells * _SIGMA)) ** 2)
        for start in at:
            sums[start - low : start - low + cells] += bump
        return [(start, (bump / sums[start - low : start - low + cells]).astype(np.float32)) for start in at]


def _starts(length: int, window: int, overlap: float) -> list[int]:
    """Return where windows start on an axis of *length*."""
    if length <= window:
        return [-((window - length) // 2)]
    step = max(1, int(window * (1 - overlap)))
    return [min(start, length - window) for start in range(0, length - window + step, step)]
