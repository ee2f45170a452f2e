"""Colour maps: tables of 256 colours, and heat maps as colours.

`OVER` is the map over pictures, `ON_WHITE` the map of what is drawn on white or pale grey: pixel maps, signals, words.
Both have an even lightness, and people who are colour-blind read them as others do; `jet`, `turbo` and `hot` do not
(docs/decisions/0036-pictures.md).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import OutputError, nearest

__all__ = ["COLORMAPS", "ON_WHITE", "OVER", "Colours", "colorize", "fades", "levels", "require", "table", "weights"]

Colours: TypeAlias = NDArray[np.uint8]
"""RGB, uint8 [..., 3]."""

COLORMAPS = ("inferno", "viridis", "cividis", "magma", "plasma", "blues", "turbo", "jet", "hot", "gray")
OVER, ON_WHITE = COLORMAPS[0], "blues"
_BLUES = ("ffffff", "deebf7", "c6dbef", "9ecae1", "6baed6", "4292c6", "2171b5", "08519c", "08306b")
"""ColorBrewer's Blues, from white; captum draws attributions in them."""


def require(name: str) -> str:
    """Return *name*; OutputError where no colour map is called so."""
    if name not in COLORMAPS:
        known = ", ".join(COLORMAPS)
        raise OutputError(f"no colormap is called {name!r}; there are {known}.{nearest(name, COLORMAPS)}")
    return name


@lru_cache
def table(name: str) -> Colours:
    """Return the colours of the map *name* from 0 to 1, uint8 [256, 3] RGB; OutputError where there is none."""
    import cv2

    ramp = np.arange(256, dtype=np.uint8)
    if require(name) == "gray":
        return np.repeat(ramp[:, None], 3, axis=1)
    if name == "blues":
        stops = np.array([[int(one[k : k + 2], 16) for k in (0, 2, 4)] for one in _BLUES], np.float64)
        places = np.linspace(0, 255, len(stops))
        return np.stack([np.round(np.interp(ramp, places, one)) for one in stops.T], axis=1).astype(np.uint8)
    bgr = cv2.applyColorMap(ramp[:, None], getattr(cv2, f"COLORMAP_{name.upper()}"))
    return np.ascontiguousarray(np.asarray(bgr, np.uint8)[:, 0, ::-1])


def fades(name: str) -> bool:
    """Whether the colours of the map *name* begin at white."""
    return bool(table(name)[0].min() == 255)


def weights(name: str, strongest: float = 1.0) -> NDArray[np.float64]:
    """Return how strong each colour of a map is drawn by value, [256]: as the value, up to *strongest*.

    Of colours that begin at white it is the root, as they fade by themselves.
    """
    value = np.linspace(0, 1, 256)
    return strongest * (np.sqrt(value) if fades(name) else value)


def colorize(heat: NDArray[np.float32], colormap: str = OVER) -> Colours:
    """Return *heat*, in [0, 1], as colours, uint8 RGB [..., 3]; from blue to red if it has negative values."""
    if heat.min(initial=0) < 0:
        return _diverging(heat)
    colours: Colours = table(colormap)[levels(heat)]
    return colours


def levels(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return *heat*, in [0, 1], as levels from 0 to 255, rounded and limited."""
    import cv2

    return np.asarray(cv2.convertScaleAbs(heat, alpha=255), np.uint8).reshape(heat.shape)


def _diverging(heat: NDArray[np.float32]) -> Colours:
    fading = np.round(255 * (1 - np.sqrt(np.clip(np.abs(heat), 0, 1)))).astype(np.uint8)
    full = np.full_like(fading, 255)
    return np.stack([np.where(heat < 0, fading, full), fading, np.where(heat > 0, fading, full)], axis=-1)
