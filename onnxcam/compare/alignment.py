"""Align two raw maps: one grid and one scale, so that they can be compared.

**Grid.** It covers the part of the image that both models see. It has the resolution of the finer map, and at least
`SIDE` pixels per side, because SSIM windows and the top fifth of the pixels need more than 3 × 3 cells. Maps are
resampled to it linearly along each axis (`resampled`). Maps of volumes have three axes, and a grid of at most `CELLS`.

**Scale.** Only the positive part of a map counts, in units of the score (dequantised for quantised models). A cell
holds the evidence of its area, so cells of a coarser map are larger: each map is multiplied by the number of its cells
per image, which gives evidence per area. Then both maps are divided by their *common* maximum. SSIM and strength depend
on this scale and detect a candidate that has the same map at a tenth of the strength; the correlations, IoU, distances
and energy do not. If the scores are integers without known units, there is no common scale: each map is divided by its
own maximum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.outcome import Outcome
from onnxcam.media import heatmap
from onnxcam.media.frame import Covered, Frame, covering
from onnxcam.media.resample import placed

__all__ = ["CELLS", "SIDE", "ComparisonGrid", "Heat", "MapEvidence", "common_grid", "resampled"]

SIDE = 56
"""Minimum side of the grid, and longest side of the stored maps, in pixels."""

CELLS = 2**24
"""Maximum cells of the grid of a volume: with more, the measures would need gigabytes."""

Heat = NDArray[np.float32]
_Intervals: TypeAlias = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class MapEvidence:
    """Positive part of a map per area, float32 [*space], and the part it covers of an image of *size*, (H, W)."""

    heat: Heat
    frame: Covered
    size: tuple[int, ...]

    @classmethod
    def of(cls, raw: NDArray[np.float32], outcome: Outcome) -> MapEvidence:
        """Return the evidence in the *raw* map [*space], one of those of *outcome*."""
        frame = outcome.frame or _whole(outcome.size)
        cells = raw.size * math.prod(outcome.size) / math.prod(map(_length, frame.intervals))
        return cls(np.maximum(raw, 0) * np.float32(cells), frame, outcome.size)

    def on(self, part: Covered, shape: tuple[int, ...]) -> Heat:
        """Return the map over a *part* of the image, resampled to *shape*."""
        inside = [
            ((start - first[0]) * n / _length(first), (end - first[0]) * n / _length(first))
            for (start, end), first, n in zip(self.frame.intervals, part.intervals, shape, strict=True)
        ]
        return resampled(self.heat, inside, shape)

    def over_picture(self) -> Heat:
        """Return the map at the size of the image."""
        return resampled(self.heat, self.frame.intervals, self.size)

    def thumbnail(self) -> Heat:
        """Return the map over the whole image, with `SIDE` pixels along the longest side."""
        scale = SIDE / max(self.size)
        shape = tuple(max(1, round(length * scale)) for length in self.size)
        steps = self._steps(shape)
        fine = tuple(n * step for n, step in zip(shape, steps, strict=True))
        return _shrunk(self.on(_whole(self.size), fine), shape, steps)

    def _steps(self, shape: tuple[int, ...]) -> list[int]:
        """Return the multiples of *shape* that are at least as fine as the map, so that no cell is skipped."""
        known = zip(self.heat.shape, self.size, self.frame.intervals, shape, strict=True)
        return [max(1, math.ceil(cells * size / _length(own) / n)) for cells, size, own, n in known]


@dataclass(frozen=True)
class ComparisonGrid:
    """Grid of *shape* over a *part* of an image of *size*, whose pixels have the lengths *unit*."""

    part: Covered
    shape: tuple[int, ...]
    size: tuple[int, ...]
    unit: tuple[float, ...]

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of neighbouring cells on each axis, as a fraction of the image diagonal."""
        diagonal = math.hypot(*(n * unit for n, unit in zip(self.size, self.unit, strict=True)))
        known = zip(self.part.intervals, self.shape, self.unit, strict=True)
        return tuple(_length(own) / n * unit / diagonal for own, n, unit in known)

    def align(self, first: MapEvidence, second: MapEvidence, *, shared: bool) -> tuple[Heat, Heat]:
        """Return both maps on the grid, in [0, 1]: divided by their common maximum if *shared*, else by their own."""
        a, b = (one.on(self.part, self.shape) for one in (first, second))
        tops = float(a.max()), float(b.max())
        own, other = (max(tops),) * 2 if shared else tops
        return a / np.float32(own or 1), b / np.float32(other or 1)


def common_grid(
    first: MapEvidence, second: MapEvidence, unit: tuple[float, ...] | None = None
) -> ComparisonGrid | None:
    """Return the grid for two maps; None if the models see no common part of the image.

    *unit* are the lengths of a pixel along the axes, in any unit; None: all are equal.
    """
    both = zip(first.size, first.frame.intervals, second.frame.intervals, strict=True)
    seen = [(max(0.0, a[0], b[0]), min(float(length), a[1], b[1])) for length, a, b in both]
    if any(end <= start for start, end in seen):
        return None
    shape = [
        max(SIDE, *(round(one.heat.shape[axis] * _length(own) / _length(one.frame.intervals[axis])) for one in pair))
        for axis, (own, pair) in enumerate((own, (first, second)) for own in seen)
    ]
    while len(shape) > 2 and math.prod(shape) > CELLS:
        longest = shape.index(max(shape))
        shape[longest] = -(-shape[longest] // 2)
    return ComparisonGrid(covering(seen), tuple(shape), first.size, unit or (1.0,) * len(seen))


def resampled(heat: Heat, intervals: _Intervals, shape: tuple[int, ...]) -> Heat:
    """Return *heat*, which covers *intervals* of the axes of a grid of *shape*, on that grid, zero beyond them."""
    frame = covering(intervals)
    if isinstance(frame, Frame):  # OpenCV is several times faster
        return heatmap.enlarge(heat, frame, (shape[0], shape[1]))
    return np.asarray(placed(heat.astype(np.float32), intervals, intervals, shape), np.float32)


def _whole(size: tuple[int, ...]) -> Covered:
    return covering([(0.0, float(length)) for length in size])


def _length(interval: tuple[float, float]) -> float:
    return interval[1] - interval[0]


def _shrunk(heat: Heat, shape: tuple[int, ...], steps: Sequence[int]) -> Heat:
    """Return the means of blocks of *steps* cells."""
    blocks = heat.reshape([n for pair in zip(shape, steps, strict=True) for n in pair])
    shrunk: Heat = blocks.mean(tuple(range(1, 2 * len(shape), 2)))
    return shrunk
