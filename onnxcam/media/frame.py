"""The part of an image, or of an array of any number of axes, that a tensor or a map covers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Covered", "Extent", "Frame", "covering", "of_corners"]


@dataclass(frozen=True)
class Frame:
    """The rectangle that the tensor covers, in pixels of the image.

    (x0, y0) is the top left corner of the tensor's first pixel, (x1, y1) the bottom right corner of its last. It may
    exceed the image, if the tensor is padded.
    """

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def intervals(self) -> tuple[tuple[float, float], ...]:
        """The interval of each axis, that of the rows first."""
        return (self.y0, self.y1), (self.x0, self.x1)

    @property
    def corners(self) -> tuple[float, ...]:
        """(x0, y0, x1, y1)."""
        return self.x0, self.y0, self.x1, self.y1

    def part(self, rows: tuple[float, float], columns: tuple[float, float], size: tuple[int, int]) -> Frame:
        """Return the rectangle of *rows* and *columns* of a tensor of *size* (height, width) that covers this one."""
        (top, bottom), (left, right), (height, width) = rows, columns, size
        y, x = (self.y1 - self.y0) / height, (self.x1 - self.x0) / width
        return Frame(self.x0 + left * x, self.y0 + top * y, self.x0 + right * x, self.y0 + bottom * y)

    def covers(self, height: int, width: int) -> bool:
        """Whether it holds all pixels of an image, to half a pixel."""
        return max(self.x0, self.y0) < 0.5 and self.x1 > width - 0.5 and self.y1 > height - 0.5

    def scaled(self, x: float, y: float) -> Frame:
        """Return the same rectangle in the pixels of an image that was resized by *x* and *y*."""
        return Frame(self.x0 * x, self.y0 * y, self.x1 * x, self.y1 * y)


@dataclass(frozen=True)
class Extent:
    """The part of an array of any number of axes: an interval of each axis, in the array's order, in its cells."""

    intervals: tuple[tuple[float, float], ...]

    @property
    def corners(self) -> tuple[float, ...]:
        """The starts and then the ends of the intervals, the last axis first, as in (x0, y0, x1, y1)."""
        return tuple(interval[end] for end in (0, 1) for interval in reversed(self.intervals))


Covered: TypeAlias = "Frame | Extent"
"""The part of an image, a frame; or of an array with another number of axes."""


def covering(intervals: Sequence[tuple[float, float]]) -> Covered:
    """Return the part with these *intervals*, of which an image has two."""
    if len(intervals) != 2:
        return Extent(tuple((float(start), float(end)) for start, end in intervals))
    (y0, y1), (x0, x1) = intervals
    return Frame(x0, y0, x1, y1)


def of_corners(corners: Sequence[float]) -> Covered:
    """Return the part with these *corners*, the inverse of `Frame.corners` and `Extent.corners`."""
    axes = len(corners) // 2
    return covering([(corners[axis], corners[axes + axis]) for axis in reversed(range(axes))])
