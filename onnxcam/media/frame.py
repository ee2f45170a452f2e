"""The part of an image that a tensor covers."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Frame"]


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
