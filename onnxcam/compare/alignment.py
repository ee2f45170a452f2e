"""Align two raw maps: one grid and one scale, so that they can be compared.

**Grid.** It covers the part of the image that both models see. It has the resolution of the finer map, and at least
`SIDE` pixels per side, because SSIM windows and the top fifth of the pixels need more than 3 × 3 cells. Maps are
resampled to it bilinearly (`heatmap.enlarge`).

**Scale.** Only the positive part of a map counts, in units of the score (dequantised for quantised models). A cell
holds the evidence of its area, so cells of a coarser map are larger: each map is multiplied by the number of its cells
per image, which gives evidence per area. Then both maps are divided by their *common* maximum. SSIM and strength depend
on this scale and detect a candidate that has the same map at a tenth of the strength; the correlations, IoU, distances
and energy do not. If the scores are integers without known units, there is no common scale: each map is divided by its
own maximum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.outcome import Outcome
from onnxcam.media import heatmap
from onnxcam.media.frame import Frame

__all__ = ["SIDE", "ComparisonGrid", "Heat", "MapEvidence", "common_grid"]

SIDE = 56
"""Minimum side of the grid, and longer side of the stored maps, in pixels."""

Heat = NDArray[np.float32]


@dataclass(frozen=True)
class MapEvidence:
    """Positive part of a map per area, float32 [h, w], and the rectangle it covers in an image of *size* (H, W)."""

    heat: Heat
    frame: Frame
    size: tuple[int, int]

    @classmethod
    def of(cls, raw: NDArray[np.float32], outcome: Outcome) -> MapEvidence:
        """Return the evidence in the *raw* map [h, w], one of those of *outcome*."""
        height, width = outcome.size
        frame = outcome.frame or Frame(0, 0, width, height)
        cells = raw.size * width * height / (_span(frame, 0) * _span(frame, 1))
        return cls(np.maximum(raw, 0) * np.float32(cells), frame, outcome.size)

    def on(self, rectangle: Frame, shape: tuple[int, int]) -> Heat:
        """Return the map over a *rectangle* of the image, resampled to *shape* (h, w)."""
        y, x = (_span(rectangle, axis) / length for axis, length in enumerate(shape))
        own, first = self.frame, rectangle
        frame = Frame(
            (own.x0 - first.x0) / x, (own.y0 - first.y0) / y, (own.x1 - first.x0) / x, (own.y1 - first.y0) / y
        )
        return heatmap.enlarge(self.heat, frame, shape)

    def over_picture(self) -> Heat:
        """Return the map at the size of the image, [H, W]."""
        return heatmap.enlarge(self.heat, self.frame, self.size)

    def thumbnail(self) -> Heat:
        """Return the map over the whole image, with `SIDE` pixels along the longer side."""
        height, width = self.size
        scale = SIDE / max(self.size)
        shape = max(1, round(height * scale)), max(1, round(width * scale))
        return _shrunk(self.on(Frame(0, 0, width, height), self._fine(shape)), shape)

    def _fine(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return an integer multiple of *shape* that is at least as fine as the map, so that no cell is skipped."""
        lengths = (self.heat.shape[axis] * self.size[axis] / _span(self.frame, axis) / shape[axis] for axis in (0, 1))
        y, x = (max(1, math.ceil(length)) for length in lengths)
        return shape[0] * y, shape[1] * x


@dataclass(frozen=True)
class ComparisonGrid:
    """Pixel grid of *shape* (h, w) over a rectangle of an image of *size* (H, W)."""

    rectangle: Frame
    shape: tuple[int, int]
    size: tuple[int, int]

    @property
    def spacing(self) -> tuple[float, float]:
        """Distance of neighbouring pixels, (y, x), as a fraction of the image diagonal."""
        y, x = (_span(self.rectangle, axis) / self.shape[axis] / math.hypot(*self.size) for axis in (0, 1))
        return y, x

    def align(self, first: MapEvidence, second: MapEvidence, *, shared: bool) -> tuple[Heat, Heat]:
        """Return both maps on the grid, in [0, 1]: divided by their common maximum if *shared*, else by their own."""
        a, b = (one.on(self.rectangle, self.shape) for one in (first, second))
        tops = float(a.max()), float(b.max())
        own, other = (max(tops),) * 2 if shared else tops
        return a / np.float32(own or 1), b / np.float32(other or 1)


def common_grid(first: MapEvidence, second: MapEvidence) -> ComparisonGrid | None:
    """Return the grid for two maps; None if the models see no common part of the image."""
    (height, width), frames = first.size, (first.frame, second.frame)
    x0, y0 = (max(0.0, *(getattr(frame, name) for frame in frames)) for name in ("x0", "y0"))
    x1 = min(float(width), *(frame.x1 for frame in frames))
    y1 = min(float(height), *(frame.y1 for frame in frames))
    if x1 <= x0 or y1 <= y0:
        return None
    seen = Frame(x0, y0, x1, y1)
    rows, columns = (
        max(
            SIDE, *(round(one.heat.shape[axis] * _span(seen, axis) / _span(one.frame, axis)) for one in (first, second))
        )
        for axis in (0, 1)
    )
    return ComparisonGrid(seen, (rows, columns), first.size)


def _span(frame: Frame, axis: int) -> float:
    return frame.y1 - frame.y0 if axis == 0 else frame.x1 - frame.x0


def _shrunk(heat: Heat, shape: tuple[int, int]) -> Heat:
    y, x = heat.shape[0] // shape[0], heat.shape[1] // shape[1]
    shrunk: Heat = heat.reshape(shape[0], y, shape[1], x).mean((1, 3))
    return shrunk
