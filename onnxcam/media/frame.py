"""Where a tensor lies over its picture."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Frame:
    """The rectangle of the picture that the tensor covers, in the picture's pixels.

    (x0, y0) is the top left corner of the tensor's first pixel, (x1, y1) the bottom right one of its last. A
    padded tensor covers more than the picture, so the rectangle may exceed it.
    """

    x0: float
    y0: float
    x1: float
    y1: float
