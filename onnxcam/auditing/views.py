"""Rows → points that say how much of a map lies at a place, and what a picture shows there.

The places are those of watermarks, captions and frames. They are the same in all classes, and so is what natural
pictures show there, unless the class itself comes with a context.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from onnxcam.batching.measures import HEAT, THUMBNAIL

__all__ = ["CLEARLY", "PLACES", "WHOLE", "View", "coarse", "map_points", "shared_look", "shares", "views"]

WHOLE = "whole picture"
CLEARLY = 0.3
"""Share of a map at a place, above the place's share of the area, that makes a row a candidate."""
_GREY = 4.0  # grey levels added to a brightness: the colour of a dark pixel is noise
_NOISE = 3.0  # grey levels, of a camera and a compression
_STEADY = 0.25  # spread of a colour that members share, relative to that of others
_ALIKE = 0.6  # distance of looks, in units of the median distance within a class

_PlaceCells = dict[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class View:
    """One property of all rows.

    Attributes:
        place: Where it is, one of `PLACES`, or `WHOLE`.
        of: ``map``: the share of the map there; ``look``: what the picture shows there.
        at: Returns the points of rows, bool [N] → float32 [n, D]; nearby points are rows with a like property.
        known: bool [N]; whether a row has it.
        around: Where all balls are centred, float32 [1, D]; None: at rows.
    """

    place: str
    of: str
    at: Callable[[NDArray[np.bool_]], NDArray[np.float32]]
    known: NDArray[np.bool_]
    around: NDArray[np.float32] | None = None

    def centres(self, rows: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return where balls may be centred that are searched on *rows*."""
        return self.at(rows) if self.around is None else self.around

    def largest(self, rows: NDArray[np.bool_], clearly: float = CLEARLY) -> float:
        """Return the radius up to which *rows* are alike; maps have the share *clearly* more there than the area."""
        from onnxcam.auditing.scan import distances

        if self.of == "map":
            return 1 - PLACES[self.place].mean() - clearly
        points = self.at(rows)[:500]
        return _ALIKE * float(np.median(distances(points, points))) if len(points) else 0.0


def views(heat: NDArray[np.uint8], thumbnails: NDArray[np.uint8], shown: NDArray[np.bool_]) -> list[View]:
    """Return the views of N rows.

    Args:
        heat: Maps over the whole picture [N, 16, 16]; zero where a row has none.
        thumbnails: [N, 16, 16, 3].
        shown: Whether a row has a thumbnail, [N].
    """
    looked = np.asarray(heat.any((1, 2)), bool)
    colours = coarse(thumbnails) / np.float32(255)
    found = [View(WHOLE, "look", _tint(255 * colours).__getitem__, shown)]
    whole = np.ones((1, 1), np.float32)
    for place, cells in PLACES.items():
        found.append(View(place, "map", shares(heat, cells)[:, None].__getitem__, looked, whole))
        look = colours[:, cells[::2, ::2]].reshape(len(colours), -1)
        found.append(View(place, "look", look.__getitem__, shown))
    return found


def shared_look(
    place: str,
    thumbnails: NDArray[np.uint8],
    shown: NDArray[np.bool_],
    members: NDArray[np.bool_],
    others: NDArray[np.bool_],
) -> View | None:
    """Return the view of what *members* share at a place: the cells there whose colours hardly vary among them.

    A mark, caption or frame covers these cells; what else is at the place does not count. Balls are around the
    members' median, and a distance is in units of their spread, so that members among which are some others will do.

    Args:
        place: One of `PLACES`.
        thumbnails: [N, 16, 16, 3].
        shown: Whether a row has a thumbnail, [N].
        members: [N].
        others: Rows to compare with, [N].

    Returns:
        None where the colours of each cell vary among *members* as they do among *others*.
    """
    cells = PLACES[place]
    own, strange = (thumbnails[rows & shown][:, cells].astype(np.float32) for rows in (members, others))
    if not len(own) or not len(strange):
        return None
    centre, spread = _typical(own)
    spread = spread + _NOISE
    same = np.linalg.norm(spread, axis=1) < _STEADY * np.linalg.norm(_typical(strange)[1], axis=1)
    if not same.any():
        return None
    y, x = (index[same] for index in np.nonzero(cells))

    def at(rows: NDArray[np.bool_]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = (thumbnails[rows][:, y, x] / spread[same]).reshape(int(rows.sum()), -1)
        return found

    return View(place, "look", at, shown, (centre / spread)[same].reshape(1, -1))


def _typical(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the median of each column, and 1.48 times the median distance from it: a standard deviation."""
    centre = np.median(values, axis=0)
    return centre, (1.4826 * np.median(np.abs(values - centre), axis=0)).astype(np.float32)


def coarse(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return thumbnails [N, 16, 16, 3] as [N, 8, 8, 3]."""
    side = THUMBNAIL // 2
    return thumbnails.reshape(-1, side, 2, side, 2, 3).mean((2, 4), dtype=np.float32)


def shares(heat: NDArray[np.uint8], cells: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the share of each map [N, 16, 16] in *cells*, bool [16, 16]; zero where there is no map."""
    total = heat.sum((1, 2), dtype=np.float32)
    return heat[:, cells].sum(1, dtype=np.float32) / np.maximum(total, 1)


def _tint(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the *colours* of 8 × 8 cells without their brightness, [N, 192]."""
    grey = colours.mean(axis=3, keepdims=True)
    found: NDArray[np.float32] = ((colours - grey) / (grey + _GREY) / 8).reshape(len(colours), -1)
    return found


@cache
def _places() -> _PlaceCells:
    low, high, every = slice(0, 4), slice(-4, None), slice(None)
    first, last = slice(0, 2), slice(-2, None)
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
        found[name] = np.zeros((HEAT, HEAT), bool)
        found[name][rows, columns] = True
    found["border"] = np.ones((HEAT, HEAT), bool)
    found["border"][2:-2, 2:-2] = False
    return found


PLACES = _places()
"""Cells of each place, bool [16, 16]: of maps and of thumbnails."""


def map_points(heat: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the square roots of the shares of maps [N, 16, 16] in 8 × 8 cells, [N, 64].

    The distance of two of them is √2 times that of Hellinger.
    """
    side = HEAT // 2
    cells = heat.reshape(-1, side, 2, side, 2).sum((2, 4), dtype=np.float32).reshape(len(heat), -1)
    found: NDArray[np.float32] = np.sqrt(cells / np.maximum(cells.sum(axis=1, keepdims=True), 1))
    return found
