"""Connected parts of a mask of any number of axes: the box around each, and its cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["components"]


def components(mask: NDArray[Any]) -> list[tuple[tuple[int, ...], int]]:
    """Return the corners and the number of cells of each part of *mask*; cells that touch at a corner are connected.

    The corners are the starts and then the ends on the axes, the last axis first: (x1, y1, x2, y2) in an image. The
    ends are exclusive.
    """
    if mask.ndim != 2:
        return _of_axes(mask)
    import cv2

    count, _, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask).astype(np.uint8))
    return [((x, y, x + w, y + h), area) for x, y, w, h, area in stats[1:count].tolist()]


def _of_axes(mask: NDArray[Any]) -> list[tuple[tuple[int, ...], int]]:
    from scipy import ndimage

    labels, count = ndimage.label(mask, np.ones((3,) * mask.ndim, bool))
    areas: Sequence[int] = np.bincount(labels.ravel(), minlength=count + 1)[1:].tolist()
    found = [[(part.start, part.stop) for part in reversed(parts)] for parts in ndimage.find_objects(labels)]
    return [
        ((*(start for start, _ in ends), *(end for _, end in ends)), area)
        for ends, area in zip(found, areas, strict=True)
    ]
