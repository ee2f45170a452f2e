"""Rows → points that say how much of a map lies at a place, and what a picture shows there.

The places are those of watermarks, captions and frames. They are the same in all classes, and so is what natural
pictures show there, unless the class itself comes with a context.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from onnxcam.batching.measures import HEAT, THUMBNAIL

__all__ = ["CLEARLY", "PLACES", "WHOLE", "View", "map_points", "shares", "views"]

WHOLE = "whole picture"
CLEARLY = 0.3
"""Share of a map at a place, above the place's share of the area, that makes a row a candidate."""
_GREY = 4.0  # grey levels added to a brightness: the colour of a dark pixel is noise
_ALIKE = 0.6  # distance of looks, in units of the median distance within a class

_PlaceCells = dict[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class View:
    """One property of all rows.

    Attributes:
        place: Where it is, one of `PLACES`, or `WHOLE`.
        of: ``map``: the share of the map there; ``look``: what the picture shows there.
        points: float32 [N, D]; nearby points are rows with a like property.
        known: bool [N]; whether a row has it.
    """

    place: str
    of: str
    points: NDArray[np.float32]
    known: NDArray[np.bool_]

    def centres(self, rows: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return where balls may be centred that are searched on *rows*: at a whole share, or at each look."""
        return np.ones((1, 1), np.float32) if self.of == "map" else self.points[rows]

    def largest(self, rows: NDArray[np.bool_], clearly: float = CLEARLY) -> float:
        """Return the radius up to which *rows* are alike; maps have the share *clearly* more there than the area."""
        from onnxcam.auditing.scan import distances

        if self.of == "map":
            return 1 - PLACES[self.place].mean() - clearly
        points = self.points[rows][:500]
        return _ALIKE * float(np.median(distances(points, points))) if len(points) else 0.0


def views(heat: NDArray[np.uint8], thumbnails: NDArray[np.uint8], shown: NDArray[np.bool_]) -> list[View]:
    """Return the views of N rows.

    Args:
        heat: Maps over the whole picture [N, 16, 16]; zero where a row has none.
        thumbnails: [N, 8, 8, 3].
        shown: Whether a row has a thumbnail, [N].
    """
    looked = np.asarray(heat.any((1, 2)), bool)
    colours = thumbnails.astype(np.float32) / np.float32(255)
    found = [View(WHOLE, "look", _tint(thumbnails), shown)]
    for place, cells in PLACES.items():
        found.append(View(place, "map", shares(heat, cells)[:, None], looked))
        found.append(View(place, "look", colours[:, cells].reshape(len(colours), -1).astype(np.float32), shown))
    return found


def shares(heat: NDArray[np.uint8], cells: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the share of each map [N, 16, 16] in *cells*, bool [8, 8]; zero where there is no map."""
    side = HEAT // THUMBNAIL
    where = cells.repeat(side, axis=0).repeat(side, axis=1)
    total = heat.sum((1, 2), dtype=np.float32)
    return heat[:, where].sum(1, dtype=np.float32) / np.maximum(total, 1)


def _tint(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the colours of all cells without their brightness, [N, 192]."""
    colours = thumbnails.astype(np.float32)
    grey = colours.mean(axis=3, keepdims=True)
    found: NDArray[np.float32] = ((colours - grey) / (grey + _GREY) / THUMBNAIL).reshape(len(colours), -1)
    return found


@cache
def _places() -> _PlaceCells:
    low, high, every = slice(0, 2), slice(-2, None), slice(None)
    first, last = slice(0, 1), slice(-1, None)
    found = {}
    for name, rows, columns in (
        ("top left corner", low, low),
        ("top right corner", low, high),
        ("bottom left corner", high, low),
        ("bottom right corner", high, high),
        ("top edge", first, every),
        ("bottom edge", last, every),
        ("left edge", every, first),
        ("right edge", every, last),
    ):
        found[name] = np.zeros((THUMBNAIL, THUMBNAIL), bool)
        found[name][rows, columns] = True
    found["border"] = np.ones((THUMBNAIL, THUMBNAIL), bool)
    found["border"][1:-1, 1:-1] = False
    return found


PLACES = _places()
"""Cells of each place, bool [8, 8]."""


def map_points(heat: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the square roots of the shares of maps [N, 16, 16] in 8 × 8 cells, [N, 64].

    The distance of two of them is √2 times that of Hellinger.
    """
    side = HEAT // THUMBNAIL
    cells = heat.reshape(-1, THUMBNAIL, side, THUMBNAIL, side).sum((2, 4), dtype=np.float32).reshape(len(heat), -1)
    found: NDArray[np.float32] = np.sqrt(cells / np.maximum(cells.sum(axis=1, keepdims=True), 1))
    return found
