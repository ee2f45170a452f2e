"""Candidates on grids: the strides and anchors that give a number of candidates, and boxes relative to their cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from onnxcam.metadata.reading import Part
from onnxcam.targets.detectors.boxes import nowhere
from onnxcam.targets.goal import Array
from onnxcam.targets.scores import softmax

__all__ = ["GRID_FORMS", "GridConvention", "Level", "cells", "plan"]

Level: TypeAlias = "tuple[int, int]"
"""A grid: its stride in pixels, and the number of candidates in each cell."""

_STRIDES = (4, 8, 16, 32, 64, 128)
_MEDIAPIPE: tuple[tuple[Level, ...], ...] = (
    ((8, 2), (16, 6)),  # BlazeFace of 128, palms of 192 and 256
    ((16, 2), (32, 6)),  # BlazeFace of 256
    ((8, 2), (16, 2), (32, 6)),  # poses of 224
    ((4, 1),),  # BlazeFace, full range, of 192
    ((8, 1), (16, 1)),
)


def _plans() -> Iterator[tuple[Level, ...]]:
    """Yield the known plans, the likeliest first."""
    for anchors in (1, 3):
        for count in (3, 4, 5):
            yield tuple((stride, anchors) for stride in _STRIDES[1 : 1 + count])
    yield from _MEDIAPIPE
    for anchors in (1, 2, 3, 4, 5, 6, 9):
        for start in (1, 2, 0):
            for count in (3, 4, 5, 2, 1):
                yield tuple((stride, anchors) for stride in _STRIDES[start : start + count])


def plan(count: int, size: Sequence[int]) -> tuple[Level, ...] | None:
    """Return the grids over an image of *size* (height, width) that have *count* candidates together; None for none."""
    return next((levels for levels in _plans() if _count(levels, size) == count), None)


def _count(levels: Sequence[Level], size: Sequence[int]) -> int:
    return sum(anchors * -(-size[0] // stride) * -(-size[1] // stride) for stride, anchors in levels)


def cells(levels: Sequence[Level], size: Sequence[int]) -> Array:
    """Return column, row and stride of the cell of each candidate, [B, 3]: level by level, row by row."""
    return np.concatenate([_of_level(stride, anchors, size) for stride, anchors in levels])


def _of_level(stride: int, anchors: int, size: Sequence[int]) -> Array:
    rows, columns = np.mgrid[: -(-size[0] // stride), : -(-size[1] // stride)]
    one = np.stack([columns.reshape(-1), rows.reshape(-1), np.full(rows.size, stride)], axis=1)
    return np.repeat(one, anchors, axis=0).astype(np.float64)


def _centre(values: Array, cell: Array) -> Array:
    """Cells plus offsets, exponentials of sizes, both in strides (YOLOX, YuNet, PicoDet without its last step)."""
    stride = cell[:, 2:]
    middle, half = (values[:, :2] + cell[:, :2]) * stride, np.exp(values[:, 2:4].clip(max=20)) * stride / 2
    return np.concatenate([middle - half, middle + half], axis=1)


def _pixels(values: Array, cell: Array) -> Array:
    """Centres relative to that of the cell, and sizes, in pixels (MediaPipe)."""
    middle, half = (cell[:, :2] + 0.5) * cell[:, 2:] + values[:, :2], values[:, 2:4] / 2
    return np.concatenate([middle - half, middle + half], axis=1)


def _squashed(values: Array, cell: Array) -> Array:
    """Tanh of offsets in cells, sigmoid of sizes in parts of the grid (FastestDet)."""
    length = cell[:, :2].max(axis=0) + 1
    middle = (np.tanh(values[:, :2]) + cell[:, :2]) * cell[:, 2:]
    half = length * cell[:, 2:] / (1 + np.exp(-values[:, 2:4])) / 2
    return np.concatenate([middle - half, middle + half], axis=1)


def _sides(shift: float) -> Callable[[Array, Array], Array]:
    def corners(values: Array, cell: Array) -> Array:
        """Distances to the left, top, right and bottom side in strides."""
        anchor, far = (cell[:, :2] + shift) * cell[:, 2:], values[:, :4] * cell[:, 2:]
        return np.concatenate([anchor - far[:, :2], anchor + far[:, 2:]], axis=1)

    return corners


def _pixel_sides(values: Array, cell: Array) -> Array:
    """Distances to the left, top, right and bottom side in pixels (RTMDet)."""
    anchor = cell[:, :2] * cell[:, 2:]
    return np.concatenate([anchor - values[:, :2], anchor + values[:, 2:4]], axis=1)


def _points(values: Array, cell: Array) -> Array:
    """Offsets of middles in cells, sizes in strides (CenterNet)."""
    middle, half = (cell[:, :2] + values[:, :2]) * cell[:, 2:], values[:, 2:4] * cell[:, 2:] / 2
    return np.concatenate([middle - half, middle + half], axis=1)


def _log_points(values: Array, cell: Array) -> Array:
    """Offsets of middles in cells and logarithms of sizes in strides, y first (CenterFace)."""
    size = np.exp(values[:, [3, 2]].clip(max=20))
    return _points(np.concatenate([values[:, [1, 0]] + 0.5, size], axis=1), cell)


def _coverage(values: Array, cell: Array) -> Array:
    """Distances to four sides in units of 35 pixels (DetectNet_v2)."""
    anchor = cell[:, :2] * cell[:, 2:] + 0.5
    return np.concatenate([anchor - 35 * values[:, :2], anchor + 35 * values[:, 2:4]], axis=1)


def _bins(values: Array, cell: Array) -> Array:
    """Four distributions over distances in strides: distribution focal loss, DFL (YOLOv8, NanoDet)."""
    bins = values.reshape(len(values), 4, -1)
    return _sides(0.5)((softmax(bins) * np.arange(bins.shape[2])).sum(2), cell)


GRID_FORMS: Mapping[str, tuple[str, Callable[[Array, Array], Array]]] = {
    "centre": ("offsets and log sizes from the cells of a grid", _centre),
    "pixels": ("offsets in pixels from the cells of a grid, and sizes", _pixels),
    "squashed": ("tanh of offsets and sigmoid of sizes on a grid", _squashed),
    "sides": ("distances to four sides from the middles of the cells of a grid", _sides(0.5)),
    "sides at corners": ("distances to four sides from the corners of the cells of a grid", _sides(0)),
    "pixel sides": ("distances in pixels to four sides from the cells of a grid", _pixel_sides),
    "points": ("offsets of middles from the cells of a grid, and sizes in strides", _points),
    "log points": ("offsets of middles from the cells of a grid, and log sizes, y first", _log_points),
    "coverage": ("distances to four sides in units of 35 pixels from the cells of a grid", _coverage),
    "bins": ("distributions (DFL) of distances to four sides from the cells of a grid", _bins),
}
"""Forms of boxes on a grid by name: in words, and the function of values [B, K] and `cells` to corners in pixels."""


@dataclass(frozen=True)
class GridConvention:
    """How boxes relative to the cells of a grid are written.

    Attributes:
        form: A name in `GRID_FORMS`.
        levels: The grids; None: those of `plan`.
        source: How the convention is known, a key of `onnxcam.metadata.reading.SOURCES`.
    """

    form: str
    levels: tuple[Level, ...] | None = None
    source: str = "shapes"

    def corners(self, values: Array, size: tuple[int, ...]) -> Array:
        """Return the corners [B, 4] in pixels of boxes with *values* [B, K]; NaN where the grids do not fit."""
        levels = plan(len(values), size) if self.levels is None else self.levels
        if levels is None or _count(levels, size) != len(values):
            return nowhere(len(values))
        return GRID_FORMS[self.form][1](values.astype(np.float64), cells(levels, size))

    def decoded(self, values: Array, size: tuple[int, ...], candidate: int) -> Callable[[Array], Array]:
        """Return the function that decodes variants [M, K] of the values of *candidate*, as `corners` decodes all."""
        cell = cells(self.levels or plan(len(values), size) or (), size)

        def corners(variants: Array) -> Array:
            repeated = np.repeat(cell[candidate : candidate + 1], len(variants), axis=0)
            rows = np.concatenate([values.astype(np.float64), variants])
            return GRID_FORMS[self.form][1](rows, np.concatenate([cell, repeated]))[len(values) :]

        return corners

    def cells(self, count: int, size: tuple[int, ...]) -> Array | None:
        """Return the corners [B, 4] of the cells of *count* candidates, in pixels; None where the grids do not fit."""
        levels = plan(count, size) if self.levels is None else self.levels
        if levels is None or _count(levels, size) != count:
            return None
        cell = cells(levels, size)
        return np.concatenate([cell[:, :2], cell[:, :2] + 1], axis=1) * cell[:, 2:]

    def part(self, *outputs: str) -> Part:
        """Return the part of the reading for boxes in *outputs*."""
        return Part("boxes", f"{', '.join(map(repr, outputs))}, {GRID_FORMS[self.form][0]}", self.source)
