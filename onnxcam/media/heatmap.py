"""Heat maps for display: normalise a raw map, resize it to the image, colour it, overlay it and draw boxes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import OutputError, nearest
from onnxcam.media.frame import Frame
from onnxcam.media.resample import AxisInterval, coverage
from onnxcam.structure.place import Place

__all__ = [
    "COLORMAPS",
    "Colour",
    "Map",
    "PixelBox",
    "at_place",
    "box",
    "boxes",
    "colorize",
    "enlarge",
    "flat",
    "normalize",
    "outlined",
    "overlay",
    "peak",
    "sentence",
]

Map = NDArray[np.float32]
PixelBox: TypeAlias = tuple[int, int, int, int]
Colour: TypeAlias = tuple[int, int, int]

COLORMAPS = ("jet", "turbo", "viridis", "inferno", "hot", "gray")


def flat(raw: Map, channel: int | None, *, signed: bool = False) -> Map:
    """Reduce the channels of *raw* to [h, w]: the largest |value|, or the sum if *signed*; no *channel*: *raw*."""
    if channel is None:
        return raw
    return (raw.sum(axis=channel) if signed else np.abs(raw).max(axis=channel)).astype(np.float32)


def normalize(raw: Map, *, signed: bool = False) -> Map:
    """Return ReLU(raw) / max, in [0, 1], zero if no value is positive; *signed*: raw / max |raw|, in [-1, 1]."""
    if signed:
        return (raw / max(float(np.abs(raw).max(initial=0)), 1e-38)).astype(np.float32)
    positive = np.maximum(raw, 0)
    top = float(positive.max(initial=0))
    if top > 0:
        positive /= top
    return positive.astype(np.float32, copy=False)


def enlarge(raw: Map, frame: Frame, size: tuple[int, int], seen: Frame | None = None) -> Map:
    """Resize *raw* [h, w], which covers *frame*, bilinearly to the image's *size* (H, W).

    It falls to zero at the edge of *seen*, the part of the image that the network sees; None is *frame*.
    """
    import cv2

    (h, w), (height, width) = raw.shape, size
    scale_x, scale_y = w / (frame.x1 - frame.x0), h / (frame.y1 - frame.y0)
    # Pixel centres: column c of the image is column (c + ½ - x0) scale - ½ of the map.
    to_map = np.array(
        [
            [scale_x, 0, (0.5 - frame.x0) * scale_x - 0.5],
            [0, scale_y, (0.5 - frame.y0) * scale_y - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    large = cv2.warpAffine(
        raw.astype(np.float32), to_map, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    seen = frame if seen is None else seen
    rows = _coverage(height, (frame.y0, frame.y1), (seen.y0, seen.y1))
    columns = _coverage(width, (frame.x0, frame.x1), (seen.x0, seen.x1))
    if min(rows.min(), columns.min()) < 1:
        large *= rows[:, None]
        large *= columns
    return np.asarray(large, np.float32)


@lru_cache(maxsize=64)
def _coverage(length: int, cells: AxisInterval, seen: AxisInterval) -> NDArray[Any]:
    """Return the weights of the pixels of an axis, see `coverage`."""
    return coverage(np.arange(length) + 0.5, cells, seen)


def at_place(raw: Map, frame: Frame, size: tuple[int, int], place: Place | None, tensor: Sequence[int]) -> Map:
    """Resize *raw*, which lies at *place* in a tensor that covers *frame*, as `enlarge`; None: it covers the tensor."""
    if place is None:
        return enlarge(raw, frame, size)
    height, width = tensor
    inside, seen = (frame.part(rows, columns, (height, width)) for rows, columns in (place.intervals, place.seen))
    return enlarge(place.upright(raw), inside, size, seen)


def colorize(heat: Map, colormap: str = "jet") -> NDArray[np.uint8]:
    """Return *heat*, in [0, 1], as colours, uint8 RGB [H, W, 3]; from blue to red if it has negative values."""
    import cv2

    if heat.min(initial=0) < 0:
        return _diverging(heat)
    grey = cv2.convertScaleAbs(heat, alpha=255).reshape(heat.shape)  # rounds, and limits the values to 255
    if colormap == "gray":
        return np.repeat(grey[..., None], 3, axis=2)
    if colormap not in COLORMAPS:
        known = ", ".join(COLORMAPS)
        raise OutputError(f"no colormap is called {colormap!r}; there are {known}.{nearest(colormap, COLORMAPS)}")
    table = getattr(cv2, f"COLORMAP_{colormap.upper()}")
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(grey, table), cv2.COLOR_BGR2RGB), np.uint8)


def _diverging(heat: Map) -> NDArray[np.uint8]:
    fading = np.round(255 * (1 - np.sqrt(np.clip(np.abs(heat), 0, 1)))).astype(np.uint8)
    full = np.full_like(fading, 255)
    return np.stack([np.where(heat < 0, fading, full), fading, np.where(heat > 0, fading, full)], axis=-1)


def overlay(
    image: NDArray[np.uint8], heat: Map, alpha: float = 0.5, colormap: str = "jet", *, fading: bool = False
) -> NDArray[np.uint8]:
    """Blend *image* with the coloured *heat*: ``alpha`` of the heat, ``1 - alpha`` of the image.

    If *fading*, and of a signed heat always, the colours are more transparent near zero.
    """
    import cv2

    colours = colorize(heat, colormap)
    if heat.min(initial=0) >= 0 and not fading:
        return np.asarray(cv2.addWeighted(colours, alpha, np.ascontiguousarray(image), 1 - alpha, 0), np.uint8)
    weight = np.float32(alpha) * np.sqrt(np.abs(heat))[..., None]
    return np.round(image + weight * (colours - image.astype(np.float32))).astype(np.uint8)


def sentence(words: Sequence[str], heat: Map, alpha: float = 0.5, colormap: str = "jet") -> NDArray[np.uint8]:
    """Draw *words* in a row, each on the colour of its value in *heat*, uint8 RGB [H, W, 3]."""
    import cv2

    font, height = cv2.FONT_HERSHEY_SIMPLEX, 44
    tiles = []
    shown = [(word, colour) for word, colour in zip(words, colorize(heat[None], colormap)[0], strict=True) if word]
    for word, colour in shown:
        (width, tall), _ = cv2.getTextSize(word, font, 0.8, 2)
        tile = np.full((height, width + 18, 3), colour, np.uint8)
        tile = np.round(alpha * tile + (1 - alpha) * 255).astype(np.uint8)
        tiles.append(cv2.putText(tile, word, (9, (height + tall) // 2), font, 0.8, (0, 0, 0), 2, cv2.LINE_AA))
    return np.concatenate(tiles, axis=1)


def box(heat: Map, threshold: float = 0.15) -> PixelBox | None:
    """Return the box (x1, y1, x2, y2) around the largest connected part above *threshold* of the maximum.

    x2 and y2 are one past the last pixel. None if the map is zero. The CAM papers locate objects in this way
    (1512.04150, 1610.02391: 15 % of the maximum).
    """
    return next(iter(boxes(heat, threshold)), None)


def boxes(heat: Map, threshold: float = 0.15, least: float = 0.0) -> list[PixelBox]:
    """Return the boxes around all connected parts above *threshold* of the maximum, the largest part first.

    Parts smaller than *least*, a share of the image's area, are left out.
    """
    import cv2

    top = float(heat.max(initial=0))
    if not top > 0:  # of NaN too, where OpenCV would end the process
        return []
    above = (heat >= threshold * top).view(np.uint8)
    left, upper, width, height = cv2.boundingRect(above)
    inside = np.ascontiguousarray(above[upper : upper + height, left : left + width])
    _, _, stats, _ = cv2.connectedComponentsWithStats(inside)
    stats[:, :2] += left, upper
    parts = sorted(stats[1:].tolist(), key=lambda part: -part[cv2.CC_STAT_AREA])
    return [(x, y, x + w, y + h) for x, y, w, h, area in parts if area >= least * heat.size]


def outlined(image: NDArray[np.uint8], corners: Sequence[Sequence[float]], colour: Colour) -> NDArray[np.uint8]:
    """Draw rectangles on *image* in *colour*, with a black edge so that they are visible on any background."""
    import cv2

    drawn, width = image.copy(), max(1, round(min(image.shape[:2]) / 150))
    for x1, y1, x2, y2 in corners:
        ends = (round(x1), round(y1)), (round(x2) - 1, round(y2) - 1)
        cv2.rectangle(drawn, *ends, (0, 0, 0), 3 * width)
        cv2.rectangle(drawn, *ends, colour, width)
    return drawn


def peak(heat: Map) -> tuple[int, int]:
    """Return (x, y) of the largest value."""
    y, x = np.unravel_index(int(np.argmax(heat)), heat.shape)
    return int(x), int(y)
