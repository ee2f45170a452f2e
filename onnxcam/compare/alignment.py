"""Two raw maps -> one grid and one scale, on which they can be compared.

**Grid.** It lies over the part of the picture that both models see. It is as fine as the finer of the two maps, and has
at least `SIDE` pixels a side: the windows of SSIM and the top fifth of the pixels say little of 3 × 3 cells. Maps come
onto it as onto the picture, bilinearly (`heatmap.enlarge`).

**Scale.** Of both maps the positive part, in the units of the score, real ones for quantised networks too. A cell of a
map says what its place adds to the score, so that a map of fewer cells has larger ones: each map is multiplied by the
number of its cells that a picture holds, evidence per area in place of per cell. Then both are divided by their
*common* maximum. A candidate that looks at the same place with a tenth of the evidence is told by SSIM and strength,
which depend on the scale; the correlations, IoU, distances and energy do not. Where scores are integers of unknown
meaning there is no shared scale: each map is divided by its own maximum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxcam.compare.outcome import Outcome
from onnxcam.media import heatmap
from onnxcam.media.frame import Frame

SIDE = 56
"""The least side of the grid, and the longer side of the maps that a pair keeps."""

Heat = NDArray[np.float32]


@dataclass(frozen=True)
class Evidence:
    """The positive part of a map, per area [h, w], and the rectangle of the picture, (H, W), that it covers."""

    heat: Heat
    frame: Frame
    size: tuple[int, int]

    @classmethod
    def of(cls, outcome: Outcome) -> Evidence:
        """Return what the map of *outcome*, which has one, says."""
        assert outcome.map is not None
        height, width = outcome.size
        frame = outcome.frame or Frame(0, 0, width, height)
        cells = outcome.map.size * width * height / (_span(frame, 0) * _span(frame, 1))
        return cls(np.maximum(outcome.map, 0) * np.float32(cells), frame, outcome.size)

    def on(self, rectangle: Frame, shape: tuple[int, int]) -> Heat:
        """Return the map over a *rectangle* of the picture as pixels [*shape]."""
        y, x = (_span(rectangle, axis) / length for axis, length in enumerate(shape))
        own, first = self.frame, rectangle
        frame = Frame(
            (own.x0 - first.x0) / x, (own.y0 - first.y0) / y, (own.x1 - first.x0) / x, (own.y1 - first.y0) / y
        )
        return heatmap.enlarge(self.heat, frame, shape)

    def over_picture(self) -> Heat:
        """Return the map at the picture's size."""
        return heatmap.enlarge(self.heat, self.frame, self.size)

    def drawn(self) -> Heat:
        """Return the map over the whole picture, `SIDE` pixels along the longer side."""
        height, width = self.size
        scale = SIDE / max(self.size)
        shape = max(1, round(height * scale)), max(1, round(width * scale))
        return _shrunk(self.on(Frame(0, 0, width, height), self._fine(shape)), shape)

    def _fine(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return a whole multiple of *shape* that is no coarser than the map, so that no cell falls between pixels."""
        lengths = (self.heat.shape[axis] * self.size[axis] / _span(self.frame, axis) / shape[axis] for axis in (0, 1))
        y, x = (max(1, math.ceil(length)) for length in lengths)
        return shape[0] * y, shape[1] * x


@dataclass(frozen=True)
class Grid:
    """Pixels over a rectangle of a picture."""

    rectangle: Frame
    shape: tuple[int, int]
    size: tuple[int, int]  # of the picture

    @property
    def spacing(self) -> tuple[float, float]:
        """Return how far pixels are apart, (y, x), as shares of the picture's diagonal."""
        y, x = (_span(self.rectangle, axis) / self.shape[axis] / math.hypot(*self.size) for axis in (0, 1))
        return y, x

    def laid(self, first: Evidence, second: Evidence, *, shared: bool) -> tuple[Heat, Heat]:
        """Return both on the grid, in [0, 1]: by their common maximum, or each by its own where not *shared*."""
        a, b = (one.on(self.rectangle, self.shape) for one in (first, second))
        tops = float(a.max()), float(b.max())
        own, other = (max(tops),) * 2 if shared else tops
        return a / np.float32(own or 1), b / np.float32(other or 1)


def common_grid(first: Evidence, second: Evidence) -> Grid | None:
    """Return the grid for two maps; None where the models see nothing in common."""
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
    return Grid(seen, (rows, columns), first.size)


def _span(frame: Frame, axis: int) -> float:
    return frame.y1 - frame.y0 if axis == 0 else frame.x1 - frame.x0


def _shrunk(heat: Heat, shape: tuple[int, int]) -> Heat:
    y, x = heat.shape[0] // shape[0], heat.shape[1] // shape[1]
    shrunk: Heat = heat.reshape(shape[0], y, shape[1], x).mean((1, 3))
    return shrunk
